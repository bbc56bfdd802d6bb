"""What may be said of garbage: that it was removed."""

from apsw import Connection

from ahplat.commands.command import Command, Decision
from events.event import Event
from events.garbage import GarbageCollected


class ReportGarbage(Command, frozen=True, kw_only=True):
    """Images were removed."""

    kind: str = "images"
    images: list[str]
    bytes: int


def load_nothing(_: Connection, __: ReportGarbage) -> None:
    """Nothing has to be known to say it."""


def report_garbage(_: None, command: ReportGarbage) -> list[Event]:
    return [GarbageCollected(command.images, command.bytes)]


COMMANDS: dict[type[Command], Decision] = {ReportGarbage: Decision(load_nothing, report_garbage, "garbage-{0.kind}")}
