"""What we know of databases. Desired and observed are two folds; `status` is the one word for both.

The invariant: after any event of a database's stream, `version` is that event's version, for it is the ETag.
"""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.databases import (
    DatabaseConnectionStringRead,
    DatabaseCrashed,
    DatabaseCreateRequested,
    DatabaseDeleted,
    DatabaseDeleteRequested,
    DatabaseDrifted,
    DatabaseGivenUp,
    DatabasePurged,
    DatabasePurgeRequested,
    DatabaseRestored,
    DatabaseRestoreFailed,
    DatabaseRestoreRequested,
    DatabaseStarted,
    DatabaseStartFailed,
    DatabaseStartRequested,
    DatabaseStopped,
    DatabaseStopRequested,
    DatabaseUndeleted,
    DatabaseWorkSuperseded,
)
from events.event import Event, Recorded

TABLES = read_sql(__file__)


class DatabaseRow(Struct, frozen=True):
    """One row of `database`, its columns in order."""

    database_id: str
    tenant_id: str
    intent: int
    name: str
    label: str
    kind: str
    image: str
    pinned: str | None
    digest: str | None
    memory_mb: int
    cpu_milli: int
    port: int
    db_name: str
    username: str
    password: bytes | None
    address: str
    desired: str
    status: str
    container_id: str | None
    host: str
    host_port: int
    ran: int
    crash_count: int
    last_error_code: str | None
    last_error: bytes | None
    restore_code: str | None
    restore_error: bytes | None
    last_crashed_at: int | None
    purge_us: int | None
    created_at: int
    updated_at: int
    observed_at: int | None
    version: int

    @property
    def is_there(self) -> bool:
        """Whether the tenant has it; one that is deleted may yet come back."""
        return self.desired in ("running", "stopped")

    @property
    def internal_name(self) -> str:
        """By which containers of its tenant find it."""
        return f"{self.label}.db.internal"


def find(db: Connection, database_id: str) -> DatabaseRow | None:
    """The database, deleted or not."""
    for row in db.execute("SELECT * FROM database WHERE database_id = ?", (database_id,)):
        return DatabaseRow(*row)
    return None


def list_of(
    db: Connection, tenant_id: str, status: str = "", limit: int = -1, offset: int = 0, before: str = ""
) -> list[DatabaseRow]:
    """A tenant's databases, newest first; those that are there, or with `deleted` for a status those that are kept."""
    rows = db.execute(
        "SELECT * FROM database WHERE tenant_id = ?1 AND (?3 = '' OR database_id < ?3)"
        " AND CASE ?2 WHEN 'deleted' THEN desired = 'deleted' WHEN '' THEN desired IN ('running', 'stopped')"
        " ELSE status = ?2 AND desired IN ('running', 'stopped') END"
        " ORDER BY database_id DESC LIMIT ?4 OFFSET ?5",
        (tenant_id, status, before, limit, offset),
    )
    return [DatabaseRow(*row) for row in rows]


def kept_of(db: Connection, tenant_id: str) -> list[DatabaseRow]:
    """A tenant's databases that have a volume: those that are there, and those deleted that may yet come back."""
    rows = db.execute("SELECT * FROM database WHERE tenant_id = ? AND desired <> 'purged'", (tenant_id,))
    return [DatabaseRow(*row) for row in rows]


def owners(db: Connection) -> list[tuple[str, str]]:
    """(database's id, tenant's id) of all that have a volume."""
    rows = db.execute("SELECT database_id, tenant_id FROM database WHERE desired <> 'purged'")
    return [(database, tenant) for database, tenant in rows]


def list_all(db: Connection) -> list[DatabaseRow]:
    """All databases of all tenants that are there."""
    return [DatabaseRow(*row) for row in db.execute("SELECT * FROM database WHERE desired IN ('running', 'stopped')")]


def count_by_status(db: Connection) -> dict[str, int]:
    """How many databases there are of each status, of all tenants; deleted ones are not counted."""
    there = "WHERE desired IN ('running', 'stopped')"
    return dict(db.execute(f"SELECT status, count(*) FROM database {there} GROUP BY status"))


def held_by(db: Connection, tenant_id: str, without: str = "") -> tuple[int, int]:
    """(MB of memory, thousandths of a core) of a tenant's databases that are wanted to run, but one."""
    found = db.execute(
        "SELECT coalesce(sum(memory_mb), 0), coalesce(sum(cpu_milli), 0) FROM database"
        " WHERE tenant_id = ? AND desired = 'running' AND database_id <> ?",
        (tenant_id, without),
    )
    memory_mb, cpu_milli = next(found)
    return memory_mb, cpu_milli


def addresses_of(db: Connection, tenant_id: str, label: str) -> list[str] | None:
    """Where `<label>.db.internal` is: at its own address, whether or not it runs; None where nothing is called that."""
    found = db.execute(
        "SELECT address FROM database WHERE tenant_id = ? AND label = ? AND desired IN ('running', 'stopped')",
        (tenant_id, label),
    )
    return [address for (address,) in found] or None


