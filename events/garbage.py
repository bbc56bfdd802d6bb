"""What was removed because nothing needed it any more."""

from events.event import Event


class GarbageCollected(Event, frozen=True, tag="garbage.collected"):
    """Images that no service goes back to were removed; `bytes` is what they held by themselves or shared."""

    images: list[str]
    bytes: int


EVENTS = (GarbageCollected,)
