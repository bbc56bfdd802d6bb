"""What may be deployed: everything that puts a fresh set of instances in the place of what serves now."""

from apsw import Connection
from msgspec import Struct

from ahplat.commands.command import Command, Decision
from ahplat.commands.services import (
    DEPLOY,
    ROUTE,
    STREAM,
    ServiceCommand,
    ServiceState,
    check_active,
    check_resources,
    check_storage,
    check_volumes,
    load_service,
    superseded,
)
from ahplat.errors import Rejected
from events.event import Event
from events.services import (
    ServiceCircuitReset,
    ServiceConfigured,
    ServiceDeployCancelled,
    ServiceDeployRequested,
    ServiceEnvRestored,
    ServiceEnvSet,
)
from projections import deployments, volumes
from projections.deployments import DeploymentRow
from projections.services import ServiceRow


def request(
    state: ServiceState,
    before: list[Event],
    deployment_id: str,
    trigger: str,
    image: str,
    like: DeploymentRow | None = None,
) -> list[Event]:
    """`before` and then a deployment with the service's settings, or `like` an earlier one.

    What was under way is superseded. The settings hold as they are now: a later change does not reach this deployment.
    """
    if not image:
        raise Rejected("nothing_to_deploy", "the service waits for its first build, and no image was named")
    source: ServiceRow | DeploymentRow = like or state.service
    check_active(state.holdings)
    check_resources(source.memory_mb, source.cpu_milli, source.replicas, state.holdings)
    check_volumes(volumes.paths_of(source.volumes), source.replicas, state.holdings)
    events = [*superseded(state, everything=False), *before]
    if like:
        events += [*settings_back(state.service, like), ServiceEnvRestored(like.env_version)]
    events.append(
        ServiceDeployRequested(
            deployment_id=deployment_id,
            number=state.service.deployments + 1,
            trigger=trigger,
            image=image,
            port=source.port,
            memory_mb=source.memory_mb,
            cpu_milli=source.cpu_milli,
            health_path=source.health_path,
            egress=source.egress,
            replicas=source.replicas,
            env_version=state.service.version + len(events) if is_env_new(events) else state.service.env_version,
            volumes=volumes.paths_of(source.volumes),
        )
    )
    return events


def is_env_new(events: list[Event]) -> bool:
    """Whether the last of these events changes the variables: then the deployment wants them as they are after it."""
    return bool(events) and isinstance(events[-1], ServiceEnvSet | ServiceEnvRestored)


def settings_back(service: ServiceRow, earlier: DeploymentRow) -> list[Event]:
    """An earlier deployment's image and limits become the service's own: what comes next keeps them, and quotas count them."""
    names = ("image", "port", "memory_mb", "cpu_milli", "health_path", "egress", "replicas")
    changed = {name: getattr(earlier, name) for name in names if getattr(earlier, name) != getattr(service, name)}
    if earlier.volumes != service.volumes:
        changed["volumes"] = volumes.paths_of(earlier.volumes)
    return [ServiceConfigured(**changed)] if changed else []


def close_circuit(state: ServiceState) -> list[Event]:
    """Another image is another try: the crashes of the one before are not held against it."""
    return [ServiceCircuitReset()] if state.service.circuit_open else []


def refuse_open_circuit(state: ServiceState) -> None:
    """What would run the same once more wants somebody to look first."""
    if state.service.circuit_open and not state.service.serving:
        raise Rejected("circuit_open", f"the service crashed {state.service.crash_count} times: look at it, then reset")


def image_again(state: ServiceState) -> str:
    """What ran last, by digest; the service's image where nothing ever did."""
    return (state.last.pinned if state.last else None) or state.service.image


class DeploymentCommand(ServiceCommand, frozen=True, kw_only=True):
    """A command that makes a deployment, whose id it brings."""

    deployment_id: str


class DeployImage(DeploymentCommand, frozen=True, kw_only=True):
    """Deploys an image, which is the service's if it comes to serve; "" is the one that it has, pulled again."""

    image: str = ""


def deploy(state: ServiceState, command: DeployImage) -> list[Event]:
    """An image that is still being tried stays on trial when it is pulled again: its failure leaves what served before."""
    check_storage(state.holdings)
    changed, image = close_circuit(state), command.image or state.service.image
    if image != state.service.image:
        changed.append(ServiceConfigured(image=image))
    trigger = "deploy" if command.image or image in state.tried else "redeploy"
    return request(state, changed, command.deployment_id, trigger, image)


