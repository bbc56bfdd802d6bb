"""When services crashed: the breaker's window is cut from this."""

from apsw import Connection

from events.database import read_sql
from events.event import Event, Recorded
from events.services import (
    ServiceCircuitClosed,
    ServiceCircuitReset,
    ServiceCrashed,
    ServiceDeleted,
    ServiceRepairFailed,
)

TABLES = read_sql(__file__)


def crashes_since(db: Connection, service_id: str, at_us: int) -> int:
    """How often it crashed from a moment on."""
    return int(db.execute("SELECT count(*) FROM crash WHERE service_id = ? AND at_us >= ?", (service_id, at_us)).get)


def crashed(db: Connection, at: Recorded, _: ServiceCrashed | ServiceRepairFailed) -> None:
    db.execute("INSERT INTO crash VALUES (?, ?, ?)", (at.subject, at.position, at.at_us))


def forgotten(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM crash WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceCrashed: crashed,
    ServiceRepairFailed: crashed,
    ServiceCircuitClosed: forgotten,
    ServiceCircuitReset: forgotten,
    ServiceDeleted: forgotten,
}
