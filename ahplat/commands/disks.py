"""What may be said of disks: that the level of one changed."""

from apsw import Connection

from ahplat.commands.command import Command, Decision
from events.disks import DiskLevelChanged
from events.event import Event
from projections import disks


class ReportDisk(Command, frozen=True, kw_only=True):
    """A disk was looked at. Nothing follows where its level is what was last told."""

    name: str
    level: str
    used_percent: int


def load_level(views: Connection, command: ReportDisk) -> str:
    return disks.level_of(views, command.name)


def report_disk(before: str, command: ReportDisk) -> list[Event]:
    return [] if command.level == before else [DiskLevelChanged(command.level, command.used_percent)]


COMMANDS: dict[type[Command], Decision] = {ReportDisk: Decision(load_level, report_disk, "disk-{0.name}", frees=True)}
