"""The hash chain: each event's link covers its own bytes and, through the link before it, all that came earlier.

    leaf(n) = SHA-256(0x00 ‖ frame)            link(n) = SHA-256(0x01 ‖ link(n-1) ‖ leaf(n)),   link(0) = 32 zero bytes

`frame` is six parts, each as its length (8 bytes, big endian) and its bytes: "position NUL version NUL at_us" in
decimal digits, then stream, type, tenant, data and meta. The prefixes keep a leaf from passing for a link (RFC 6962, 2.1).
"""

from hashlib import sha256
from struct import Struct

from events.event import Recorded

GENESIS = bytes(32)
_length = Struct(">Q").pack


class ChainBroken(Exception):
    """An event is not what was written, or not where it was written. `position` is the first that does not fit."""

    def __init__(self, position: int, detail: str) -> None:
        super().__init__(f"position {position}: {detail}")
        self.position = position


def leaf(
    position: int, stream: str, version: int, type_name: str, at_us: int, tenant: str, data: bytes, meta: bytes
) -> bytes:
    """The hash of one event by itself.

    >>> leaf(1, "log-1", 1, "log.created", 0, "", b"{}", b"{}").hex()[:16]
    'd91bb581a1444643'
    """
    head = b"%d\0%d\0%d" % (position, version, at_us)
    framed = [b"\0"]
    for part in (head, stream.encode(), type_name.encode(), tenant.encode(), data, meta):
        framed += (_length(len(part)), part)
    return sha256(b"".join(framed)).digest()


def link(before: bytes, leaf_hash: bytes) -> bytes:
    """The chain's hash after one more event."""
    return sha256(b"\1" + before + leaf_hash).digest()


def leaf_of(event: Recorded) -> bytes:
    """The hash of an event as it is recorded."""
    return leaf(
        event.position,
        event.stream,
        event.version,
        event.type,
        event.at_us,
        event.tenant,
        event.data,
        event.meta,
    )


def verify(before: bytes, position: int, events: list[Recorded]) -> bytes:
    """Checks that `events` follow one another after `position`, whose link is `before`; returns the last link.

    Raises ChainBroken with the first position that does not fit.
    """
    for event in events:
        position += 1
        if event.position != position:
            raise ChainBroken(position, f"expected position {position}, found {event.position}")
        before = link(before, leaf_of(event))
        if before != event.link:
            raise ChainBroken(
                position, f"its bytes give link {before.hex()[:16]}…, recorded is {event.link.hex()[:16]}…"
            )
    return before
