"""What we know of instances: where the deployments of a service answer, the one that serves and one that is to.

What is told of a service follows from its instances, so they are folded first.
"""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.event import Event, Recorded
from events.services import (
    ServiceCrashed,
    ServiceDeleteRequested,
    ServiceDeployCancelled,
    ServiceDeployFailed,
    ServiceDeploySuperseded,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRouted,
    ServiceRouteFailed,
    ServiceStopped,
    Target,
)
from projections.tables import Table, Tables

TABLES = read_sql(__file__)


class InstanceRow(Struct, frozen=True, gc=False):
    """One row of `instance`, its columns in order."""

    service_id: str
    replica: int
    deployment_id: str
    instance: str
    host: str
    port: int


INSTANCE = Table("instance", InstanceRow, "service_id")


def list_of(db: Connection, service_id: str) -> list[InstanceRow]:
    """Where the deployment that serves answers, by replica."""
    rows = db.execute(
        "SELECT instance.* FROM service JOIN instance USING (service_id, deployment_id) WHERE service_id = ?"
        " ORDER BY replica",
        (service_id,),
    )
    return [InstanceRow(*row) for row in rows]


def names(db: Connection) -> list[str]:
    """Of all instances that answer, or are to: those of services, and of databases."""
    rows = db.execute(
        "SELECT instance FROM instance UNION SELECT container_id FROM database WHERE container_id IS NOT NULL ORDER BY 1"
    )
    return [name for (name,) in rows]


def healthy(tables: Tables, at: Recorded, event: ServiceInstanceHealthy) -> None:
    _place(tables, at, event.deployment_id, event.targets)


def routed(tables: Tables, at: Recorded, event: ServiceRouted) -> None:
    """What served before is nobody's to ask any more."""
    serving = [row for row in tables.of(INSTANCE, at.subject) if row.deployment_id == event.deployment_id]
    tables.put(INSTANCE, at.subject, serving)


def came_to_nothing(
    tables: Tables,
    at: Recorded,
    event: ServiceDeployFailed | ServiceRouteFailed | ServiceDeploySuperseded | ServiceDeployCancelled,
) -> None:
    _place(tables, at, event.deployment_id, [])


def crashed(tables: Tables, at: Recorded, event: ServiceCrashed) -> None:
    gone = (event.deployment_id, event.replica)
    left = [row for row in tables.of(INSTANCE, at.subject) if (row.deployment_id, row.replica) != gone]
    tables.put(INSTANCE, at.subject, left)


def repaired(tables: Tables, at: Recorded, event: ServiceRepaired) -> None:
    if event.targets:
        _place(tables, at, event.deployment_id, event.targets)


def _place(tables: Tables, at: Recorded, deployment_id: str, targets: list[Target]) -> None:
    """The deployment answers there, and nowhere else."""
    others = [row for row in tables.of(INSTANCE, at.subject) if row.deployment_id != deployment_id]
    placed = [InstanceRow(at.subject, to.replica, deployment_id, to.instance, to.host, to.port) for to in targets]
    tables.put(INSTANCE, at.subject, others + placed)


def all_gone(tables: Tables, at: Recorded, _: Event) -> None:
    tables.put(INSTANCE, at.subject, ())


APPLY = {
    ServiceInstanceHealthy: healthy,
    ServiceRouted: routed,
    ServiceRouteFailed: came_to_nothing,
    ServiceDeployFailed: came_to_nothing,
    ServiceDeploySuperseded: came_to_nothing,
    ServiceDeployCancelled: came_to_nothing,
    ServiceCrashed: crashed,
    ServiceRepaired: repaired,
    ServiceRepairFailed: all_gone,
    ServiceStopped: all_gone,
    ServiceDeleteRequested: all_gone,
}
