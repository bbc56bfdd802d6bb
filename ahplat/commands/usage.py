"""What may be said of a tenant's use: what was measured, as far as there is something to say."""

from apsw import Connection
from msgspec import Struct

from ahplat.commands.command import Command, Decision
from events.event import Event
from events.usage import Reading, UsageMeasured
from projections import storage, tenants


class RecordUsage(Command, frozen=True, kw_only=True):
    """Counters were read, and how much is stored where that was looked at."""

    hour: int
    readings: list[Reading]
    stored: dict[str, int]


class Measured(Struct, frozen=True):
    """What was known before. Of an erased tenant nothing is measured any more."""

    is_there: bool
    stored: dict[str, int]


def load_measured(views: Connection, command: RecordUsage) -> Measured:
    is_there = tenants.status_of(views, command.tenant_id) not in ("", "erased")
    return Measured(is_there, storage.held_by(views, command.tenant_id))


def record_usage(before: Measured, command: RecordUsage) -> list[Event]:
    stored = {kind: size for kind, size in command.stored.items() if size != before.stored.get(kind, 0)}
    if not before.is_there or not (command.readings or stored):
        return []
    return [UsageMeasured(command.hour, command.readings, stored)]


COMMANDS: dict[type[Command], Decision] = {RecordUsage: Decision(load_measured, record_usage, "usage-{0.tenant_id}")}
