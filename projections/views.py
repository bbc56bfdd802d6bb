"""The read models: disposable files that follow the log and can be made from it at any time.

`views.db` is folded by the writer with each batch, for commands are decided by it. `metering.db` (see `metering.py`) follows
at its own pace.

The checkpoint (position, chain link, installation, fingerprint) is written in the transaction of the rows. At start it
says what to do: in step, go on; behind (a crash between the two commits), catch up; ahead, foreign, damaged or of
other code, build anew beside the old file and switch. The invariant: rows are a function of the log up to the
checkpoint and of nothing else.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw
from msgspec import Struct

from events.catalog import UnknownEvent, decode
from events.database import open_database, open_memory, open_reader, read_sql, run_script
from events.event import Event, Recorded, wire_name
from events.log import first_unknown, head, read_all
from projections import (
    activity,
    builds,
    circuits,
    crashes,
    database_backups,
    databases,
    deployments,
    disks,
    domains,
    env,
    execs,
    instances,
    keys,
    paused,
    routes,
    services,
    storage,
    tenants,
    todo,
    volumes,
)
from projections.tables import HeldTables, Tables

Fact = tuple[Recorded, Event]
Apply = Callable[[Any, Recorded, Any], None]  # of tables, or of what else runs SQL
Progress = Callable[[int, int], None]  # (events folded, events in all)
Projections = Mapping[str, ModuleType]

PROJECTIONS: Projections = {
    "tenants": tenants,
    "keys": keys,
    "instances": instances,
    "services": services,
    "crashes": crashes,
    "circuits": circuits,
    "paused": paused,
    "env": env,
    "deployments": deployments,
    "builds": builds,
    "domains": domains,
    "routes": routes,
    "databases": databases,
    "database_backups": database_backups,
    "volumes": volumes,
    "storage": storage,
    "todo": todo,
    "activity": activity,
    "execs": execs,
    "disks": disks,
}

DAMAGE = (apsw.CorruptError, apsw.NotADBError)
"""What SQLite raises when a page is not what it wrote."""

CHUNK = 2_000  # events folded between two looks at the progress
_CHECKPOINT = read_sql(__file__)


def _flattened(projections: Iterable[ModuleType]) -> dict[type[Event], tuple[Apply, ...]]:
    """Event type → the functions of the projections that follow it, in their order."""
    found: dict[type[Event], tuple[Apply, ...]] = {}
    for projection in projections:
        for event, apply in projection.APPLY.items():
            found[event] = (*found.get(event, ()), apply)
    return found


@cache
def fingerprint() -> str:
    """A hash of all code and schema that the rows follow from: this room's files and the events', as the process began."""
    room = Path(__file__).parent
    files = sorted(
        file for folder in (room, room.parent / "events") for file in folder.iterdir() if file.suffix in (".py", ".sql")
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


class Checkpoint(Struct, frozen=True):
    """How far the views have come, and on which log by which code."""

    position: int
    link: bytes
    installation: str
    fingerprint: str


class Views:
    """The write side of a file of read models, or of some in memory; `views.db` belongs to the writer's thread."""

    def __init__(self, path: Path | None, projections: Projections = PROJECTIONS) -> None:
        self.path = path
        self.projections = projections
        self.db = open_memory() if path is None else open_database(path, "NORMAL")
        self._tables = Tables(self.db)
        self._functions = _flattened(projections.values())
        self._followed = frozenset(wire_name(event) for event in self._functions)

    def create(self, installation: str) -> None:
        """Makes the tables, empty, inside the open transaction."""
        run_script(self.db, _CHECKPOINT)
        for projection in self.projections.values():
            run_script(self.db, projection.TABLES)
        self.db.execute("INSERT INTO checkpoint VALUES (0, x'', ?, ?)", (installation, fingerprint()))

    def begin(self) -> None:
        """Opens the transaction of a batch."""
        self.db.execute("BEGIN IMMEDIATE")

    def apply(self, at: Recorded, event: Event) -> None:
        """Folds one event into all projections that follow its type."""
        for function in self._functions.get(type(event), ()):
            function(self._tables, at, event)

    def apply_all(self, recorded: list[Recorded]) -> None:
        """Folds many events to the same rows, faster. Those that nothing follows are not even read."""
        held = HeldTables(self.db)
        for at in recorded:
            if at.type in self._followed:
                event = decode(at.type, at.data)
                for function in self._functions[type(event)]:
                    function(held, at, event)
        held.flush()

    def commit(self, position: int, link: bytes) -> None:
        """Commits the rows together with how far they go."""
        self.db.execute("UPDATE checkpoint SET position = ?, link = ?", (position, link))
        self.db.execute("COMMIT")

    def rollback(self) -> None:
        """Forgets the batch."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def close(self) -> None:
        """Closes the file."""
        self.db.close()


def read_checkpoint(db: apsw.Connection) -> Checkpoint | None:
    """None where the file has none: it is new, or not of ours."""
    try:
        for row in db.execute("SELECT position, link, installation, fingerprint FROM checkpoint"):
            return Checkpoint(*row)
    except apsw.SQLError:
        return None
    return None


def checkpoint_in(path: Path) -> Checkpoint | None:
    """That of a file, which is there. Raises apsw errors."""
    db = open_reader(path)
    try:
        return read_checkpoint(db)
    finally:
        db.close()


def why_rebuild(path: Path, log: apsw.Connection, installation: str) -> str:
    """The reason for which the views at `path` cannot be gone on with; "" when they can."""
    if not path.exists():
        return "there are none yet"
    if _condemned(path).exists():
        return "a page was found damaged"
    try:
        db = open_database(path, "NORMAL")
        try:
            checkpoint = read_checkpoint(db)
        finally:
            db.close()
    except (*DAMAGE, apsw.IOError) as error:
        return f"the file is damaged ({error})"
    if checkpoint is None:
        return "the file has no checkpoint"
    if checkpoint.installation != installation:
        return "they are another installation's"
    if checkpoint.fingerprint != fingerprint():
        return "the code that they follow from has changed"
    if checkpoint.position > head(log):
        return f"they are ahead of the log ({checkpoint.position} > {head(log)})"
    links = [event.link for event in read_all(log, checkpoint.position - 1, 1)]
    if checkpoint.position and links != [checkpoint.link]:
        return f"they were made from another log (position {checkpoint.position})"
    return ""


def check_known(path: Path, log: apsw.Connection) -> None:
    """Raises UnknownEvent with the first event that this code does not know, and who wrote it.

    What views at `path` that this same code made hold already is known, so a usual start looks at next to nothing.
    """
    after = 0
    with contextlib.suppress(*DAMAGE, apsw.IOError, apsw.CantOpenError):
        checkpoint = checkpoint_in(path)
        if checkpoint and checkpoint.fingerprint == fingerprint():
            after = checkpoint.position
    if found := first_unknown(log, after):
        raise UnknownEvent(f"position {found.position} is {found.type}, written by {found.decoded_meta().build}")


def open_views(
    path: Path,
    log: apsw.Connection,
    installation: str,
    progress: Progress,
    projections: Projections = PROJECTIONS,
) -> Views:
    """Opens the views in step with the log: goes on, catches up or builds anew, whatever it takes."""
    if why_rebuild(path, log, installation):
        rebuild(path, log, installation, progress, projections)
    views = Views(path, projections)
    catch_up(views, log, progress)
    return views


def catch_up(views: Views, log: apsw.Connection, progress: Progress) -> None:
    """Folds what the log holds beyond the checkpoint."""
    checkpoint = read_checkpoint(views.db)
    assert checkpoint, f"{views.path} has no checkpoint"
    if checkpoint.position < head(log):
        views.begin()
        views.commit(*_fold(views, log, checkpoint.position, progress))


def rebuild(
    path: Path,
    log: apsw.Connection,
    installation: str,
    progress: Progress,
    projections: Projections = PROJECTIONS,
    up_to: int | None = None,
) -> None:
    """Makes the views from the whole log, or `up_to` a position, beside what is at `path`, then puts them in its place."""
    fresh = path.with_name(path.name + ".new")
    views = begun(fresh, installation, projections)
    try:
        views.commit(*_fold(views, log, 0, progress, up_to))
    finally:
        views.close()  # a file that is removed and held open keeps its room
    put_in_place(fresh, path)


def begun(path: Path, installation: str, projections: Projections) -> Views:
    """New views in an open transaction that nothing takes back: where the making ends early it begins anew."""
    remove(path)
    views = Views(path, projections)
    hurry(views.db)
    views.begin()
    views.create(installation)
    return views


def hurry(db: apsw.Connection) -> None:
    """Has it write as fast as it can, for what is made anew where the making ends early."""
    db.pragma("journal_mode", "off")
    db.pragma("synchronous", "off")
    db.pragma("cache_size", -64 * 1024)


def remove_unfinished(path: Path) -> None:
    """Takes away what a making of the views at `path` left that was killed."""
    for left in path.parent.glob(f"{path.name}.new*"):
        left.unlink()


def put_in_place(fresh: Path, path: Path) -> None:
    """Has new views, which are closed, be those at `path`."""
    _sync(fresh)
    remove(path)
    fresh.rename(path)
    _sync(path.parent)
    _condemned(path).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_whole(path: Path) -> bool:
    """Whether no page of the views is damaged. Reads them all."""
    try:
        db = open_reader(path)
        try:
            return bool(db.pragma("quick_check", 1) == "ok")
        finally:
            db.close()
    except (*DAMAGE, apsw.IOError, apsw.CantOpenError):
        return False


def condemn(path: Path) -> None:
    """Has the views built anew at the next start: a page was found damaged while they were in use."""
    _condemned(path).touch()


def _condemned(path: Path) -> Path:
    return path.with_name(path.name + ".condemned")


def _fold(
    views: Views, log: apsw.Connection, position: int, progress: Progress, up_to: int | None = None
) -> tuple[int, bytes]:
    """Folds all that comes after `position`, up to the head or `up_to`; returns where it ended."""
    link, last = b"", head(log) if up_to is None else up_to
    for chunk in _chunks(log, position, up_to):
        views.apply_all(chunk)
        position, link = chunk[-1].position, chunk[-1].link
        progress(position, last)
    return position, link


def _chunks(log: apsw.Connection, position: int, up_to: int | None) -> Iterator[list[Recorded]]:
    while chunk := read_all(log, position, CHUNK if up_to is None else min(CHUNK, up_to - position)):
        yield chunk
        position = chunk[-1].position


def remove(path: Path) -> None:
    """Takes away a file of views and what SQLite has beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def digests(db: apsw.Connection) -> dict[str, str]:
    """Table → SHA-256 of its rows in primary key order: equal digests, equal views."""
    return {name: _digest(db, name) for name in tables_in(db)}


def tables_in(db: apsw.Connection) -> list[str]:
    """The tables that hold rows of projections."""
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return [name for name in names if name != "checkpoint" and not name.startswith("sqlite_")]


def _digest(db: apsw.Connection, table: str) -> str:
    keys = [row[0] for row in db.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,))]
    digest = hashlib.sha256()
    for row in db.execute(f"SELECT * FROM {table} ORDER BY {', '.join(keys)}"):
        digest.update(repr(row).encode())
    return digest.hexdigest()
