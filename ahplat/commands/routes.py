"""What may be said of routes beside their moving: that the router had been told something else, and is told again."""

from ahplat.commands.command import Command, Decision
from ahplat.commands.services import STREAM, ServiceCommand, load_row
from events.event import Event
from events.services import ServiceRouteRepaired
from projections.services import ServiceRow


class ReportRouteRepair(ServiceCommand, frozen=True, kw_only=True):
    """What the router had been told of a service was not what the views say; now it is."""

    finding: str


def report(_: ServiceRow, command: ReportRouteRepair) -> list[Event]:
    return [ServiceRouteRepaired(command.finding)]


COMMANDS: dict[type[Command], Decision] = {ReportRouteRepair: Decision(load_row, report, STREAM)}
