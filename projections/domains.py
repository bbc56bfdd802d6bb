"""The further host names of services: who says that a name is theirs, and whose it was found to be.

Many may claim a name; the index in domains.sql keeps that one service at most has it verified.
"""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.domains import ServiceDomainAdded, ServiceDomainRemoved, ServiceDomainVerified
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


def added(db: Connection, at: Recorded, event: ServiceDomainAdded) -> None:
    db.execute(
        "INSERT INTO domain VALUES (?, ?, ?, 0, ?, NULL)",
        (at.subject, event.host, at.tenant, at.at_s),
    )


def verified(db: Connection, at: Recorded, event: ServiceDomainVerified) -> None:
    db.execute(
        "UPDATE domain SET verified = 1, verified_at = ? WHERE service_id = ? AND host = ?",
        (at.at_s, at.subject, event.host),
    )


def removed(db: Connection, at: Recorded, event: ServiceDomainRemoved) -> None:
    db.execute("DELETE FROM domain WHERE service_id = ? AND host = ?", (at.subject, event.host))


def all_removed(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM domain WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceDomainAdded: added,
    ServiceDomainVerified: verified,
    ServiceDomainRemoved: removed,
    ServiceDeleteRequested: all_removed,
}
