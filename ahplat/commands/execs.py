"""When a command may be run in a service. How it ended is recorded as of all work: see `Conclude` in `effects.py`."""

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.commands.services import ServiceCommand, load_row
from ahplat.errors import Rejected
from events.event import Event
from events.execs import ExecStarted
from projections import execs, instances
from projections.instances import InstanceRow

STREAM = "exec-{0.exec_id}"


class StartExec(ServiceCommand, frozen=True, kw_only=True):
    """Somebody is about to run a command in an instance of the service that answers."""

    exec_id: str
    instance: str
    timeout_s: int
    due_us: int
    sealed: bytes


class ExecState(Struct, frozen=True):
    """What answers of the service, and how many commands run in it."""

    instances: list[InstanceRow]
    running: int


def load_exec(views: Connection, command: StartExec) -> ExecState:
    row = load_row(views, command)
    return ExecState(instances.list_of(views, row.service_id), execs.running_of(views, row.service_id))


def start_exec(state: ExecState, command: StartExec) -> list[Event]:
    placed = [row for row in state.instances if row.instance == command.instance]
    if not placed:
        raise Rejected("not_running", "the instance is not one that should run")
    if state.running >= limits.EXECS_OF_ONE:
        raise Rejected("exec_busy", f"{state.running} commands are running in the service")
    return [
        ExecStarted(
            subject=f"service-{command.service_id}",
            deployment_id=placed[0].deployment_id,
            instance=command.instance,
            timeout_s=command.timeout_s,
            due_us=command.due_us,
            command=command.sealed,
        )
    ]


COMMANDS: dict[type[Command], Decision] = {StartExec: Decision(load_exec, start_exec, STREAM)}
