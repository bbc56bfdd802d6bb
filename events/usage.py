"""What was measured of a tenant's containers and storage. Prices are no facts, and stand nowhere in the log."""

from msgspec import Struct, field

from events.event import Event

STORED = ("volumes", "images", "backups")  # kinds of what is kept for a tenant


class Reading(Struct, frozen=True):
    """A container's counters: since it was started, but for the memory, which is since the reading before.

    `memory_mb_s` is what it held, integrated over the time that it held it. `resource_id` is the service or the database.
    """

    instance: str
    kind: str  # service, database
    resource_id: str
    cpu_us: int
    memory_mb_s: int
    rx_bytes: int
    tx_bytes: int


class UsageMeasured(Event, frozen=True, tag="usage.measured"):
    """What the tenant used in the hour that began at `hour`, a unix time, as far as it is known by now.

    `stored` is what is kept for it, in bytes by kind (see STORED); only the kinds that changed.
    """

    hour: int
    readings: list[Reading]
    stored: dict[str, int] = field(default_factory=dict)


EVENTS = (UsageMeasured,)
