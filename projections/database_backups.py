"""What we know of backups of databases. One that is removed has no row any more."""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.database_backups import (
    DatabaseBackupFailed,
    DatabaseBackupRemoved,
    DatabaseBackupRemoveRequested,
    DatabaseBackupRequested,
    DatabaseBackupTaken,
    DatabaseBackupVerified,
)
from events.event import Event, Recorded

TABLES = read_sql(__file__)


class BackupRow(Struct, frozen=True):
    """One row of `database_backup`, its columns in order."""

    backup_id: str
    database_id: str
    tenant_id: str
    intent: int
    status: str
    size: int | None
    sha256: str | None
    roles: bytes | None
    tables: int
    rows: int
    keys: int
    error_code: str | None
    error: bytes | None
    created_at: int
    taken_at: int | None
    finished_at: int | None
    version: int

    @property
    def is_open(self) -> bool:
        """Whether it is being taken or proved, or is about to be."""
        return self.status in ("pending", "verifying")


def find(db: Connection, backup_id: str) -> BackupRow | None:
    """One backup."""
    for row in db.execute("SELECT * FROM database_backup WHERE backup_id = ?", (backup_id,)):
        return BackupRow(*row)
    return None


def list_of(db: Connection, database_id: str, limit: int = -1, offset: int = 0, before: str = "") -> list[BackupRow]:
    """A database's backups, newest first; before an id where it is given."""
    rows = db.execute(
        "SELECT * FROM database_backup WHERE database_id = ?1 AND (?2 = '' OR backup_id < ?2)"
        " ORDER BY backup_id DESC LIMIT ?3 OFFSET ?4",
        (database_id, before, limit, offset),
    )
    return [BackupRow(*row) for row in rows]


def of_tenant(db: Connection, tenant_id: str) -> list[BackupRow]:
    """All backups of a tenant's databases, those that are purged included."""
    return [BackupRow(*row) for row in db.execute("SELECT * FROM database_backup WHERE tenant_id = ?", (tenant_id,))]


def list_all(db: Connection) -> list[BackupRow]:
    """All backups of all tenants' databases."""
    return [BackupRow(*row) for row in db.execute("SELECT * FROM database_backup ORDER BY backup_id")]


def held(db: Connection) -> dict[str, int]:
    """Tenant → bytes of all its backups' files."""
    rows = db.execute(
        "SELECT tenant_id, sum(size) FROM database_backup WHERE status IN ('verifying', 'verified') GROUP BY tenant_id"
    )
    return {str(tenant): int(size) for tenant, size in rows}


def surplus(db: Connection, kept: int) -> list[BackupRow]:
    """What is to go: of each database all that is older than the `kept` newest verified, and the `kept` newest failed
    ones; of one that is purged all."""
    rows = db.execute(
        "SELECT backup.* FROM (SELECT *, row_number() OVER"
        " (PARTITION BY database_id, status ORDER BY backup_id DESC) AS age FROM database_backup) AS backup"
        " JOIN database USING (database_id)"
        " WHERE backup.status <> 'removing'"
        " AND (database.desired = 'purged' OR backup.status IN ('verified', 'failed') AND age > ?)",
        (kept,),
    )
    return [BackupRow(*row[:-1]) for row in rows]


def requested(db: Connection, at: Recorded, event: DatabaseBackupRequested) -> None:
    db.execute(
        "INSERT INTO database_backup"
        " (backup_id, database_id, tenant_id, intent, status, tables, rows, keys, created_at, version)"
        " VALUES (?, ?, ?, ?, 'pending', 0, 0, 0, ?, ?)",
        (at.subject, event.database_id, at.tenant, at.position, at.at_s, at.version),
    )


def _update(db: Connection, at: Recorded, assignments: str, *values: str | int | bytes) -> None:
    """Writes the row with the event's version; `values` are ?3, ?4, …"""
    db.execute(
        f"UPDATE database_backup SET version = ?1, {assignments} WHERE backup_id = ?2",
        (at.version, at.subject, *values),
    )


def taken(db: Connection, at: Recorded, event: DatabaseBackupTaken) -> None:
    _update(
        db,
        at,
        "status = 'verifying', intent = ?3, size = ?4, sha256 = ?5, taken_at = ?6, roles = ?7",
        at.position,
        event.size,
        event.sha256,
        at.at_s,
        event.roles,
    )


def verified(db: Connection, at: Recorded, event: DatabaseBackupVerified) -> None:
    _update(
        db,
        at,
        "status = 'verified', tables = ?3, rows = ?4, keys = ?5, finished_at = ?6",
        event.tables,
        event.rows,
        event.keys,
        at.at_s,
    )


def failed(db: Connection, at: Recorded, event: DatabaseBackupFailed) -> None:
    _update(
        db, at, "status = 'failed', error_code = ?3, error = ?4, finished_at = ?5", event.code, event.detail, at.at_s
    )


def remove_requested(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, "status = 'removing', intent = ?3", at.position)


def removed(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM database_backup WHERE backup_id = ?", (at.subject,))


APPLY = {
    DatabaseBackupRequested: requested,
    DatabaseBackupTaken: taken,
    DatabaseBackupVerified: verified,
    DatabaseBackupFailed: failed,
    DatabaseBackupRemoveRequested: remove_requested,
    DatabaseBackupRemoved: removed,
}