def crashes_since(db: Connection, database_id: str, at_us: int) -> int:
    """How often it crashed from a moment on."""
    found = db.execute("SELECT count(*) FROM database_crash WHERE database_id = ? AND at_us >= ?", (database_id, at_us))
    return int(found.get)


def _update(db: Connection, at: Recorded, assignments: str = "", *values: str | int | bytes | None) -> None:
    """Writes the database's row with the event's version and time; `values` are ?4, ?5, …"""
    db.execute(
        f"UPDATE database SET version = ?1, updated_at = ?2{assignments} WHERE database_id = ?3",
        (at.version, at.at_s, at.subject, *values),
    )


def created(db: Connection, at: Recorded, event: DatabaseCreateRequested) -> None:
    db.execute(
        "INSERT INTO database (database_id, tenant_id, intent, name, label, kind, image, memory_mb, cpu_milli, port,"
        " db_name, username, password, address, desired, status, host, host_port, ran, crash_count,"
        " created_at, updated_at, version)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', 'provisioning', '', 0, 0, 0, ?, ?, ?)",
        (
            at.subject,
            at.tenant,
            at.position,
            event.name,
            event.label,
            event.kind,
            event.image,
            event.memory_mb,
            event.cpu_milli,
            event.port,
            event.db_name,
            event.username,
            event.password,
            event.address,
            at.at_s,
            at.at_s,
            at.version,
        ),
    )


def start_requested(db: Connection, at: Recorded, _: Event) -> None:
    """One that ran before is unavailable until it does again; one that never did is being made."""
    _update(
        db,
        at,
        ", desired = 'running', purge_us = NULL, status = CASE WHEN ran THEN 'unavailable' ELSE 'provisioning' END",
    )


def started(db: Connection, at: Recorded, event: DatabaseStarted) -> None:
    _update(
        db,
        at,
        ", status = 'running', ran = 1, container_id = ?4, host = ?5, host_port = ?6, digest = ?7, pinned = ?8,"
        " observed_at = ?2, last_error_code = NULL, last_error = NULL",
        event.instance,
        event.host,
        event.port,
        event.digest,
        event.pinned,
    )


def start_failed(db: Connection, at: Recorded, event: DatabaseStartFailed) -> None:
    _count_crash(db, at)
    _update(
        db,
        at,
        ", status = 'failed', crash_count = crash_count + ran, last_error_code = ?4, last_error = ?5,"
        " last_crashed_at = CASE WHEN ran THEN ?2 ELSE last_crashed_at END",
        event.code,
        event.detail,
    )


def drifted(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", status = 'unavailable'")


def crashed(db: Connection, at: Recorded, event: DatabaseCrashed) -> None:
    _count_crash(db, at)
    code = "out_of_memory" if event.oom_killed else "crashed"
    _update(
        db,
        at,
        ", status = 'unavailable', crash_count = ?4, last_error_code = ?5, last_error = NULL, last_crashed_at = ?2",
        event.crash_count,
        code,
    )


def _count_crash(db: Connection, at: Recorded) -> None:
    db.execute("INSERT INTO database_crash VALUES (?, ?, ?)", (at.subject, at.position, at.at_us))


def given_up(db: Connection, at: Recorded, event: DatabaseGivenUp) -> None:
    _update(db, at, ", status = 'failed', crash_count = ?4", event.crash_count)


def stop_requested(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", desired = 'stopped'")


def stopped(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", status = 'stopped', container_id = NULL, observed_at = ?2")


def delete_requested(db: Connection, at: Recorded, event: DatabaseDeleteRequested) -> None:
    _update(db, at, ", desired = 'deleted', status = 'deleted', purge_us = ?4", event.purge_us)


def deleted(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", container_id = NULL, observed_at = ?2")


def purge_requested(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", purge_us = ?4", at.at_us)


def purged(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM database_crash WHERE database_id = ?", (at.subject,))
    _update(db, at, ", desired = 'purged', password = NULL, last_error = NULL, restore_error = NULL")


def restore_requested(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", status = 'restoring', restore_code = NULL, restore_error = NULL")


def restored(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", status = 'running', last_error_code = NULL, last_error = NULL")


def restore_failed(db: Connection, at: Recorded, event: DatabaseRestoreFailed) -> None:
    _update(db, at, ", status = 'running', restore_code = ?4, restore_error = ?5", event.code, event.detail)


def touched(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at)


APPLY = {
    DatabaseCreateRequested: created,
    DatabaseStartRequested: start_requested,
    DatabaseStarted: started,
    DatabaseStartFailed: start_failed,
    DatabaseDrifted: drifted,
    DatabaseCrashed: crashed,
    DatabaseGivenUp: given_up,
    DatabaseStopRequested: stop_requested,
    DatabaseStopped: stopped,
    DatabaseDeleteRequested: delete_requested,
    DatabaseDeleted: deleted,
    DatabaseUndeleted: start_requested,
    DatabasePurgeRequested: purge_requested,
    DatabasePurged: purged,
    DatabaseWorkSuperseded: touched,
    DatabaseRestoreRequested: restore_requested,
    DatabaseRestored: restored,
    DatabaseRestoreFailed: restore_failed,
    DatabaseConnectionStringRead: touched,
}
