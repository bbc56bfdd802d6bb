"""What may happen to services, as their tenants ask for it."""

from collections.abc import Iterable

from apsw import Connection
from msgspec import Struct, structs

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.errors import Rejected
from events.domains import ServiceDomainCheckDropped
from events.event import Event, canonical, wire_name
from events.services import (
    ServiceCircuitReset,
    ServiceConfigured,
    ServiceCreated,
    ServiceDeleteRequested,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceEnvSet,
    ServiceEnvUnset,
    ServiceInstanceHealthy,
    ServiceStopRequested,
    ServiceWorkSuperseded,
)
from projections import databases, deployments, domains, env, services, storage, tenants, todo, volumes
from projections.deployments import DeploymentRow
from projections.domains import DomainRow
from projections.services import ServiceRow
from projections.todo import TodoRow

STREAM = "service-{0.service_id}"
DEPLOY = wire_name(ServiceDeployRequested)
ROUTE = wire_name(ServiceInstanceHealthy)


class ServiceCommand(Command, frozen=True, kw_only=True):
    """A command about one service of the tenant."""

    service_id: str


class Holdings(Struct, frozen=True):
    """What the tenant has beside the service in question, and what it may have."""

    quotas: dict[str, int]
    services: int
    memory_mb: int  # of all that is wanted to run, databases too
    cpu_milli: int
    names: frozenset[str]
    labels: frozenset[str]
    volumes: frozenset[str]  # that others have, or that are being removed
    stored_bytes: int  # as it was measured last: volumes, images, backups
    suspended: bool  # nothing of the tenant is to begin


class ServiceState(Struct, frozen=True):
    """A service as a decider sees it. `open` is its unfinished work, `last` the deployment that it would repeat.

    `tried` is what the deployments that are under way ask for: it is the service's image only if they come to serve.
    """

    service: ServiceRow
    open: list[TodoRow]
    last: DeploymentRow | None
    tried: frozenset[str]
    holdings: Holdings


class Variables(Struct, frozen=True):
    """The names of a service's variables, and what its tenant may have."""

    names: frozenset[str]
    quotas: dict[str, int]


def load_holdings(views: Connection, tenant_id: str, without: str) -> Holdings:
    rows = [row for row in services.held_by(views, tenant_id) if row.service_id != without]
    running = [row for row in rows if row.desired == "running"]
    memory_mb, cpu_milli = databases.held_by(views, tenant_id, without)
    return Holdings(
        quotas=load_quotas(views, tenant_id),
        services=len(rows),
        memory_mb=memory_mb + sum(row.memory_mb for row in running),
        cpu_milli=cpu_milli + sum(row.cpu_milli for row in running),
        names=frozenset(row.name for row in rows),
        labels=frozenset(row.label for row in rows),
        volumes=load_volumes_taken(views, tenant_id, without),
        stored_bytes=sum(storage.held_by(views, tenant_id).values()),
        suspended=tenants.status_of(views, tenant_id) in ("suspended", "erased"),
    )


def load_volumes_taken(views: Connection, tenant_id: str, without: str) -> frozenset[str]:
    mounted = volumes.mounted_by(views, tenant_id)
    others = {name for name, service_id in mounted.items() if service_id != without}
    kept = [row for row in volumes.list_of(views, tenant_id) if row.name not in mounted]
    return frozenset(others | {row.name for row in kept if todo.open_of(views, f"volume-{row.volume_id}")})


def load_quotas(views: Connection, tenant_id: str) -> dict[str, int]:
    return limits.QUOTAS | tenants.quotas_of(views, tenant_id)


def load_row(views: Connection, command: ServiceCommand) -> ServiceRow:
    row = services.find(views, command.service_id)
    if row is None or row.tenant_id != command.tenant_id or row.desired == "deleted":
        raise Rejected("service_not_found", f"there is no service {command.service_id}")
    return row


def load_service(views: Connection, command: ServiceCommand) -> ServiceState:
    row = load_row(views, command)
    unfinished = todo.open_of(views, f"service-{row.service_id}")
    under_way = [deployments.find(views, work.deployment_id) for work in unfinished if work.type in (DEPLOY, ROUTE)]
    return ServiceState(
        service=row,
        open=unfinished,
        last=deployments.find(views, row.deployment_id) if row.deployment_id else None,
        tried=frozenset(asked.image for asked in under_way if asked and asked.trigger in services.ASKING),
        holdings=load_holdings(views, row.tenant_id, row.service_id),
    )


