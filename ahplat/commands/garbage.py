"""What may be said of garbage: that it was removed."""

from apsw import Connection

from ahplat.commands.command import Command, Decision
from events.event import Event
from events.garbage import GarbageCollected


class ReportGarbage(Command, frozen=True, kw_only=True):
    """It was removed."""

    kind: str = "images"
    collected: GarbageCollected


def load_nothing(_: Connection, __: ReportGarbage) -> None:
    """Nothing has to be known to say it."""


def report_garbage(_: None, command: ReportGarbage) -> list[Event]:
    return [command.collected]


COMMANDS: dict[type[Command], Decision] = {
    ReportGarbage: Decision(load_nothing, report_garbage, "garbage-{0.kind}", frees=True)
}
