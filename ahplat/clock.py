"""The one module that reads the clock, and the one that makes ids (they hold the time).

What decides or folds gets its time from the event; nothing below this module asks what time it is.
"""

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the platform sees it; tests have one that they move by hand."""

    def now_us(self) -> int:
        """Unix time in microseconds."""

    def monotonic(self) -> float:
        """Seconds that only ever go forward, for measuring and for limits."""


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        return time.monotonic()


def new_id(now_us: int) -> str:
    """A UUIDv7 (RFC 9562, section 5.7) as 32 lower-case hex digits: ids made later sort later."""
    return _uuid7(now_us, int.from_bytes(os.urandom(10), "big"))


def _uuid7(now_us: int, chance: int) -> str:
    high, low = chance >> 62 & 0xFFF, chance & (1 << 62) - 1
    return f"{(now_us // 1_000 & (1 << 48) - 1) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"


class RequestIds:
    """Ids that are told apart and no more: only the first is by chance, then one is counted on (RFC 9562, 6.2, method 1).

    A request has one whether it writes or not, and chance is a call of the kernel.
    """

    def __init__(self) -> None:
        self._counted = int.from_bytes(os.urandom(9), "big")

    def new(self, now_us: int) -> str:
        """The next one."""
        self._counted += 1
        return _uuid7(now_us, self._counted)
