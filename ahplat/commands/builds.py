"""What may happen to builds.

A build is asked for in a stream of its own, and deployed by a command in its service's: that one looks whether the build
is still wanted, so that one that was cancelled never deploys, and whether it was deployed before, so that it is once.
"""

from apsw import Connection
from msgspec import Struct

from ahplat.commands import deployments as deploying
from ahplat.commands.command import Command, Decision
from ahplat.commands.effects import check_fence
from ahplat.commands.services import (
    STREAM as SERVICE_STREAM,
)
from ahplat.commands.services import (
    Holdings,
    ServiceCommand,
    ServiceState,
    check_active,
    check_quota,
    check_storage,
    load_holdings,
    load_row,
    load_service,
)
from ahplat.errors import Rejected
from events.builds import BuildCancelled, BuildRequested
from events.event import Event
from events.services import ServiceConfigured
from projections import builds, deployments, todo
from projections.builds import BuildRow
from projections.todo import TodoRow

STREAM = "build-{0.build_id}"


class RequestBuild(ServiceCommand, frozen=True, kw_only=True):
    """A repository is to be built and deployed; one that is the same and has only begun will do."""

    build_id: str
    requested: BuildRequested


class Queue(Struct, frozen=True):
    """`open` is how many builds of the tenant wait or are under way, `same` the one that is wanted already."""

    holdings: Holdings
    open: int
    same: BuildRow | None


def load_queue(views: Connection, command: RequestBuild) -> Queue:
    row = load_row(views, command)
    return Queue(
        holdings=load_holdings(views, row.tenant_id, row.service_id),
        open=sum(build.tenant_id == row.tenant_id for build in builds.list_open(views)),
        same=builds.same_as(views, row.service_id, command.requested.source),
    )


def request(state: Queue, command: RequestBuild) -> list[Event]:
    check_active(state.holdings)
    if state.same:
        return []
    check_storage(state.holdings)
    check_quota("max_builds_concurrent", state.open + 1, state.holdings.quotas, "builds that wait or are under way")
    return [command.requested]


class BuildCommand(Command, frozen=True, kw_only=True):
    """A command about one build of the tenant; `service_id` is whose it has to be, "" for any."""

    build_id: str
    service_id: str = ""


class CancelBuild(BuildCommand, frozen=True, kw_only=True):
    """Calls a build off that has not been deployed."""


class CancelState(Struct, frozen=True):
    """The build, and whether its deployment was asked for."""

    build: BuildRow
    is_deployed: bool


def load_build(views: Connection, command: BuildCommand) -> CancelState:
    row = builds.find(views, command.build_id)
    if row is None or row.tenant_id != command.tenant_id or command.service_id not in ("", row.service_id):
        raise Rejected("build_not_found", f"there is no build {command.build_id[:64]}")
    return CancelState(row, deployments.find(views, row.deployment_id) is not None)


def cancel(state: CancelState, _: CancelBuild) -> list[Event]:
    if state.build.status == "cancelled":
        return []
    if not state.build.is_open:
        raise Rejected(
            "build_ended", f"the build is {state.build.status}: only one that is under way can be called off"
        )
    if state.is_deployed:
        raise Rejected("build_ended", "the build's image is being deployed: cancel that deployment")
    return [BuildCancelled(state.build.intent)]


class DeployBuild(ServiceCommand, frozen=True, kw_only=True):
    """Deploys what a build made, unless its service was stopped since. `intent` and `attempt` are of who asks for it."""

    build_id: str
    intent: int
    attempt: int


class Delivery(Struct, frozen=True):
    """A build whose image is there, its service, and whether the deployment was asked for already."""

    build: BuildRow
    work: TodoRow
    service: ServiceState
    is_deployed: bool


def load_delivery(views: Connection, command: DeployBuild) -> Delivery:
    row = builds.find(views, command.build_id)
    work = todo.find(views, command.intent)
    if row is None or work is None:
        raise Rejected("outcome_refused", f"build {command.build_id} is not to be deployed any more")
    is_deployed = deployments.find(views, row.deployment_id) is not None
    return Delivery(row, work, load_service(views, command), is_deployed)


def deliver(state: Delivery, command: DeployBuild) -> list[Event]:
    check_fence(state.work, command.attempt)
    if state.is_deployed or state.build.stopped:
        return []
    image, deployment_id = state.build.image, state.build.deployment_id
    before = [*deploying.close_circuit(state.service), ServiceConfigured(image=image)]
    return deploying.request(state.service, before, deployment_id, "build", image)


COMMANDS: dict[type[Command], Decision] = {
    RequestBuild: Decision(load_queue, request, STREAM),
    CancelBuild: Decision(load_build, cancel, STREAM, frees=True),
    DeployBuild: Decision(load_delivery, deliver, SERVICE_STREAM),
}
