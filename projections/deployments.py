"""What we know of deployments: what was to run, and how far it came."""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.effects import EffectAttempted
from events.event import Event, Recorded, canonical, wire_name
from events.services import (
    ServiceCrashed,
    ServiceDeleteRequested,
    ServiceDeployCancelled,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRouted,
    ServiceRouteFailed,
    ServiceStopped,
)
from projections.tables import Table, Tables
from projections.todo import TODO

TABLES = read_sql(__file__)


class DeploymentRow(Struct, frozen=True, gc=False):
    """One row of `deployment`, its columns in order."""

    deployment_id: str
    service_id: str
    tenant_id: str
    intent: int
    number: int
    trigger: str
    image: str
    pinned: str | None
    digest: str | None
    port: int
    memory_mb: int
    cpu_milli: int
    health_path: str
    egress: str
    replicas: int
    volumes: str
    env_version: int
    status: str
    container_id: str | None
    error_code: str | None
    error: bytes | None
    tail: bytes | None
    created_at: int
    started_at: int | None
    completed_at: int | None
    cancelled_at: int | None


class UpRow(Struct, frozen=True, gc=False):
    """One row of `up`, its columns in order."""

    service_id: str
    deployment_id: str


DEPLOYMENT = Table("deployment", DeploymentRow, "deployment_id")
UP = Table("up", UpRow, "service_id")


def find(db: Connection, deployment_id: str) -> DeploymentRow | None:
    """One deployment."""
    for row in db.execute("SELECT * FROM deployment WHERE deployment_id = ?", (deployment_id,)):
        return DeploymentRow(*row)
    return None


def list_of(db: Connection, service_id: str, limit: int, offset: int, before: int) -> list[DeploymentRow]:
    """A service's deployments, newest first; those with a number smaller than `before` where it is not 0."""
    rows = db.execute(
        "SELECT * FROM deployment WHERE service_id = ?1 AND (?2 = 0 OR number < ?2)"
        " ORDER BY number DESC LIMIT ?3 OFFSET ?4",
        (service_id, before, limit, offset),
    )
    return [DeploymentRow(*row) for row in rows]


def requested(tables: Tables, at: Recorded, event: ServiceDeployRequested) -> None:
    row = DeploymentRow(
        deployment_id=event.deployment_id,
        service_id=at.subject,
        tenant_id=at.tenant,
        intent=at.position,
        number=event.number,
        trigger=event.trigger,
        image=event.image,
        pinned=None,
        digest=None,
        port=event.port,
        memory_mb=event.memory_mb,
        cpu_milli=event.cpu_milli,
        health_path=event.health_path,
        egress=event.egress,
        replicas=event.replicas,
        volumes=canonical(event.volumes).decode(),
        env_version=event.env_version,
        status="pending",
        container_id=None,
        error_code=None,
        error=None,
        tail=None,
        created_at=at.at_s,
        started_at=None,
        completed_at=None,
        cancelled_at=None,
    )
    tables.add(DEPLOYMENT, row)


def attempted(tables: Tables, at: Recorded, event: EffectAttempted) -> None:
    work = tables.find(TODO, event.intent)
    if work is None or work.type != wire_name(ServiceDeployRequested):
        return
    row = tables.find(DEPLOYMENT, work.deployment_id)
    if row and row.status == "pending":
        tables.change(DEPLOYMENT, row.deployment_id, status="deploying", started_at=at.at_s)


def healthy(tables: Tables, _: Recorded, event: ServiceInstanceHealthy) -> None:
    tables.change(
        DEPLOYMENT,
        event.deployment_id,
        pinned=event.pinned,
        digest=event.digest,
        container_id=event.targets[0].instance,
    )


def routed(tables: Tables, at: Recorded, event: ServiceRouted) -> None:
    """What served before serves no longer, whether or not anybody comes to drain it."""
    _stop(tables, at)
    tables.change(DEPLOYMENT, event.deployment_id, status="running", completed_at=at.at_s)
    tables.put(UP, at.subject, [UpRow(at.subject, event.deployment_id)])


def failed(tables: Tables, at: Recorded, event: ServiceDeployFailed | ServiceRouteFailed) -> None:
    tables.change(
        DEPLOYMENT,
        event.deployment_id,
        status="failed",
        error_code=event.code,
        error=event.detail,
        tail=event.tail,
        completed_at=at.at_s,
    )


def superseded(tables: Tables, at: Recorded, event: ServiceDeploySuperseded) -> None:
    tables.change(DEPLOYMENT, event.deployment_id, status="superseded", completed_at=at.at_s)


def cancelled(tables: Tables, at: Recorded, event: ServiceDeployCancelled) -> None:
    tables.change(DEPLOYMENT, event.deployment_id, status="cancelled", completed_at=at.at_s, cancelled_at=at.at_s)


def crashed(tables: Tables, at: Recorded, event: ServiceCrashed) -> None:
    tables.change(DEPLOYMENT, event.deployment_id, status="crashed", tail=event.tail)
    _came_up(tables, at, event.deployment_id)


def repair_failed(tables: Tables, _: Recorded, event: ServiceRepairFailed) -> None:
    """It counts as a crash: the end of its log is the last that there is."""
    if event.tail:
        tables.change(DEPLOYMENT, event.deployment_id, tail=event.tail)


def repaired(tables: Tables, at: Recorded, event: ServiceRepaired) -> None:
    if event.targets:
        container_id = event.targets[0].instance
        tables.change(DEPLOYMENT, event.deployment_id, status="running", container_id=container_id)
        _came_up(tables, at, event.deployment_id)


def _came_up(tables: Tables, at: Recorded, deployment_id: str) -> None:
    ups = tables.of(UP, at.subject)
    if all(up.deployment_id != deployment_id for up in ups):
        tables.put(UP, at.subject, [*ups, UpRow(at.subject, deployment_id)])


def all_ended(tables: Tables, at: Recorded, _: Event) -> None:
    _stop(tables, at)
    tables.put(UP, at.subject, ())


def _stop(tables: Tables, at: Recorded) -> None:
    for up in tables.of(UP, at.subject):
        row = tables.find(DEPLOYMENT, up.deployment_id)
        if row and row.status in ("running", "crashed"):
            tables.change(DEPLOYMENT, up.deployment_id, status="stopped")


APPLY = {
    ServiceDeployRequested: requested,
    EffectAttempted: attempted,
    ServiceInstanceHealthy: healthy,
    ServiceRouted: routed,
    ServiceDeployFailed: failed,
    ServiceRouteFailed: failed,
    ServiceDeploySuperseded: superseded,
    ServiceDeployCancelled: cancelled,
    ServiceCrashed: crashed,
    ServiceRepaired: repaired,
    ServiceRepairFailed: repair_failed,
    ServiceStopped: all_ended,
    ServiceDeleteRequested: all_ended,
}