class StartService(DeploymentCommand, frozen=True, kw_only=True):
    """What ran last runs again; nothing happens where it does already."""


def start(state: ServiceState, command: StartService) -> list[Event]:
    refuse_open_circuit(state)
    if state.service.serving and state.service.desired == "running":
        return []
    if any(work.type in (DEPLOY, ROUTE) for work in state.open):
        return []
    return request(state, [], command.deployment_id, "start", image_again(state))


class RestartService(DeploymentCommand, frozen=True, kw_only=True):
    """The same image by its digest, in fresh instances, with today's settings and variables."""


def restart(state: ServiceState, command: RestartService) -> list[Event]:
    refuse_open_circuit(state)
    return request(state, [], command.deployment_id, "restart", image_again(state))


class ResetService(DeploymentCommand, frozen=True, kw_only=True):
    """The crashes are forgotten, the circuit is closed, and what ran last is deployed again."""


def reset(state: ServiceState, command: ResetService) -> list[Event]:
    if not image_again(state):
        return [ServiceCircuitReset()]
    return request(state, [ServiceCircuitReset()], command.deployment_id, "reset", image_again(state))


class RollBack(DeploymentCommand, frozen=True, kw_only=True):
    """An earlier deployment again: its image by digest, its variables, its limits. "" is the one before the last."""

    to: str = ""


class RollBackState(Struct, frozen=True):
    """`target` is the deployment to go back to, None when there is none that ever ran."""

    service: ServiceState
    target: DeploymentRow | None


def load_roll_back(views: Connection, command: RollBack) -> RollBackState:
    state = load_service(views, command)
    ran = [
        row
        for row in deployments.list_of(views, command.service_id, limit=-1, offset=0, before=0)
        if row.pinned and (row.deployment_id == command.to or not command.to)
    ]
    if not command.to:
        ran = [row for row in ran if row.deployment_id != state.service.deployment_id]
    return RollBackState(state, ran[0] if ran else None)


def roll_back(state: RollBackState, command: RollBack) -> list[Event]:
    if state.target is None and command.to:
        raise Rejected("deployment_not_found", f"the service has no deployment {command.to} that ever ran")
    if state.target is None or state.target.pinned is None:
        raise Rejected("nothing_to_roll_back", "no earlier deployment of this service ever ran")
    before = close_circuit(state.service)
    return request(state.service, before, command.deployment_id, "rollback", state.target.pinned, like=state.target)


class CancelDeployment(ServiceCommand, frozen=True, kw_only=True):
    """Calls a deployment off that has not come to serve."""

    deployment_id: str


class CancelState(Struct, frozen=True):
    """The deployment, and the position of the open intent that is to bring it to serve; 0 when there is none."""

    deployment: DeploymentRow | None
    intent: int


def load_cancel(views: Connection, command: CancelDeployment) -> CancelState:
    state = load_service(views, command)
    found = deployments.find(views, command.deployment_id)
    if found is None or found.service_id != command.service_id:
        raise Rejected("deployment_not_found", f"the service has no deployment {command.deployment_id}")
    under_way = [
        work.intent
        for work in state.open
        if work.type in (DEPLOY, ROUTE) and work.deployment_id == command.deployment_id
    ]
    return CancelState(found, under_way[0] if under_way else 0)


def cancel(state: CancelState, command: CancelDeployment) -> list[Event]:
    if not state.intent:
        status = state.deployment.status if state.deployment else "gone"
        raise Rejected("not_cancellable", f"the deployment is {status}: only one that is under way can be called off")
    return [ServiceDeployCancelled(state.intent, command.deployment_id)]


COMMANDS: dict[type[Command], Decision] = {
    DeployImage: Decision(load_service, deploy, STREAM),
    StartService: Decision(load_service, start, STREAM),
    RestartService: Decision(load_service, restart, STREAM),
    ResetService: Decision(load_service, reset, STREAM),
    RollBack: Decision(load_roll_back, roll_back, STREAM),
    CancelDeployment: Decision(load_cancel, cancel, STREAM, frees=True),
}
