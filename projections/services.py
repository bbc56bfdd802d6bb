"""What we know of services. Desired and observed are two folds; `status` is the one word for both.

The invariant: after any event of a service's stream, `version` is that event's version, for it is the ETag.
"""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.domains import ServiceDomainAdded, ServiceDomainRemoved, ServiceDomainVerified
from events.event import Event, Recorded, canonical
from events.services import (
    ServiceBuildFailed,
    ServiceCircuitClosed,
    ServiceCircuitHalfOpened,
    ServiceCircuitOpened,
    ServiceCircuitReset,
    ServiceConfigured,
    ServiceCrashed,
    ServiceCreated,
    ServiceDeleted,
    ServiceDeleteRequested,
    ServiceDeployCancelled,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceDrained,
    ServiceDrifted,
    ServiceEnvRestored,
    ServiceEnvSet,
    ServiceEnvUnset,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceRouteFailed,
    ServiceRouteRepaired,
    ServiceStopped,
    ServiceStopRequested,
    ServiceWorkSuperseded,
    Target,
)

TABLES = read_sql(__file__)


class ServiceRow(Struct, frozen=True):
    """One row of `service`, its columns in order."""

    service_id: str
    tenant_id: str
    name: str
    label: str
    image: str
    image_served: str | None
    port: int
    memory_mb: int
    cpu_milli: int
    health_path: str
    egress: str
    replicas: int
    drain_s: int | None
    volumes: str
    desired: str
    status: str
    serving: int
    deployment_id: str | None
    image_digest: str | None
    container_id: str | None
    deployments: int
    env_version: int
    crash_count: int
    circuit_open: int
    last_error_code: str | None
    last_error: bytes | None
    last_error_of: str | None
    last_crashed_at: int | None
    created_at: int
    updated_at: int
    observed_at: int | None
    version: int


class HeldRow(Struct, frozen=True):
    """What a service takes of what its tenant may have, all replicas: by its settings or as it serves, if that is more."""

    service_id: str
    name: str
    label: str
    desired: str
    memory_mb: int
    cpu_milli: int


class InstanceRow(Struct, frozen=True):
    """One row of `instance`, its columns in order."""

    service_id: str
    replica: int
    deployment_id: str
    instance: str
    host: str
    port: int


def find(db: Connection, service_id: str) -> ServiceRow | None:
    """The service, deleted or not."""
    for row in db.execute("SELECT * FROM service WHERE service_id = ?", (service_id,)):
        return ServiceRow(*row)
    return None


def list_of(
    db: Connection, tenant_id: str, status: str = "", limit: int = -1, offset: int = 0, before: str = ""
) -> list[ServiceRow]:
    """A tenant's services that are not deleted, newest first; of one status, or with ids before one, where given."""
    rows = db.execute(
        "SELECT * FROM service WHERE tenant_id = ?1 AND desired <> 'deleted' AND (?2 = '' OR status = ?2)"
        " AND (?3 = '' OR service_id < ?3) ORDER BY service_id DESC LIMIT ?4 OFFSET ?5",
        (tenant_id, status, before, limit, offset),
    )
    return [ServiceRow(*row) for row in rows]


def held_by(db: Connection, tenant_id: str) -> list[HeldRow]:
    """What a tenant's services that are not deleted take of its quotas and names."""
    rows = db.execute(
        "SELECT s.service_id, s.name, s.label, s.desired,"
        " max(s.memory_mb * s.replicas, coalesce(d.memory_mb * d.replicas, 0)),"
        " max(s.cpu_milli * s.replicas, coalesce(d.cpu_milli * d.replicas, 0))"
        " FROM service s LEFT JOIN deployment d ON s.serving AND d.deployment_id = s.deployment_id"
        " WHERE s.tenant_id = ? AND s.desired <> 'deleted'",
        (tenant_id,),
    )
    return [HeldRow(*row) for row in rows]


def list_all(db: Connection) -> list[ServiceRow]:
    """All services of all tenants that are not deleted."""
    return [ServiceRow(*row) for row in db.execute("SELECT * FROM service WHERE desired <> 'deleted'")]


def instances_of(db: Connection, service_id: str) -> list[InstanceRow]:
    """Where the deployment that serves answers, by replica."""
    rows = db.execute(
        "SELECT instance.* FROM service JOIN instance USING (service_id, deployment_id) WHERE service_id = ?"
        " ORDER BY replica",
        (service_id,),
    )
    return [InstanceRow(*row) for row in rows]


