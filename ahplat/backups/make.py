"""Makes a backup, beside a server or without one: log first, then keys, then proves what was made.

Log first, for a tenant's key is on the disk before the tenant's first event: keys that are copied later hold all that the
log needs. Whoever was erased between the two is in the notes, which are copied last. Everything happens in a folder whose
name ends in `.half`; the rename that ends it is the moment from which there is a backup, and only then an old one goes.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec

from ahplat import durable, erasures, limits
from ahplat.backups import known, pairs
from ahplat.backups.pairs import ABOUT, ERASED, EVENTS, KEYS, About, BackupFailed, Pair
from ahplat.backups.proof import Log, check_keys, read_log
from ahplat.crashpoints import CrashPoints
from ahplat.rotation import is_half_done
from ahplat.sealing import KeyFileBad, read_master_key
from events.database import copy_database


def make_backup(data_dir: Path, folder: Path, now_us: int, crash: CrashPoints) -> Pair:
    """One more pair in `folder`. Raises BackupFailed; then nothing was changed there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with durable.alone(folder / "lock") as is_alone:
            if not is_alone:
                raise BackupFailed(f"another backup into {folder} is under way")
            return _make(data_dir, folder, now_us, crash)
    except (apsw.FullError, OSError) as error:
        raise BackupFailed(_told(error, folder)) from error


def _told(error: Exception, folder: Path) -> str:
    if isinstance(error, apsw.FullError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return f"no room in {folder}: nothing was left there, and the older backups stay. Make room, or take --to"
    return f"{folder} cannot be used ({error})"


def _make(data_dir: Path, folder: Path, now_us: int, crash: CrashPoints) -> Pair:
    master = _master(data_dir)
    pairs.sweep(folder)
    last = pairs.newest(folder)
    number = last.number + 1 if last else 1
    name = pairs.name_of(number, now_us)
    with _half(folder / f"{name}.half") as half:
        _copy(data_dir, half)
        crash.reached("copied")
        for file in (EVENTS, KEYS):
            durable.pack(half / file, half / f"{file}.gz")
            (half / file).unlink()
        crash.reached("packed")
        log, tenants = prove(half, half / "proof", master)
        about = About(number, now_us // 1_000_000, log.position, log.link, log.epoch, log.installation, tenants)
        durable.write(half / ABOUT, msgspec.json.encode(about))
        crash.reached("proved")
        durable.move(half, folder / name)
    crash.reached("made")
    erasures.note(folder / ERASED, erasures.read(erasures.path_in(data_dir)))
    known.note(data_dir, log.position, log.link, log.epoch)
    pairs.keep_newest(folder, limits.BACKUP_PAIRS)
    return Pair(number, folder / name)


def _master(data_dir: Path) -> bytes:
    for name in (EVENTS, KEYS):
        if not (data_dir / name).exists():
            raise BackupFailed(f"{data_dir / name} is missing: is this --data-dir the server's?")
    try:
        if is_half_done(data_dir):
            raise BackupFailed(
                "a new master key is not in its place yet: run `ah rotate-key` again, or start the server"
            )
        return read_master_key(data_dir / "master.key", may_make=False)
    except KeyFileBad as error:
        raise BackupFailed(str(error)) from error


@contextmanager
def _half(half: Path) -> Iterator[Path]:
    """A folder that is gone when the block ends badly."""
    half.mkdir(mode=0o700)
    try:
        yield half
    finally:
        if half.exists():
            shutil.rmtree(half)


def _copy(data_dir: Path, half: Path) -> None:
    for name in (EVENTS, KEYS):
        try:
            copy_database(data_dir / name, half / name)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise BackupFailed(
                f"{data_dir / name} is damaged ({error}): keep the older backups, restore one"
            ) from error
        except (apsw.BusyError, apsw.CantOpenError) as error:
            raise BackupFailed(f"{data_dir / name} cannot be read ({error})") from error
    noted = sorted(erasures.read(erasures.path_in(data_dir)))
    durable.write(half / ERASED, "".join(f"{tenant}\n" for tenant in noted).encode())


def prove(pair: Path, scratch: Path, master: bytes) -> tuple[Log, int]:
    """Unpacks a pair into a folder that is removed again, and proves it. Raises BackupFailed."""
    scratch.mkdir(mode=0o700)
    try:
        for name in (EVENTS, KEYS):
            durable.unpack(pair / f"{name}.gz", scratch / name)
        log = read_log(scratch / EVENTS)
        return log, check_keys(scratch / KEYS, master, log, erasures.read(pair / ERASED))
    finally:
        shutil.rmtree(scratch)
