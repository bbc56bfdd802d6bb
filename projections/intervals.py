"""What ran from when to when, and what was kept for it: the ground of what is reserved, and of how long builds took.

A service's interval is from the moment when a deployment serves to the moment when nothing of the service is to run any
more: at a switch one ends where the next begins, so the overlap does not count, and what crashed and is brought back was
reserved all the time. A database's begins with its first answer; a build's is from its first attempt to its end.
"""

from apsw import Connection
from msgspec import Struct

from events.builds import BuildCancelled, BuildFailed, BuildRequested, BuildSucceeded
from events.database import read_sql
from events.databases import (
    DatabaseCreateRequested,
    DatabaseDeleteRequested,
    DatabaseGivenUp,
    DatabasePurged,
    DatabaseStarted,
    DatabaseStartFailed,
    DatabaseStopRequested,
)
from events.effects import EffectAttempted
from events.event import Event, Recorded
from events.services import (
    ServiceCircuitOpened,
    ServiceDeleteRequested,
    ServiceDeployCancelled,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceRepaired,
    ServiceRouted,
    ServiceRouteFailed,
    ServiceStopRequested,
)

TABLES = read_sql(__file__)
FOREVER = 2**62  # the end of what lasts
BUILD = "build-"


class IntervalRow(Struct, frozen=True):
    """One row of `interval`, its columns in order."""

    position: int
    id: str
    tenant_id: str
    kind: str
    resource_id: str
    memory_mb: int
    cpu_milli: int
    begun_at: int
    ended_at: int


def of_tenant(db: Connection, tenant_id: str, since: int, until: int) -> list[IntervalRow]:
    """A tenant's intervals that share a second with [since, until)."""
    rows = db.execute(
        "SELECT * FROM interval WHERE tenant_id = ? AND ended_at > ? AND begun_at < ? ORDER BY position",
        (tenant_id, since, until),
    )
    return [IntervalRow(*row) for row in rows]


def _ask(db: Connection, at: Recorded, id: str, kind: str, resource_id: str, memory_mb: int, cpu_milli: int) -> None:
    row = (id, at.position, at.tenant, kind, resource_id, memory_mb, cpu_milli)
    db.execute("INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _begin(db: Connection, at: Recorded, id: str) -> None:
    """What was asked for runs; nothing happens where it did already, or where nobody asks for it any more."""
    db.execute(
        "INSERT INTO interval SELECT ?1, id, tenant_id, kind, resource_id, memory_mb, cpu_milli, ?2, ?3 FROM asked"
        " WHERE id = ?4 AND NOT EXISTS (SELECT 1 FROM interval AS other WHERE other.resource_id = asked.resource_id"
        " AND other.ended_at = ?3 AND other.id = asked.id)",
        (at.position, at.at_s, FOREVER, id),
    )


def _end(db: Connection, at: Recorded, kind: str, resource_id: str, but: str = "") -> None:
    """Nothing of the service or the database runs any longer, but what is named."""
    db.execute(
        "UPDATE interval SET ended_at = ? WHERE resource_id = ? AND ended_at = ? AND kind = ? AND id <> ?",
        (at.at_s, resource_id, FOREVER, kind, but),
    )


def deploy_requested(db: Connection, at: Recorded, event: ServiceDeployRequested) -> None:
    memory_mb, cpu_milli = event.memory_mb * event.replicas, event.cpu_milli * event.replicas
    _ask(db, at, event.deployment_id, "service", at.subject, memory_mb, cpu_milli)


def routed(db: Connection, at: Recorded, event: ServiceRouted) -> None:
    _end(db, at, "service", at.subject, but=event.deployment_id)
    _begin(db, at, event.deployment_id)
    db.execute(
        "DELETE FROM asked WHERE resource_id = ?1 AND kind = 'service'"
        " AND position < (SELECT position FROM asked WHERE id = ?2)",
        (at.subject, event.deployment_id),
    )


def came_to_nothing(
    db: Connection,
    _: Recorded,
    event: ServiceDeployFailed | ServiceRouteFailed | ServiceDeploySuperseded | ServiceDeployCancelled,
) -> None:
    db.execute("DELETE FROM asked WHERE id = ?", (event.deployment_id,))


def repaired(db: Connection, at: Recorded, event: ServiceRepaired) -> None:
    """It may have been stopped by its circuit before."""
    if event.targets:
        _begin(db, at, event.deployment_id)


def service_stopped(db: Connection, at: Recorded, _: Event) -> None:
    _end(db, at, "service", at.subject)


def service_deleted(db: Connection, at: Recorded, _: Event) -> None:
    _end(db, at, "service", at.subject)
    db.execute("DELETE FROM asked WHERE resource_id = ? AND kind = 'service'", (at.subject,))


def database_asked(db: Connection, at: Recorded, event: DatabaseCreateRequested) -> None:
    _ask(db, at, at.subject, "database", at.subject, event.memory_mb, event.cpu_milli)


def database_started(db: Connection, at: Recorded, _: Event) -> None:
    _begin(db, at, at.subject)


def database_stopped(db: Connection, at: Recorded, _: Event) -> None:
    _end(db, at, "database", at.subject)


def database_purged(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM asked WHERE id = ?", (at.subject,))


def build_asked(db: Connection, at: Recorded, event: BuildRequested) -> None:
    _ask(db, at, at.subject, "build", event.service_id, 0, 0)


def attempted(db: Connection, at: Recorded, event: EffectAttempted) -> None:
    if event.subject.startswith(BUILD):
        _begin(db, at, event.subject.removeprefix(BUILD))


def build_ended(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM asked WHERE id = ?", (at.subject,))
    db.execute("UPDATE interval SET ended_at = ? WHERE id = ? AND ended_at = ?", (at.at_s, at.subject, FOREVER))


APPLY = {
    ServiceDeployRequested: deploy_requested,
    ServiceRouted: routed,
    ServiceDeployFailed: came_to_nothing,
    ServiceRouteFailed: came_to_nothing,
    ServiceDeploySuperseded: came_to_nothing,
    ServiceDeployCancelled: came_to_nothing,
    ServiceRepaired: repaired,
    ServiceCircuitOpened: service_stopped,
    ServiceStopRequested: service_stopped,
    ServiceDeleteRequested: service_deleted,
    DatabaseCreateRequested: database_asked,
    DatabaseStarted: database_started,
    DatabaseStartFailed: database_stopped,
    DatabaseGivenUp: database_stopped,
    DatabaseStopRequested: database_stopped,
    DatabaseDeleteRequested: database_stopped,
    DatabasePurged: database_purged,
    BuildRequested: build_asked,
    EffectAttempted: attempted,
    BuildSucceeded: build_ended,
    BuildFailed: build_ended,
    BuildCancelled: build_ended,
}
