"""Open circuits: when the service may be tried again, and since when a try has been holding."""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.event import Event, Recorded
from events.services import (
    ServiceCircuitClosed,
    ServiceCircuitHalfOpened,
    ServiceCircuitOpened,
    ServiceCircuitReset,
    ServiceDeleted,
)

TABLES = read_sql(__file__)


class CircuitRow(Struct, frozen=True):
    """One row of `circuit`, its columns in order."""

    service_id: str
    trials: int
    since_us: int
    try_at_us: int


def find(db: Connection, service_id: str) -> CircuitRow | None:
    """The service's circuit where it is open or half open; None when it is closed."""
    for row in db.execute("SELECT * FROM circuit WHERE service_id = ?", (service_id,)):
        return CircuitRow(*row)
    return None


def opened(db: Connection, at: Recorded, event: ServiceCircuitOpened) -> None:
    """Again, where a try did not hold: what was said of the next one stands."""
    before = find(db, at.subject)
    trials, try_at_us = (before.trials, max(before.try_at_us, event.try_at_us)) if before else (0, event.try_at_us)
    db.execute("REPLACE INTO circuit VALUES (?, ?, ?, ?)", (at.subject, trials, at.at_us, try_at_us))


def half_opened(db: Connection, at: Recorded, event: ServiceCircuitHalfOpened) -> None:
    db.execute(
        "UPDATE circuit SET trials = ?2, since_us = ?3, try_at_us = ?4 WHERE service_id = ?1",
        (at.subject, event.trial, at.at_us, event.try_at_us),
    )


def closed(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM circuit WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceCircuitOpened: opened,
    ServiceCircuitHalfOpened: half_opened,
    ServiceCircuitClosed: closed,
    ServiceCircuitReset: closed,
    ServiceDeleted: closed,
}