# rules that several commands share


def check_quota(name: str, used: float, quotas: dict[str, int], unit: str) -> None:
    """Raises Rejected `quota_exceeded` when `used` is more than the tenant may have."""
    if used > quotas[name]:
        raise Rejected("quota_exceeded", f"{used:g} {unit} wanted, {quotas[name]} allowed ({name})")


def check_active(holdings: Holdings) -> None:
    """A command that was on its way when its tenant was suspended comes too late."""
    if holdings.suspended:
        raise Rejected("tenant_suspended", "the tenant is suspended: nothing new is to run")


def check_resources(memory_mb: int, cpu_milli: int, replicas: int, holdings: Holdings) -> None:
    """What is wanted to run, this service with the others, has to fit the tenant's quotas."""
    check_quota("max_memory_mb", holdings.memory_mb + memory_mb * replicas, holdings.quotas, "MB of memory")
    check_quota("max_cpu_cores", (holdings.cpu_milli + cpu_milli * replicas) / 1000, holdings.quotas, "cores")


def check_storage(holdings: Holdings) -> None:
    """Who stores more than it may begins nothing that stores more."""
    stored_gb, allowed = holdings.stored_bytes / 10**9, holdings.quotas["max_disk_gb"]
    if stored_gb > allowed:
        detail = (
            f"{stored_gb:.1f} GB are stored, {allowed} allowed (max_disk_gb): remove volumes, databases or services"
        )
        raise Rejected("quota_exceeded", detail)


def check_name(name: str, label: str, holdings: Holdings) -> None:
    """Names and labels are unique in their tenant."""
    if name in holdings.names:
        raise Rejected("name_taken", f"there is a service named {name!r}")
    if label in holdings.labels:
        raise Rejected("name_taken", f"another service has the host name {label!r} already")


def check_volumes(wanted: Iterable[str], replicas: int, holdings: Holdings) -> None:
    """A volume is one service's at a time, and of that service one replica's: two sandboxes would not see each other's locks."""
    taken = sorted(holdings.volumes.intersection(wanted))
    if taken:
        raise Rejected("volume_in_use", f"another service has the volume {taken[0]!r}, or it is being removed")
    if wanted and replicas > 1:
        raise Rejected("volumes_need_one_replica", f"{replicas} replicas wanted; a service with volumes has one")


def superseded(state: ServiceState, everything: bool) -> list[Event]:
    """Closes the open work that a newer wish makes pointless, in the same append, so that nobody waits for it.

    A route that is being moved is only called off by a stop or a delete (`everything`): a deploy lets it come to an end.
    What a drain had to remove the next deployment takes on.
    """
    closed: list[Event] = []
    for work in state.open:
        if work.type == DEPLOY or (work.type == ROUTE and everything):
            closed.append(ServiceDeploySuperseded(work.intent, work.deployment_id))
        elif work.type != ROUTE or everything:
            closed.append(ServiceWorkSuperseded(work.intent))
    return closed


# commands


class CreateService(Command, frozen=True, kw_only=True):
    """A new service, and its first deployment unless it waits for a build (`image` is "")."""

    service_id: str
    created: ServiceCreated
    env: dict[str, bytes]
    deployment_id: str


def load_creation(views: Connection, command: CreateService) -> Holdings:
    return load_holdings(views, command.tenant_id, without="")


def create(state: Holdings, command: CreateService) -> list[Event]:
    wanted = command.created
    check_active(state)
    check_name(wanted.name, wanted.label, state)
    check_quota("max_services", state.services + 1, state.quotas, "services")
    check_quota("max_env_vars_per_service", len(command.env), state.quotas, "variables")
    check_resources(wanted.memory_mb, wanted.cpu_milli, wanted.replicas, state)
    check_storage(state)
    check_volumes(wanted.volumes, wanted.replicas, state)
    events: list[Event] = [wanted]
    if command.env:
        events.append(ServiceEnvSet(command.env))
    if wanted.image:
        env_version = len(events) if command.env else 0
        events.append(first_deployment(wanted, command.deployment_id, env_version))
    return events


