"""What was removed because nothing needed it any more."""

from events.event import Event


class GarbageCollected(Event, frozen=True, tag="garbage.collected"):
    """Images that no service goes back to were removed, and what else nobody needed; of networks and volumes the names.

    `bytes` is what images, by themselves or shared, and volumes held; `registry_bytes` what the registry gave back.
    """

    images: list[str]
    bytes: int
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    registry_bytes: int = 0


EVENTS = (GarbageCollected,)
