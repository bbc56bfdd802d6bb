"""Puts a backup back into an empty folder: a pair that `ah backup` made, or plain files as Litestream restores them.

Everything happens in `<data>/restoring`: unpack, prove, erase again who was erased since, append `log.restored`, which
opens a new epoch. Then keys and log are renamed into place and the folder goes, which ends it. While it is there no server
starts; a restore that was killed is run again, from its beginning, over what it left. The invariant: a server never runs
on a log whose restore did not come to its end.
"""

import shutil
import zlib
from pathlib import Path

import apsw
from msgspec import Struct

from ahplat import durable, erasures
from ahplat.backups import known, pairs
from ahplat.backups.known import Known
from ahplat.backups.pairs import ERASED, EVENTS, KEYS, BackupFailed
from ahplat.backups.proof import Log, check_keys, read_log
from ahplat.commands.catalog import COMMANDS
from ahplat.commands.tenants import RequestErasure
from ahplat.crashpoints import CrashPoints
from ahplat.errors import Rejected
from ahplat.sealing import KeyFileBad, Keyring, read_master_key
from events import platform
from events.catalog import UnknownEvent
from events.database import open_reader
from events.event import Event, Meta
from events.log import EventLog, LogDamaged, read_all
from projections.views import check_known, open_views

RESTORING = "restoring"
MASTER = "master.key"
_SUFFIXES = ("", "-wal", "-shm")
_IN_THE_WAY = tuple(name + suffix for name in (EVENTS, KEYS, "views.db", "metering.db") for suffix in _SUFFIXES)


class Wanted(Struct, frozen=True):
    """What is to be restored, and what is known beside it."""

    backup: Path
    data_dir: Path
    master_key: Path | None = None  # to be put there; None: it is there already
    erased: tuple[Path, ...] = ()
    known: str = ""
    behind: bool = False


class Restored(Struct, frozen=True):
    """What is there now."""

    position: int
    epoch: int
    tenants: int
    erased: int


def restore(wanted: Wanted, now_us: int, build: str, crash: CrashPoints) -> Restored:
    """Restores; the folder's lock is held by the caller. Raises BackupFailed; then no server starts on the folder."""
    staging = wanted.data_dir / RESTORING
    _clear(wanted.data_dir, staging)
    source = _source(wanted.backup)
    staging.mkdir(mode=0o700)
    durable.sync(wanted.data_dir)
    try:
        restored = _restore(wanted, source, staging, now_us, build, crash)
    except BackupFailed:
        _clear(wanted.data_dir, staging)
        raise
    except UnknownEvent as error:
        _clear(wanted.data_dir, staging)
        raise BackupFailed(f"the log is of a newer release than this one: {error}; restore it with that one") from error
    except (OSError, apsw.Error) as error:
        _clear(wanted.data_dir, staging)
        raise BackupFailed(f"{wanted.data_dir} cannot be written ({error}): nothing was left there") from error
    shutil.rmtree(staging)
    durable.sync(wanted.data_dir)
    return restored


def _clear(data_dir: Path, staging: Path) -> None:
    """Removes what a killed restore left, and nothing else. Raises BackupFailed where there is a server's data."""
    there = [data_dir / name for name in _IN_THE_WAY if (data_dir / name).exists()]
    if not staging.exists() and there:
        raise BackupFailed(f"{data_dir} is not empty ({there[0].name} is there): move it away, or take another folder")
    for path in there:
        path.unlink()
    if staging.exists():
        shutil.rmtree(staging)


def _source(backup: Path) -> Path:
    """The folder that holds the files: a pair's own, or that of the newest pair in it."""
    for name in (f"{EVENTS}.gz", EVENTS):
        if (backup / name).exists():
            return backup
    pair = pairs.newest(backup)
    if pair is None:
        raise BackupFailed(f"{backup} is no backup and holds none: expected a folder with {EVENTS}.gz and {KEYS}.gz")
    return pair.folder


def _restore(wanted: Wanted, source: Path, staging: Path, now_us: int, build: str, crash: CrashPoints) -> Restored:
    master = _master(wanted)
    _bring(source, staging)
    crash.reached("unpacked")
    erased = _erased(wanted, source)
    log = read_log(staging / EVENTS)
    before = _known(wanted, source)
    if not wanted.behind:
        for one in before:
            _check_not_behind(staging / EVENTS, log, one)
    tenants = check_keys(staging / KEYS, master, log, erased)
    gone = sorted(log.names.keys() & erased)
    _destroy(staging / KEYS, master, erased)
    epoch = max(log.epoch, *(one.epoch for one in before), 0) + 1
    position, link = _append(staging, epoch, gone, now_us, build)
    crash.reached("epoch")
    if wanted.master_key:
        durable.write(wanted.data_dir / MASTER, master.hex().encode() + b"\n")
    erasures.note(erasures.path_in(wanted.data_dir), erased)
    durable.move(staging / KEYS, wanted.data_dir / KEYS)
    crash.reached("keys-in-place")
    durable.move(staging / EVENTS, wanted.data_dir / EVENTS)
    crash.reached("log-in-place")
    known.note(wanted.data_dir, position, link, epoch)
    return Restored(position, epoch, tenants - len(gone), len(gone))


