"""What we know of services. Desired and observed are two folds; `status` is the one word for both.

The invariant: after any event of a service's stream, `version` is that event's version, for it is the ETag.
"""

from apsw import Connection
from msgspec import Struct
from msgspec.structs import asdict

from events.database import read_sql
from events.domains import EVENTS as DOMAIN_EVENTS
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
)
from projections.crashes import in_words
from projections.deployments import DEPLOYMENT, DeploymentRow
from projections.instances import INSTANCE
from projections.tables import Table, Tables, Value

TABLES = read_sql(__file__)


class ServiceRow(Struct, frozen=True, gc=False):
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
    last_crash: str | None
    last_crashed_at: int | None
    created_at: int
    updated_at: int
    observed_at: int | None
    version: int


class HeldRow(Struct, frozen=True, gc=False):
    """What a service takes of what its tenant may have, all replicas: by its settings or as it serves, if that is more."""

    service_id: str
    name: str
    label: str
    desired: str
    memory_mb: int
    cpu_milli: int


ASKING = ("deploy", "build")  # triggers of deployments that ask for an image of their own

SERVICE = Table("service", ServiceRow, "service_id")


def find(db: Connection, service_id: str) -> ServiceRow | None:
    """The service, deleted or not."""
    for row in db.execute("SELECT * FROM service WHERE service_id = ?", (service_id,)):
        return ServiceRow(*row)
    return None