_SETTINGS = (
    "name",
    "label",
    "image",
    "port",
    "memory_mb",
    "cpu_milli",
    "health_path",
    "egress",
    "replicas",
    "drain_s",
    "volumes",
)
_TOUCH = "UPDATE service SET version = ?1, updated_at = ?2"
_WHERE = " WHERE service_id = ?3"
_NO_ERROR = ", last_error_code = NULL, last_error = NULL, last_error_of = NULL"
_IMAGE_BEFORE = (
    "(SELECT image_served FROM deployment d WHERE d.deployment_id = ?6 AND d.trigger IN ('deploy', 'build')"
    " AND d.image = service.image)"
)
_NEWER = "status = 'deploying' AND deployments > (SELECT number FROM deployment WHERE deployment_id = ?{0})"
_BACK_TO = "CASE WHEN serving THEN 'running' WHEN circuit_open THEN 'circuit_open' ELSE '{}' END"


def _update(db: Connection, at: Recorded, assignments: str = "", *values: str | int | bytes | None) -> None:
    """Writes the service's row with the event's version and time; `values` are ?4, ?5, …"""
    db.execute(_TOUCH + assignments + _WHERE, (at.version, at.at_s, at.subject, *values))


def created(db: Connection, at: Recorded, event: ServiceCreated) -> None:
    db.execute(
        "INSERT INTO service (service_id, tenant_id, name, label, image, port, memory_mb, cpu_milli, health_path,"
        " egress, replicas, drain_s, volumes, desired, status, serving, deployments, env_version, crash_count, circuit_open,"
        " created_at, updated_at, version)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', 'created', 0, 0, 0, 0, 0, ?, ?, ?)",
        (at.subject, at.tenant, *(_column(event, name) for name in _SETTINGS), at.at_s, at.at_s, at.version),
    )


def configured(db: Connection, at: Recorded, event: ServiceConfigured) -> None:
    names = event.__struct_fields__
    _update(
        db,
        at,
        "".join(f", {name} = coalesce(?{n}, {name})" for n, name in enumerate(names, 4)),
        *(_column(event, name) for name in names),
    )


def _column(event: Event, name: str) -> str | int | None:
    value: str | int | dict[str, str] | None = getattr(event, name)
    return canonical(value).decode() if isinstance(value, dict) else value


def env_changed(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", env_version = ?1")


def deploy_requested(db: Connection, at: Recorded, event: ServiceDeployRequested) -> None:
    _update(db, at, ", desired = 'running', status = 'deploying', deployments = ?4", event.number)


def instance_healthy(db: Connection, at: Recorded, event: ServiceInstanceHealthy) -> None:
    """It is to serve; until the router has it, what served before does."""
    _place(db, at, event.deployment_id, event.targets)
    _update(db, at, ", observed_at = ?2")


def routed(db: Connection, at: Recorded, event: ServiceRouted) -> None:
    """It serves; a newer deployment that is on its way already keeps the service `deploying`."""
    db.execute(
        "DELETE FROM instance WHERE service_id = ? AND deployment_id <> ?",
        (at.subject, event.deployment_id),
    )
    _update(
        db,
        at,
        f", serving = 1, image_served = image{_NO_ERROR}, observed_at = ?2, deployment_id = ?4,"
        " image_digest = (SELECT digest FROM deployment WHERE deployment_id = ?4), container_id ="
        " (SELECT instance FROM instance WHERE service_id = ?3 AND deployment_id = ?4 ORDER BY replica LIMIT 1),"
        f" status = CASE WHEN {_NEWER.format(4)} THEN status ELSE 'running' END",
        event.deployment_id,
    )


def deploy_failed(db: Connection, at: Recorded, event: ServiceDeployFailed | ServiceRouteFailed) -> None:
    """What serves goes on; an image that was only asked for by this deployment is not the service's after all."""
    _forget(db, at, event.deployment_id)
    _update(
        db,
        at,
        f", status = CASE WHEN {_NEWER.format(6)} THEN status ELSE {_BACK_TO.format('failed')} END,"
        " last_error_code = ?4, last_error = ?5, last_error_of = 'deployment',"
        f" image = coalesce({_IMAGE_BEFORE}, image)",
        event.code,
        event.detail,
        event.deployment_id,
    )


def build_failed(db: Connection, at: Recorded, event: ServiceBuildFailed) -> None:
    """A service that waits for its first build fails with it; one that serves, or is about to, goes on."""
    status = "CASE WHEN status = 'created' THEN 'failed' ELSE status END"
    error = ", last_error_code = ?4, last_error = ?5, last_error_of = 'deployment'"
    _update(db, at, f", status = {status}{error}", event.code, event.detail)


def deploy_called_off(db: Connection, at: Recorded, event: ServiceDeploySuperseded | ServiceDeployCancelled) -> None:
    _forget(db, at, event.deployment_id)
    _update(db, at, f", status = {_BACK_TO.format('stopped')}")


def stop_requested(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", desired = 'stopped'")


