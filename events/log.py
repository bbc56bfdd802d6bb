"""The log: appends a batch under one transaction, and reads what is there.

One connection writes, and it belongs to the writer's thread. Positions are assigned here as last + 1, never by SQLite;
every append extends the hash chain. The invariant: after `commit` returned the batch is on the disk, whole, in order;
after `rollback` nothing of it is, and the log object knows the place it had before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import apsw

from events import chain, platform
from events.catalog import CATALOG, UPCASTS, decode
from events.database import open_database, open_reader, run_script
from events.event import Event, Meta, Recorded, canonical, wire_name

Expected = int | Literal["any", "none", "exists"]
Fit = Literal["fits", "wrong_version", "missing", "exists"]

ENDS_KNOWN = 10_000  # streams whose number and version are remembered
TAIL = 200  # events at the end whose chain is checked at every start
APPLICATION_ID = 0x61686C67  # "ahlg"
SCHEMA_VERSION = 1

COLUMNS = "e.position, s.name, e.version, e.type, e.at_us, e.tenant, e.data, e.meta, e.link"
_FROM = f"SELECT {COLUMNS} FROM event e JOIN stream s ON s.id = e.stream"


class LogDamaged(Exception):
    """The file is not a log, not a whole one, or of a release that this code does not know."""


class VersionConflict(Exception):
    """The stream is not where the caller expected it. Nothing was appended."""

    def __init__(self, stream: str, fit: Fit, expected: Expected, actual: int) -> None:
        super().__init__(f"{stream}: expected version {expected}, it is at {actual}")
        self.fit: Fit = fit
        self.expected = expected
        self.actual = actual


def fit(expected: Expected, actual: int) -> Fit:
    """Whether a stream at version `actual` (0: it does not exist) is as expected.

    >>> fit(3, 3), fit("none", 1), fit("exists", 0), fit(2, 3)
    ('fits', 'exists', 'missing', 'wrong_version')
    """
    if expected == "any":
        return "fits"
    if expected == "none":
        return "fits" if actual == 0 else "exists"
    if actual == 0:
        return "missing"
    return "fits" if expected in ("exists", actual) else "wrong_version"


def prepare(db: apsw.Connection, path: Path) -> None:
    """Makes the tables where the file is empty. Raises LogDamaged where it is something else than a log of this release."""
    found = db.pragma("application_id")
    if found == 0 and db.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        with db:
            run_script(db, Path(__file__).with_name("schema.sql").read_text())
            db.pragma("application_id", APPLICATION_ID)
            db.pragma("user_version", SCHEMA_VERSION)
        return
    version = db.pragma("user_version")
    if found != APPLICATION_ID or version != SCHEMA_VERSION:
        raise LogDamaged(f"{path} is not a log of this release (application {found:#x}, schema {version})")


def has_events(path: Path) -> bool:
    """Whether a log has begun there. Of what cannot be read it has: EventLog says what is wrong."""
    if not (path.exists() and path.stat().st_size):
        return False
    db = open_reader(path)
    try:
        is_begun = db.execute("SELECT count(*) FROM sqlite_schema").get  # else it died before it had tables
        return bool(is_begun and db.execute("SELECT 1 FROM event LIMIT 1").get)
    except apsw.Error:
        return True
    finally:
        db.close()


class EventLog:
    """The write side of `events.db`. Not safe for threads: the writer's thread owns it."""

    def __init__(self, path: Path, installation: str, now_us: int) -> None:
        """Opens the log, or makes one whose first event says which installation it belongs to.

        Raises LogDamaged when its end is not contiguous or its chain does not verify there.
        """
        self.path = path
        self._ends: dict[str, tuple[int, int]] = {}  # stream → (its number, its version), in the open batch
        try:
            self.db = open_database(path, "FULL")
            prepare(self.db, path)
            self.position, self.link = self._check_tail()
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise LogDamaged(f"{path} is no whole log ({error}): restore it from a backup") from error
        self.last_us = self._last_us()
        self._committed = (self.position, self.link)
        if self.position == 0:
            self.begin()
            self.append(platform.STREAM, [platform.LogCreated(installation)], "none", "", now_us, Meta(actor="system"))
            self.commit()

    def _check_tail(self) -> tuple[int, bytes]:
        last = self.db.execute("SELECT coalesce(max(position), 0) FROM event").get
        first = max(0, last - TAIL)
        events = read_all(self.db, first, TAIL + 1)
        before = (
            chain.GENESIS if first == 0 else self.db.execute("SELECT link FROM event WHERE position = ?", (first,)).get
        )
        try:
            link = chain.verify(before or b"", first, events)
        except chain.ChainBroken as broken:
            raise LogDamaged(f"{self.path}: the chain does not hold at {broken}: restore it from a backup") from broken
        if first + len(events) != last:
            raise LogDamaged(
                f"{self.path}: the last position is {last}, but the events end at {first + len(events)}: restore it from"
                " a backup"
            )
        return last, link

    def _last_us(self) -> int:
        return self.db.execute("SELECT at_us FROM event WHERE position = ?", (self.position,)).get or 0

    @property
    def committed(self) -> int:
        """The last position that a COMMIT of ours made durable."""
        return self._committed[0]

    @property
    def installation(self) -> str:
        """The id that this log was made with."""
        first = decode("log.created", read_all(self.db, 0, 1)[0].data)
        assert isinstance(first, platform.LogCreated), first
        return first.installation

    @property
    def epoch(self) -> int:
        """Which life of the log this is: 1, and one more with every restore."""
        newest = read_stream(self.db, platform.STREAM, 0, 1_000_000)[-1]
        event = decode(newest.type, newest.data)
        return event.epoch if isinstance(event, platform.LogRestored) else 1

    def begin(self) -> None:
        """Opens the transaction of a batch. Raises apsw.BusyError while somebody else holds the lock."""
        self.db.execute("BEGIN IMMEDIATE")

    def version(self, stream: str) -> tuple[int | None, int]:
        """(the stream's number, its version); (None, 0) when it does not exist."""
        if known := self._ends.get(stream):
            return known
        for number, version in self.db.execute(
            "SELECT s.id, (SELECT max(version) FROM event WHERE stream = s.id) FROM stream s WHERE s.name = ?",
            (stream,),
        ):
            return number, version or 0
        return None, 0

    def append(
        self, stream: str, events: list[Event], expected: Expected, tenant: str, at_us: int, meta: Meta
    ) -> list[Recorded]:
        """Adds events to the end of a stream, inside the open batch. Raises VersionConflict; then nothing was added."""
        number, version = self.version(stream)
        if (found := fit(expected, version)) != "fits":
            raise VersionConflict(stream, found, expected, version)
        if number is None:
            self.db.execute("INSERT INTO stream (name) VALUES (?)", (stream,))
            number = self.db.last_insert_rowid()
        meta_bytes = canonical(meta)
        if len(self._ends) >= ENDS_KNOWN:
            self._ends.clear()
        self._ends[stream] = (number, version + len(events))
        recorded = []
        for event in events:
            version += 1
            self.position += 1
            type_name, data = wire_name(type(event)), canonical(event)
            own = chain.leaf(self.position, stream, version, type_name, at_us, tenant, data, meta_bytes)
            self.link = chain.link(self.link, own)
            self.db.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self.position, number, version, type_name, at_us, tenant, data, meta_bytes, self.link),
            )
            self.last_us = at_us
            recorded.append(
                Recorded(self.position, stream, version, type_name, at_us, tenant, data, meta_bytes, self.link)
            )
        return recorded

    def commit(self) -> None:
        """Makes the batch durable. An error here other than a full disk leaves the outcome unknown."""
        self.db.execute("COMMIT")
        self._committed = (self.position, self.link)

    def rollback(self) -> None:
        """Forgets the batch, in the file and in memory."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self.position, self.link = self._committed
        self._ends.clear()

    def last_position_in_file(self) -> int:
        """The position that the file itself gives as last, read anew."""
        return head(self.db)

    def command(self, command_id: bytes) -> tuple[bytes, int, int, bytes] | None:
        """What a command was answered; see `read_command`."""
        return read_command(self.db, command_id)

    def command_secret(self, command_id: bytes, now_us: int) -> bytes | None:
        """The sealed secret of an answer, while it is kept."""
        return read_command_secret(self.db, command_id, now_us)

    def remember(self, command_id: bytes, fingerprint: bytes, first: int, last: int, at_us: int, sealed: bytes) -> None:
        """Keeps a command's answer, for good, in the open batch."""
        self.db.execute(
            "INSERT INTO command VALUES (?, ?, ?, ?, ?, ?)", (command_id, fingerprint, first, last, at_us, sealed)
        )

    def remember_secret(self, command_id: bytes, now_us: int, expires_at_us: int, sealed: bytes) -> None:
        """Keeps the secret of an answer until it expires, and drops those that did."""
        self.db.execute("DELETE FROM command_secret WHERE expires_at_us <= ?", (now_us,))
        self.db.execute("INSERT INTO command_secret VALUES (?, ?, ?)", (command_id, expires_at_us, sealed))

    def close(self) -> None:
        """Closes the file; SQLite folds the WAL into it."""
        self.db.close()


