"""What happened to the disks that the platform is on."""

from events.event import Event


class DiskLevelChanged(Event, frozen=True, tag="disk.level_changed"):
    """A disk came to hold so much that it matters, or no longer does. `level`: ok, low (warned of), full (nothing grows)."""

    level: str
    used_percent: int


EVENTS = (DiskLevelChanged,)
