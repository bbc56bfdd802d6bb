"""What we know of deployments: what was to run, and how far it came."""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.effects import EffectAttempted
from events.event import Event, Recorded, canonical
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

TABLES = read_sql(__file__)


class DeploymentRow(Struct, frozen=True):
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


def requested(db: Connection, at: Recorded, event: ServiceDeployRequested) -> None:
    db.execute(
        "INSERT INTO deployment (deployment_id, service_id, tenant_id, intent, number, trigger, image, port, memory_mb,"
        " cpu_milli, health_path, egress, replicas, volumes, env_version, status, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)",
        (
            event.deployment_id,
            at.subject,
            at.tenant,
            at.position,
            event.number,
            event.trigger,
            event.image,
            event.port,
            event.memory_mb,
            event.cpu_milli,
            event.health_path,
            event.egress,
            event.replicas,
            canonical(event.volumes).decode(),
            event.env_version,
            at.at_s,
        ),
    )


def attempted(db: Connection, at: Recorded, event: EffectAttempted) -> None:
    db.execute(
        "UPDATE deployment SET status = 'deploying', started_at = ? WHERE intent = ? AND status = 'pending'",
        (at.at_s, event.intent),
    )


def healthy(db: Connection, _: Recorded, event: ServiceInstanceHealthy) -> None:
    db.execute(
        "UPDATE deployment SET pinned = ?, digest = ?, container_id = ? WHERE deployment_id = ?",
        (event.pinned, event.digest, event.targets[0].instance, event.deployment_id),
    )


def routed(db: Connection, at: Recorded, event: ServiceRouted) -> None:
    """What served before serves no longer, whether or not anybody comes to drain it."""
    db.execute(
        "UPDATE deployment SET status = 'stopped' WHERE service_id = ? AND status IN ('running', 'crashed')",
        (at.subject,),
    )
    db.execute(
        "UPDATE deployment SET status = 'running', completed_at = ? WHERE deployment_id = ?",
        (at.at_s, event.deployment_id),
    )


def failed(db: Connection, at: Recorded, event: ServiceDeployFailed | ServiceRouteFailed) -> None:
    db.execute(
        "UPDATE deployment SET status = 'failed', error_code = ?, error = ?, tail = ?, completed_at = ?"
        " WHERE deployment_id = ?",
        (event.code, event.detail, event.tail, at.at_s, event.deployment_id),
    )


def superseded(db: Connection, at: Recorded, event: ServiceDeploySuperseded) -> None:
    db.execute(
        "UPDATE deployment SET status = 'superseded', completed_at = ? WHERE deployment_id = ?",
        (at.at_s, event.deployment_id),
    )


def cancelled(db: Connection, at: Recorded, event: ServiceDeployCancelled) -> None:
    db.execute(
        "UPDATE deployment SET status = 'cancelled', completed_at = ?, cancelled_at = ? WHERE deployment_id = ?",
        (at.at_s, at.at_s, event.deployment_id),
    )


def crashed(db: Connection, _: Recorded, event: ServiceCrashed) -> None:
    db.execute(
        "UPDATE deployment SET status = 'crashed', tail = ? WHERE deployment_id = ?", (event.tail, event.deployment_id)
    )


def repair_failed(db: Connection, _: Recorded, event: ServiceRepairFailed) -> None:
    """It counts as a crash: the end of its log is the last that there is."""
    if event.tail:
        db.execute("UPDATE deployment SET tail = ? WHERE deployment_id = ?", (event.tail, event.deployment_id))


def repaired(db: Connection, _: Recorded, event: ServiceRepaired) -> None:
    if event.targets:
        db.execute(
            "UPDATE deployment SET status = 'running', container_id = ? WHERE deployment_id = ?",
            (event.targets[0].instance, event.deployment_id),
        )


def all_ended(db: Connection, at: Recorded, _: Event) -> None:
    db.execute(
        "UPDATE deployment SET status = 'stopped' WHERE service_id = ? AND status IN ('running', 'crashed')",
        (at.subject,),
    )


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