def list_of(
    db: Connection,
    tenant_id: str,
    status: str = "",
    limit: int = -1,
    offset: int = 0,
    before: str = "",
    only: str = "",
) -> list[ServiceRow]:
    """A tenant's services that are not deleted, newest first; of one status, with ids before one, or that one alone."""
    rows = db.execute(
        "SELECT * FROM service WHERE tenant_id = ?1 AND desired <> 'deleted' AND (?2 = '' OR status = ?2)"
        " AND (?3 = '' OR service_id < ?3) AND (?6 = '' OR service_id = ?6)"
        " ORDER BY service_id DESC LIMIT ?4 OFFSET ?5",
        (tenant_id, status, before, limit, offset, only),
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


def list_all(db: Connection, after: str = "", limit: int = -1) -> list[ServiceRow]:
    """All services of all tenants that are not deleted, oldest first; with ids after one, at most so many."""
    wanted = "service_id > ? AND desired <> 'deleted' ORDER BY service_id LIMIT ?"
    return [ServiceRow(*row) for row in db.execute(f"SELECT * FROM service WHERE {wanted}", (after, limit))]


def count_by_status(db: Connection) -> dict[str, int]:
    """How many services there are of each status, of all tenants; deleted ones are not counted."""
    return dict(db.execute("SELECT status, count(*) FROM service WHERE desired <> 'deleted' GROUP BY status"))


def _error(code: str | None, detail: bytes | None, of: str | None, how: str | None = None) -> dict[str, Value]:
    """What last went wrong, as columns; `of` is what it happened to: a deployment or an instance, that ended so."""
    return {"last_error_code": code, "last_error": detail, "last_error_of": of, "last_crash": how}


_NO_ERROR = _error(None, None, None)


def _update(tables: Tables, at: Recorded, **columns: Value) -> None:
    """Writes the service's row with the event's version and time."""
    tables.change(SERVICE, at.subject, version=at.version, updated_at=at.at_s, **columns)


def created(tables: Tables, at: Recorded, event: ServiceCreated) -> None:
    row = ServiceRow(
        service_id=at.subject,
        tenant_id=at.tenant,
        name=event.name,
        label=event.label,
        image=event.image,
        image_served=None,
        port=event.port,
        memory_mb=event.memory_mb,
        cpu_milli=event.cpu_milli,
        health_path=event.health_path,
        egress=event.egress,
        replicas=event.replicas,
        drain_s=event.drain_s,
        volumes=canonical(event.volumes).decode(),
        desired="running",
        status="created",
        serving=0,
        deployment_id=None,
        image_digest=None,
        container_id=None,
        deployments=0,
        env_version=0,
        crash_count=0,
        circuit_open=0,
        last_error_code=None,
        last_error=None,
        last_error_of=None,
        last_crash=None,
        last_crashed_at=None,
        created_at=at.at_s,
        updated_at=at.at_s,
        observed_at=None,
        version=at.version,
    )
    tables.add(SERVICE, row)


def configured(tables: Tables, at: Recorded, event: ServiceConfigured) -> None:
    given = {name: value for name, value in asdict(event).items() if value is not None}
    if event.volumes is not None:
        given["volumes"] = canonical(event.volumes).decode()
    _update(tables, at, **given)


def env_changed(tables: Tables, at: Recorded, _: Event) -> None:
    _update(tables, at, env_version=at.version)


def deploy_requested(tables: Tables, at: Recorded, event: ServiceDeployRequested) -> None:
    image = {"image": event.image} if event.trigger in ASKING else {}
    _update(tables, at, desired="running", status="deploying", deployments=event.number, **image)


def instance_healthy(tables: Tables, at: Recorded, _: ServiceInstanceHealthy) -> None:
    """It is to serve; until the router has it, what served before does."""
    _update(tables, at, observed_at=at.at_s)


def routed(tables: Tables, at: Recorded, event: ServiceRouted) -> None:
    """It serves; a newer deployment that is on its way already keeps the service `deploying`."""
    service, deployment = tables.find(SERVICE, at.subject), tables.find(DEPLOYMENT, event.deployment_id)
    if service is None:
        return
    first = min(tables.of(INSTANCE, at.subject), key=lambda row: row.replica, default=None)
    _update(
        tables,
        at,
        serving=1,
        image_served=_image_served(service, deployment),
        observed_at=at.at_s,
        deployment_id=event.deployment_id,
        image_digest=deployment.digest if deployment else None,
        container_id=first.instance if first else None,
        status=service.status if _has_newer(service, deployment) else "running",
        **_NO_ERROR,
    )


def _has_newer(service: ServiceRow, deployment: DeploymentRow | None) -> bool:
    """Whether a newer deployment than this one is on its way."""
    return deployment is not None and service.status == "deploying" and service.deployments > deployment.number


def _image_served(service: ServiceRow, deployment: DeploymentRow | None) -> str | None:
    """The service's image as this deployment came to serve; a newer one may ask for another already."""
    if deployment is None or not _has_newer(service, deployment):
        return service.image
    return deployment.image if deployment.trigger in (*ASKING, "create", "redeploy") else service.image_served


def _image_without(service: ServiceRow, deployment: DeploymentRow | None) -> str:
    """The service's image when a deployment came to nothing: one that only this asked for is not the service's after all."""
    asked_here = deployment and deployment.trigger in ASKING and deployment.image == service.image
    return service.image_served if asked_here and service.image_served is not None else service.image


def _back_to(service: ServiceRow, otherwise: str) -> str:
    """The status of a service whose deployment came to nothing."""
    return "running" if service.serving else "circuit_open" if service.circuit_open else otherwise


def deploy_failed(tables: Tables, at: Recorded, event: ServiceDeployFailed | ServiceRouteFailed) -> None:
    """What serves goes on."""
    service, deployment = tables.find(SERVICE, at.subject), tables.find(DEPLOYMENT, event.deployment_id)
    if service is None:
        return
    _update(
        tables,
        at,
        status=service.status if _has_newer(service, deployment) else _back_to(service, "failed"),
        image=_image_without(service, deployment),
        **_error(event.code, event.detail, "deployment"),
    )


def build_failed(tables: Tables, at: Recorded, event: ServiceBuildFailed) -> None:
    """A service that waits for its first build fails with it; one that serves, or is about to, goes on."""
    service = tables.find(SERVICE, at.subject)
    if service:
        status = "failed" if service.status == "created" else service.status
        _update(tables, at, status=status, **_error(event.code, event.detail, "deployment"))


def deploy_called_off(tables: Tables, at: Recorded, event: ServiceDeploySuperseded | ServiceDeployCancelled) -> None:
    service, deployment = tables.find(SERVICE, at.subject), tables.find(DEPLOYMENT, event.deployment_id)
    if service:
        _update(tables, at, status=_back_to(service, "stopped"), image=_image_without(service, deployment))


def stop_requested(tables: Tables, at: Recorded, _: Event) -> None:
    _update(tables, at, desired="stopped")


def stopped(tables: Tables, at: Recorded, _: Event) -> None:
    service = tables.find(SERVICE, at.subject)
    if service:
        status = "circuit_open" if service.circuit_open else "stopped"
        _update(tables, at, serving=0, container_id=None, observed_at=at.at_s, status=status)


def delete_requested(tables: Tables, at: Recorded, _: Event) -> None:
    _update(tables, at, desired="deleted", status="deleted", serving=0, container_id=None)


def deleted(tables: Tables, at: Recorded, _: Event) -> None:
    _update(tables, at, last_error=None)


def crashed(tables: Tables, at: Recorded, event: ServiceCrashed) -> None:
    how = in_words(event.exit_code, event.oom_killed, event.memory_mb or None)
    code = "out_of_memory" if event.oom_killed else "crashed"
    _fall(tables, at, event.crash_count, _error(code, None, "instance", how))


def repair_failed(tables: Tables, at: Recorded, event: ServiceRepairFailed) -> None:
    service = tables.find(SERVICE, at.subject)
    _fall(tables, at, service.crash_count + 1 if service else 0, _error(event.code, event.detail, "instance"))


def _fall(tables: Tables, at: Recorded, crash_count: int, error: dict[str, Value]) -> None:
    """An instance is gone; with none left, the service does not serve."""
    service = tables.find(SERVICE, at.subject)
    if service is None:
        return
    _update(tables, at, crash_count=crash_count, last_crashed_at=at.at_s, **error)
    if not tables.of(INSTANCE, at.subject):
        status = "crashed" if service.status == "running" else service.status
        _update(tables, at, serving=0, container_id=None, status=status)


def repaired(tables: Tables, at: Recorded, event: ServiceRepaired) -> None:
    """It runs again; why a deployment failed stays to be read until one comes to serve."""
    if not event.targets:
        return _update(tables, at, observed_at=at.at_s)
    service = tables.find(SERVICE, at.subject)
    if service is None:
        return None
    error = {} if service.last_error_of == "deployment" else _NO_ERROR
    running = event.targets[0].instance
    return _update(tables, at, status="running", serving=1, container_id=running, observed_at=at.at_s, **error)


def circuit_opened(tables: Tables, at: Recorded, event: ServiceCircuitOpened) -> None:
    _update(tables, at, circuit_open=1, status="circuit_open", crash_count=event.crash_count)


def circuit_reset(tables: Tables, at: Recorded, _: Event) -> None:
    service = tables.find(SERVICE, at.subject)
    if service:
        status = "stopped" if service.status == "circuit_open" else service.status
        _update(tables, at, circuit_open=0, crash_count=0, status=status)


def touched(tables: Tables, at: Recorded, _: Event) -> None:
    _update(tables, at)


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
    **dict.fromkeys(DOMAIN_EVENTS, touched),
    ServiceCircuitOpened: circuit_opened,
    ServiceCircuitHalfOpened: touched,
    ServiceCircuitClosed: circuit_reset,
    ServiceCircuitReset: circuit_reset,
}