def read_all(db: apsw.Connection, after: int, limit: int) -> list[Recorded]:
    """At most `limit` events that come after a position, in order."""
    return [
        Recorded(*row)
        for row in db.execute(f"{_FROM} WHERE e.position > ? ORDER BY e.position LIMIT ?", (after, limit))
    ]


def read_share(db: apsw.Connection, share: int, shares: int, after: int, up_to: int, limit: int) -> list[Recorded]:
    """At most `limit` events after a position, up to another, in order: those of one of so many shares of the tenants.

    A tenant is in the share that the last digit of its id gives, which is chance (new_id); nobody is a tenant like another.
    """
    return [
        Recorded(*row)
        for row in db.execute(
            f"{_FROM} WHERE e.position > ? AND e.position <= ? AND instr('0123456789abcdef', substr(e.tenant, -1)) % ? = ?"
            " ORDER BY e.position LIMIT ?",
            (after, up_to, shares, share, limit),
        )
    ]


def event_at(db: apsw.Connection, position: int) -> Recorded | None:
    """The event at a position; None where there is none."""
    return next((at for at in read_all(db, position - 1, 1) if at.position == position), None)


def link_at(db: apsw.Connection, position: int) -> bytes:
    """The chain's link at a position; b"" where the log does not come so far."""
    if position == 0:
        return chain.GENESIS
    found = event_at(db, position)
    return found.link if found else b""