def _master(wanted: Wanted) -> bytes:
    """The master key. Raises BackupFailed where it is missing, or another is there."""
    place = wanted.data_dir / MASTER
    try:
        if not wanted.master_key:
            return read_master_key(place, may_make=False)
        given = read_master_key(wanted.master_key, may_make=False)
        if place.exists() and read_master_key(place, may_make=False) != given:
            raise BackupFailed(f"{place} is another key than {wanted.master_key}: remove the wrong one")
        return given
    except KeyFileBad as error:
        raise BackupFailed(f"{error}; or name it with --master-key") from error


def _bring(source: Path, staging: Path) -> None:
    for name in (EVENTS, KEYS):
        packed, plain = source / f"{name}.gz", source / name
        try:
            if packed.exists():
                durable.unpack(packed, staging / name)
            elif plain.exists():
                shutil.copyfile(plain, staging / name)
                durable.sync(staging / name)
            else:
                raise BackupFailed(f"{packed} is missing: a log and its keys are restored together")
        except (OSError, EOFError, zlib.error) as error:
            raise BackupFailed(f"{name} of {source} cannot be unpacked ({error})") from error


def _erased(wanted: Wanted, source: Path) -> frozenset[str]:
    """Everybody of whom any note says that he was erased."""
    for path in wanted.erased:
        if not path.exists():
            raise BackupFailed(f"{path} is missing")
    notes = (source / ERASED, source.parent / ERASED, erasures.path_in(wanted.data_dir), *wanted.erased)
    return frozenset[str]().union(*map(erasures.read, notes))


def _known(wanted: Wanted, source: Path) -> list[Known]:
    """How far the log is known to have come: by the folder's own notes, by newer pairs beside it, by the operator."""
    found = [known.read(wanted.data_dir)]
    beside = pairs.list_pairs(source.parent)
    if source in [pair.folder for pair in beside[:-1]]:
        about = beside[-1].about()
        found.append(Known(about.position, about.link, about.epoch, str(beside[-1].folder)))
    if wanted.known:
        told = known.parse(wanted.known, "--known")
        if told is None:
            raise BackupFailed('--known is not "POSITION LINK", nor the line that `ah verify` says')
        found.append(told)
    return [one for one in found if one]


def _check_not_behind(events: Path, log: Log, one: Known) -> None:
    if one.position > log.position:
        raise BackupFailed(
            f"it ends at position {log.position}, but the log came to {one.position} (says {one.source}): what came after"
            " would be lost. Take a newer backup, or say --behind-checkpoint"
        )
    with open_reader(events) as db:
        found = read_all(db, one.position - 1, 1)[0].link.hex() if one.position else one.link
    if found != one.link:
        raise BackupFailed(
            f"position {one.position} has the link {found[:16]}…, but {one.source} says {one.link[:16]}…: this is another"
            " history. Take the right backup, or say --behind-checkpoint"
        )


def _destroy(path: Path, master: bytes, erased: frozenset[str]) -> None:
    keyring = Keyring(path, master, may_make=False)
    try:
        for tenant in sorted(erased):
            keyring.destroy(tenant)
    finally:
        keyring.close()


def _append(staging: Path, epoch: int, gone: list[str], now_us: int, build: str) -> tuple[int, str]:
    """A new epoch, and the erasure of who was erased since: the server carries that out as it did before."""
    try:
        log = EventLog(staging / EVENTS, "", now_us)
    except LogDamaged as error:
        raise BackupFailed(str(error)) from error
    try:
        check_known(staging / "views.db", log.db)
        requests = _requests(staging, log, gone)
        at_us, meta = max(log.last_us, now_us), Meta(actor="operator", command="restore", build=build)
        log.begin()
        log.append(platform.STREAM, [platform.LogRestored(epoch)], "exists", "", at_us, meta)
        for tenant, events in requests:
            log.append(f"tenant-{tenant}", events, "exists", tenant, at_us, meta)
        log.commit()
        return log.position, log.link.hex()
    finally:
        log.close()


def _requests(staging: Path, log: EventLog, gone: list[str]) -> list[tuple[str, list[Event]]]:
    """What a request for each erasure would append, decided as any command is."""
    if not gone:
        return []
    views = open_views(staging / "views.db", log.db, log.installation, lambda done, of: None)
    decision, found = COMMANDS[RequestErasure], []
    try:
        for tenant in gone:
            command = RequestErasure(tenant_id=tenant)
            try:
                found.append((tenant, decision.decide(decision.load(views.db, command), command)))
            except Rejected:  # erased by now
                continue
    finally:
        views.close()
    return [(tenant, events) for tenant, events in found if events]
