"""What an open circuit may do by itself: be tried once when its time has come, and close after a healthy hour."""

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.commands.deployments import DeploymentCommand, image_again, request
from ahplat.commands.services import STREAM, ServiceCommand, ServiceState, load_service
from ahplat.errors import Rejected
from events.event import Event
from events.services import ServiceCircuitClosed, ServiceCircuitHalfOpened
from projections import circuits
from projections.circuits import CircuitRow


def try_at_us(now_us: int, trials: int) -> int:
    """When a service may be tried next that was tried so often.

    >>> [try_at_us(0, trials) // 60_000_000 for trials in range(4)]
    [30, 60, 240, 240]
    """
    return now_us + limits.CIRCUIT_TRIES_S[min(trials, len(limits.CIRCUIT_TRIES_S) - 1)] * 1_000_000


class CircuitState(Struct, frozen=True):
    """The service, and its circuit: None where it is closed."""

    service: ServiceState
    circuit: CircuitRow | None


def load_circuit(views: Connection, command: "TryService | CloseCircuit") -> CircuitState:
    return CircuitState(load_service(views, command), circuits.find(views, command.service_id))


class TryService(DeploymentCommand, frozen=True, kw_only=True):
    """The circuit is half open: what ran last is deployed once more."""

    seen_us: int


def half_open(state: CircuitState, command: TryService) -> list[Event]:
    service, circuit = state.service, state.circuit
    if circuit is None or service.service.serving or service.open or command.seen_us < circuit.try_at_us:
        raise Rejected("outcome_refused", "the circuit is not open, or it is not the time to try the service")
    trial = circuit.trials + 1
    tried = ServiceCircuitHalfOpened(trial, try_at_us(command.seen_us, trial))
    return request(service, [tried], command.deployment_id, "half_open", image_again(service))


class CloseCircuit(ServiceCommand, frozen=True, kw_only=True):
    """The service was healthy for long enough: its crashes are forgotten."""


def close(state: CircuitState, _: CloseCircuit) -> list[Event]:
    if not state.service.service.serving or state.service.open:
        raise Rejected("outcome_refused", "the service does not serve, or work on it is under way")
    return [ServiceCircuitClosed()]


COMMANDS: dict[type[Command], Decision] = {
    TryService: Decision(load_circuit, half_open, STREAM),
    CloseCircuit: Decision(load_circuit, close, STREAM),
}
