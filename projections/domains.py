"""The further host names of services: who says that a name is theirs, and whose it was found to be.

Many may claim a name; the index in domains.sql keeps that one service at most has it verified.
"""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.domains import (
    ServiceDomainAdded,
    ServiceDomainCheckDropped,
    ServiceDomainChecked,
    ServiceDomainCheckRequested,
    ServiceDomainRemoved,
    ServiceDomainVerified,
)
from events.event import Event, Recorded
from events.services import ServiceDeleteRequested

TABLES = read_sql(__file__)


class DomainRow(Struct, frozen=True):
    """One row of `domain`, its columns in order."""

    service_id: str
    host: str
    tenant_id: str
    verified: int
    added_at: int
    verified_at: int | None
    checked_at: int | None
    finding: str | None
    check_at: int | None
    check_open: int | None


def list_of(db: Connection, service_id: str) -> list[DomainRow]:
    """A service's host names beside its own, by name."""
    return [
        DomainRow(*row) for row in db.execute("SELECT * FROM domain WHERE service_id = ? ORDER BY host", (service_id,))
    ]


def claims_of(db: Connection, tenant_id: str, host: str) -> list[DomainRow]:
    """The tenant's own claims to a name."""
    rows = db.execute("SELECT * FROM domain WHERE tenant_id = ? AND host = ?", (tenant_id, host))
    return [DomainRow(*row) for row in rows]


def owner_of(db: Connection, host: str) -> DomainRow | None:
    """Whose the name was found to be."""
    for row in db.execute("SELECT * FROM domain WHERE host = ? AND verified", (host,)):
        return DomainRow(*row)
    return None


def unverified_of(db: Connection, tenant_id: str) -> int:
    """How many of a tenant's claims nobody vouched for yet."""
    return int(db.execute("SELECT count(*) FROM domain WHERE tenant_id = ? AND NOT verified", (tenant_id,)).get)


def added(db: Connection, at: Recorded, event: ServiceDomainAdded) -> None:
    db.execute(
        "INSERT INTO domain VALUES (?, ?, ?, 0, ?, NULL, NULL, NULL, NULL, NULL)",
        (at.subject, event.host, at.tenant, at.at_s),
    )


def verified(db: Connection, at: Recorded, event: ServiceDomainVerified) -> None:
    db.execute(
        "UPDATE domain SET verified = 1, verified_at = ? WHERE service_id = ? AND host = ?",
        (at.at_s, at.subject, event.host),
    )


def removed(db: Connection, at: Recorded, event: ServiceDomainRemoved) -> None:
    db.execute("DELETE FROM domain WHERE service_id = ? AND host = ?", (at.subject, event.host))


def check_requested(db: Connection, at: Recorded, event: ServiceDomainCheckRequested) -> None:
    db.execute(
        "UPDATE domain SET check_at = ?, check_open = ? WHERE service_id = ? AND host = ?",
        (max(at.at_us, event.due_us) // 1_000_000, at.position, at.subject, event.host),
    )


def checked(db: Connection, at: Recorded, event: ServiceDomainChecked) -> None:
    db.execute(
        "UPDATE domain SET checked_at = ?, finding = ?, check_at = NULL, check_open = NULL WHERE service_id = ? AND host = ?",
        (at.at_s, event.finding, at.subject, event.host),
    )


def check_dropped(db: Connection, at: Recorded, event: ServiceDomainCheckDropped) -> None:
    db.execute(
        "UPDATE domain SET check_at = NULL, check_open = NULL WHERE service_id = ? AND host = ?",
        (at.subject, event.host),
    )


def all_removed(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM domain WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceDomainAdded: added,
    ServiceDomainVerified: verified,
    ServiceDomainRemoved: removed,
    ServiceDomainCheckRequested: check_requested,
    ServiceDomainChecked: checked,
    ServiceDomainCheckDropped: check_dropped,
    ServiceDeleteRequested: all_removed,
}