def first_deployment(wanted: ServiceCreated, deployment_id: str, env_version: int) -> ServiceDeployRequested:
    return ServiceDeployRequested(
        deployment_id=deployment_id,
        number=1,
        trigger="create",
        image=wanted.image,
        port=wanted.port,
        memory_mb=wanted.memory_mb,
        cpu_milli=wanted.cpu_milli,
        health_path=wanted.health_path,
        egress=wanted.egress,
        replicas=wanted.replicas,
        env_version=env_version,
        volumes=wanted.volumes,
    )


class ConfigureService(ServiceCommand, frozen=True, kw_only=True):
    """Settings for the next deployment."""

    changes: ServiceConfigured


def configure(state: ServiceState, command: ConfigureService) -> list[Event]:
    changes, service = command.changes, state.service
    changed = {key: value for key, value in structs.asdict(changes).items() if value is not None}
    if changes.volumes is not None:
        changed["volumes"] = canonical(changes.volumes).decode()
    after = structs.replace(service, **changed)
    if after == service:
        return []
    check_name(after.name, after.label, state.holdings)
    check_volumes(volumes.paths_of(after.volumes), after.replicas, state.holdings)
    if after.desired == "running":
        check_resources(after.memory_mb, after.cpu_milli, after.replicas, state.holdings)
    return [changes]


class SetEnv(ServiceCommand, frozen=True, kw_only=True):
    """Sets or replaces variables; values are sealed."""

    sealed: dict[str, bytes]


def load_variables(views: Connection, command: ServiceCommand) -> Variables:
    row = load_row(views, command)
    names = frozenset(env.values_at(views, row.service_id, row.env_version))
    return Variables(names, load_quotas(views, row.tenant_id))


def set_env(state: Variables, command: SetEnv) -> list[Event]:
    names = state.names | command.sealed.keys()
    check_quota("max_env_vars_per_service", len(names), state.quotas, "variables")
    return [ServiceEnvSet(command.sealed)]


class UnsetEnv(ServiceCommand, frozen=True, kw_only=True):
    """Takes one variable away."""

    key: str


def unset_env(state: Variables, command: UnsetEnv) -> list[Event]:
    if command.key not in state.names:
        raise Rejected("env_not_found", f"the service has no variable {command.key}")
    return [ServiceEnvUnset(command.key)]


class PutEnvBack(ServiceCommand, frozen=True, kw_only=True):
    """Some variables are again what they were: these values, sealed as they were then, and `absent` are taken away."""

    sealed: dict[str, bytes]
    absent: tuple[str, ...]


def put_env_back(state: Variables, command: PutEnvBack) -> list[Event]:
    names = (state.names - {*command.absent}) | command.sealed.keys()
    check_quota("max_env_vars_per_service", len(names), state.quotas, "variables")
    set_again: list[Event] = [ServiceEnvSet(command.sealed)] if command.sealed else []
    return set_again + [ServiceEnvUnset(key) for key in command.absent if key in state.names]


class StopService(ServiceCommand, frozen=True, kw_only=True):
    """Nothing of the service is to run, and nothing is tried again where its circuit is open."""


def stop(state: ServiceState, _: StopService) -> list[Event]:
    if state.service.desired == "stopped":
        return [ServiceCircuitReset()] if state.service.circuit_open else []
    return [*superseded(state, everything=True), ServiceStopRequested()]


class DeleteService(ServiceCommand, frozen=True, kw_only=True):
    """The service goes, with all that it left in the engine."""


class DeletionState(Struct, frozen=True):
    """The service, and its claims to host names."""

    service: ServiceState
    names: list[DomainRow]


def load_deletion(views: Connection, command: DeleteService) -> DeletionState:
    return DeletionState(load_service(views, command), domains.list_of(views, command.service_id))


def delete(state: DeletionState, _: DeleteService) -> list[Event]:
    looks = [ServiceDomainCheckDropped(row.check_open, row.host) for row in state.names if row.check_open]
    return [*superseded(state.service, everything=True), *looks, ServiceDeleteRequested()]


COMMANDS: dict[type[Command], Decision] = {
    CreateService: Decision(load_creation, create, STREAM),
    ConfigureService: Decision(load_service, configure, STREAM),
    SetEnv: Decision(load_variables, set_env, STREAM),
    UnsetEnv: Decision(load_variables, unset_env, STREAM, frees=True),
    PutEnvBack: Decision(load_variables, put_env_back, STREAM),
    StopService: Decision(load_service, stop, STREAM, frees=True),
    DeleteService: Decision(load_deletion, delete, STREAM, frees=True),
}