def stopped(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM instance WHERE service_id = ?", (at.subject,))
    _update(
        db,
        at,
        ", serving = 0, container_id = NULL, observed_at = ?2,"
        " status = CASE WHEN circuit_open THEN 'circuit_open' ELSE 'stopped' END",
    )


def delete_requested(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM instance WHERE service_id = ?", (at.subject,))
    _update(db, at, ", desired = 'deleted', status = 'deleted', serving = 0, container_id = NULL")


def deleted(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at, ", last_error = NULL")


def crashed(db: Connection, at: Recorded, event: ServiceCrashed) -> None:
    db.execute(
        "DELETE FROM instance WHERE service_id = ? AND deployment_id = ? AND replica = ?",
        (at.subject, event.deployment_id, event.replica),
    )
    code = "out_of_memory" if event.oom_killed else "crashed"
    error = ", last_error_code = ?5, last_error = NULL, last_error_of = 'instance', last_crashed_at = ?2"
    _update(db, at, f", crash_count = ?4{error}", event.crash_count, code)
    _fall(db, at)


def repair_failed(db: Connection, at: Recorded, event: ServiceRepairFailed) -> None:
    db.execute("DELETE FROM instance WHERE service_id = ?", (at.subject,))
    _update(
        db,
        at,
        ", crash_count = crash_count + 1, last_error_code = ?4, last_error = ?5, last_error_of = 'instance',"
        " last_crashed_at = ?2",
        event.code,
        event.detail,
    )
    _fall(db, at)


def _fall(db: Connection, at: Recorded) -> None:
    """With no instance left, the service does not serve."""
    db.execute(
        "UPDATE service SET serving = 0, container_id = NULL,"
        " status = CASE WHEN status = 'running' THEN 'crashed' ELSE status END"
        " WHERE service_id = ?1 AND NOT EXISTS (SELECT 1 FROM instance WHERE service_id = ?1)",
        (at.subject,),
    )


def repaired(db: Connection, at: Recorded, event: ServiceRepaired) -> None:
    """It runs again; why a deployment failed stays to be read until one comes to serve."""
    if not event.targets:
        return _update(db, at, ", observed_at = ?2")
    _place(db, at, event.deployment_id, event.targets)
    kept = "CASE WHEN last_error_of = 'deployment' THEN {0} END"
    names = ("last_error_code", "last_error", "last_error_of")
    return _update(
        db,
        at,
        ", status = 'running', serving = 1, container_id = ?4, observed_at = ?2"
        + "".join(f", {name} = {kept.format(name)}" for name in names),
        event.targets[0].instance,
    )


def _forget(db: Connection, at: Recorded, deployment_id: str) -> None:
    """Nothing of the deployment answers any more."""
    db.execute("DELETE FROM instance WHERE service_id = ? AND deployment_id = ?", (at.subject, deployment_id))


def _place(db: Connection, at: Recorded, deployment_id: str, targets: list[Target]) -> None:
    _forget(db, at, deployment_id)
    db.executemany(
        "INSERT INTO instance VALUES (?, ?, ?, ?, ?, ?)",
        [(at.subject, to.replica, deployment_id, to.instance, to.host, to.port) for to in targets],
    )


def circuit_opened(db: Connection, at: Recorded, event: ServiceCircuitOpened) -> None:
    _update(db, at, ", circuit_open = 1, status = 'circuit_open', crash_count = ?4", event.crash_count)


def circuit_reset(db: Connection, at: Recorded, _: Event) -> None:
    status = "CASE WHEN status = 'circuit_open' THEN 'stopped' ELSE status END"
    _update(db, at, f", circuit_open = 0, crash_count = 0, status = {status}")


def touched(db: Connection, at: Recorded, _: Event) -> None:
    _update(db, at)


APPLY = {
    ServiceCreated: created,
    ServiceConfigured: configured,
    ServiceEnvSet: env_changed,
    ServiceEnvUnset: env_changed,
    ServiceEnvRestored: env_changed,
    ServiceDeployRequested: deploy_requested,
    ServiceInstanceHealthy: instance_healthy,
    ServiceRouted: routed,
    ServiceRouteFailed: deploy_failed,
    ServiceDrained: touched,
    ServiceDeployFailed: deploy_failed,
    ServiceDeploySuperseded: deploy_called_off,
    ServiceDeployCancelled: deploy_called_off,
    ServiceStopRequested: stop_requested,
    ServiceStopped: stopped,
    ServiceDeleteRequested: delete_requested,
    ServiceDeleted: deleted,
    ServiceBuildFailed: build_failed,
    ServiceDrifted: touched,
    ServiceCrashed: crashed,
    ServiceRepairRequested: touched,
    ServiceRepaired: repaired,
    ServiceRepairFailed: repair_failed,
    ServiceWorkSuperseded: touched,
    ServiceRouteRepaired: touched,
    ServiceDomainAdded: touched,
    ServiceDomainVerified: touched,
    ServiceDomainRemoved: touched,
    ServiceCircuitOpened: circuit_opened,
    ServiceCircuitHalfOpened: touched,
    ServiceCircuitClosed: circuit_reset,
    ServiceCircuitReset: circuit_reset,
}
