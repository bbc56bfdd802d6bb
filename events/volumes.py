"""What happened to the volumes of tenants. They are made with the first service that names them, and go only when told to."""

from events.event import Intent, Outcome


class VolumePurgeRequested(Intent, frozen=True, tag="volume.purge_requested"):
    """The volume is to go, with all that is in it."""

    name: str


class VolumePurged(Outcome, frozen=True, tag="volume.purged"):
    """The volume is gone for good; its name is free."""


EVENTS = (VolumePurgeRequested, VolumePurged)
