"""What may be said of tenants' networks: who was put back into one."""

from apsw import Connection

from ahplat.commands.command import Command, Decision
from events.event import Event
from events.networks import NetworkRouterRejoined


class ReportRouterRejoin(Command, frozen=True, kw_only=True):
    """The router's container was put back into the tenant's network. `found` is the address that it had there, or ""."""

    container: str
    found: str


def load_nothing(views: Connection, command: ReportRouterRejoin) -> None:
    """What was done is a fact, whatever is known."""


def report_router_rejoin(_: None, command: ReportRouterRejoin) -> list[Event]:
    return [NetworkRouterRejoined(command.container, command.found)]


COMMANDS: dict[type[Command], Decision] = {
    ReportRouterRejoin: Decision(load_nothing, report_router_rejoin, "network-{0.tenant_id}"),
}