def read_verified(db: apsw.Connection, after: int, link: bytes, up_to: int, limit: int) -> Iterator[list[Recorded]]:
    """The events after a position, whose link is given, up to another, at most `limit` at once.

    Raises ChainBroken with the first position that does not follow, or is not there.
    """
    while after < up_to:
        events = read_all(db, after, min(limit, up_to - after))
        link = chain.verify(link, after, events)
        if not events:
            raise chain.ChainBroken(after + 1, "it is missing")
        yield events
        after += len(events)


def read_tenant(db: apsw.Connection, tenant: str, after: int, limit: int) -> list[Recorded]:
    """At most `limit` events of one tenant that come after a position, in order."""
    return [
        Recorded(*row)
        for row in db.execute(
            f"{_FROM} WHERE e.tenant = ? AND e.position > ? ORDER BY e.position LIMIT ?", (tenant, after, limit)
        )
    ]


def read_tenant_and_platform(db: apsw.Connection, tenant: str, after: int, up_to: int, limit: int) -> list[Recorded]:
    """At most `limit` events of one tenant, or of nobody, that come after a position and up to another, in order."""
    of_one = f"{_FROM} WHERE e.tenant = ? AND e.position > ? AND e.position <= ?"
    return [
        Recorded(*row)
        for row in db.execute(
            f"{of_one} UNION ALL {of_one} ORDER BY 1 LIMIT ?", (tenant, after, up_to, "", after, up_to, limit)
        )
    ]


def read_tenant_backwards(db: apsw.Connection, tenant: str, before: int, limit: int) -> list[Recorded]:
    """At most `limit` events of one tenant that come before a position, newest first."""
    return [
        Recorded(*row)
        for row in db.execute(
            f"{_FROM} WHERE e.tenant = ? AND e.position < ? ORDER BY e.position DESC LIMIT ?", (tenant, before, limit)
        )
    ]


def read_stream(db: apsw.Connection, stream: str, after_version: int, limit: int) -> list[Recorded]:
    """At most `limit` events of one stream that come after a version, in order."""
    return [
        Recorded(*row)
        for row in db.execute(
            f"{_FROM} WHERE e.stream = (SELECT id FROM stream WHERE name = ?) AND e.version > ?"
            " ORDER BY e.version LIMIT ?",
            (stream, after_version, limit),
        )
    ]


def read_consequences(db: apsw.Connection, tenant: str, after: int, limit: int) -> list[tuple[int, int, int]]:
    """What each of a tenant's events after a position followed from: (position, cause, intent that it ends), 0 for none."""
    return [
        (position, cause, intent if isinstance(intent, int) else 0)
        for position, cause, intent in db.execute(
            "SELECT position, coalesce(json_extract(CAST(meta AS TEXT), '$.cause'), 0),"
            " json_extract(CAST(data AS TEXT), '$.intent')"
            " FROM event WHERE tenant = ? AND position > ? ORDER BY position LIMIT ?",
            (tenant, after, limit),
        )
    ]


def first_unknown(db: apsw.Connection, after: int) -> Recorded | None:
    """The first event that comes after a position and is of a type that this code does not know."""
    known = canonical([*CATALOG, *UPCASTS]).decode()
    where = "e.position > ? AND e.type NOT IN (SELECT value FROM json_each(?)) ORDER BY e.position LIMIT 1"
    return next((Recorded(*row) for row in db.execute(f"{_FROM} WHERE {where}", (after, known))), None)


def read_command(db: apsw.Connection, command_id: bytes) -> tuple[bytes, int, int, bytes] | None:
    """What a command was answered: (fingerprint, first position, last position, sealed answer)."""
    for fingerprint, first, last, sealed in db.execute(
        "SELECT fingerprint, first_position, last_position, answer FROM command WHERE id = ?", (command_id,)
    ):
        return fingerprint, first, last, sealed
    return None


def read_command_secret(db: apsw.Connection, command_id: bytes, now_us: int) -> bytes | None:
    """The sealed secret of an answer, while it is kept."""
    for (sealed,) in db.execute(
        "SELECT answer FROM command_secret WHERE id = ? AND expires_at_us > ?", (command_id, now_us)
    ):
        return bytes(sealed)
    return None


def head(db: apsw.Connection) -> int:
    """The last position."""
    return int(db.execute("SELECT coalesce(max(position), 0) FROM event").get)
