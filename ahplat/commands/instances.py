"""What may be said of instances: that one crashed, that what runs is not what should, and what is done about it.

The breaker stands here: CRASHES within CRASH_WINDOW_S open the circuit; before that each crash is repaired after a
longer wait. `circuits.py` has what becomes of an open one.
"""

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.circuits import try_at_us
from ahplat.commands.command import Command, Decision
from ahplat.commands.effects import WorkCommand, check_fence, load_work
from ahplat.commands.services import STREAM, ServiceCommand, ServiceState, load_service
from ahplat.errors import Rejected
from events.event import Event
from events.services import (
    ServiceCircuitOpened,
    ServiceCrashed,
    ServiceDrifted,
    ServiceRepairFailed,
    ServiceRepairRequested,
    ServiceStopRequested,
)
from projections import crashes, instances, services
from projections.instances import InstanceRow
from projections.services import ServiceRow
from projections.todo import TodoRow


class InstanceState(Struct, frozen=True):
    """The service, what should run of it, and how often it crashed within the window."""

    service: ServiceState
    instances: list[InstanceRow]
    crashes: int


def load_instances(views: Connection, command: "ReportCrash | ReportDrift") -> InstanceState:
    since_us = command.seen_us - limits.CRASH_WINDOW_S * 1_000_000
    return InstanceState(
        service=load_service(views, command),
        instances=instances.list_of(views, command.service_id),
        crashes=crashes.crashes_since(views, command.service_id, since_us),
    )


def after_crash(service: ServiceRow, deployment_id: str, crashes: int, seen_us: int) -> list[Event]:
    """What follows the `crashes`-th crash within the window: a repair after a wait, or the open circuit.

    Where that was half open already, one crash is enough.
    """
    if crashes >= limits.CRASHES or service.circuit_open:
        return [ServiceCircuitOpened(crashes, try_at_us(seen_us, trials=0)), ServiceStopRequested()]
    wait_s = limits.CRASH_BACKOFF_S[min(crashes, len(limits.CRASH_BACKOFF_S)) - 1]
    return [ServiceRepairRequested(deployment_id, seen_us + wait_s * 1_000_000)]


class ReportCrash(ServiceCommand, frozen=True, kw_only=True):
    """An instance that should run was seen to have ended by itself."""

    instance: str
    seen_us: int
    exit_code: int | None
    oom_killed: bool
    tail: bytes


def report_crash(state: InstanceState, command: ReportCrash) -> list[Event]:
    placed = [row for row in state.instances if row.instance == command.instance]
    if not placed or state.service.open:
        raise Rejected(
            "outcome_refused", "the instance is not one that should run, or work on the service is under way"
        )
    crashes = state.crashes + 1
    crashed = ServiceCrashed(
        deployment_id=placed[0].deployment_id,
        replica=placed[0].replica,
        instance=command.instance,
        crash_count=crashes,
        exit_code=command.exit_code,
        oom_killed=command.oom_killed,
        tail=command.tail,
        memory_mb=state.service.last.memory_mb if command.oom_killed and state.service.last else 0,
    )
    return [crashed, *after_crash(state.service.service, placed[0].deployment_id, crashes, command.seen_us)]


class ReportDrift(ServiceCommand, frozen=True, kw_only=True):
    """What runs is not what should run: `findings` say how."""

    seen_us: int
    findings: list[ServiceDrifted]


def report_drift(state: InstanceState, command: ReportDrift) -> list[Event]:
    if state.service.open:
        raise Rejected("outcome_refused", "work on the service is under way: what was seen may be its doing")
    deployment_id = state.service.service.deployment_id or ""
    return [*command.findings, ServiceRepairRequested(deployment_id)]


class FailRepair(WorkCommand, frozen=True, kw_only=True):
    """A repair did not bring the service to answer: it counts as a crash."""

    service_id: str
    attempt: int
    seen_us: int
    failure: ServiceRepairFailed


class RepairState(Struct, frozen=True):
    """The open repair, its service, and how often that crashed within the window."""

    work: TodoRow
    service: ServiceRow
    crashes: int


def load_repair(views: Connection, command: FailRepair) -> RepairState:
    since_us = command.seen_us - limits.CRASH_WINDOW_S * 1_000_000
    work, service = load_work(views, command), services.find(views, command.service_id)
    assert service, command
    return RepairState(work, service, crashes.crashes_since(views, command.service_id, since_us))


def fail_repair(state: RepairState, command: FailRepair) -> list[Event]:
    check_fence(state.work, command.attempt)
    crashes = state.crashes + 1
    return [command.failure, *after_crash(state.service, command.failure.deployment_id, crashes, command.seen_us)]


COMMANDS: dict[type[Command], Decision] = {
    ReportCrash: Decision(load_instances, report_crash, STREAM),
    ReportDrift: Decision(load_instances, report_drift, STREAM),
    FailRepair: Decision(load_repair, fail_repair, STREAM),
}
