"""The one module that reads the clock, and the one that makes ids (they hold the time).

What decides or folds gets its time from the event; nothing below this module asks what time it is.
"""

import os
import time
from typing import Protocol

from ahplat import limits


class Clock(Protocol):
    """Time as the platform sees it; tests have one that they move by hand. `off_s`: see `SystemClock`."""

    off_s: float

    def now_us(self) -> int:
        """Unix time in microseconds: what events have, and what is compared with theirs. Never goes back."""

    def go_on_from(self, at_us: int) -> None:
        """Where the log ends, when it is opened: time goes on from there."""

    def monotonic(self) -> float:
        """Seconds that only ever go forward, for measuring and for limits."""


class SystemClock:
    """The machine's own clock, while it goes steadily.

    One that is set by more than CLOCK_JUMP_S is not followed, but counted on from where it was: what is kept for a month
    would be due at once, and what runs would be billed for a year. A clock that is set back to what it was is followed
    again; a restart takes it as it is. One that is behind what was told, set back by less or behind the log at the start,
    is waited for: time goes on meanwhile, slower by a CLOCK_WAIT-th. `off_s` says by how much the machine's clock is away,
    0 where that is no more than CLOCK_JUMP_S.
    """

    def __init__(self) -> None:
        self.off_s = 0.0
        self._followed = self._told = _read()

    def go_on_from(self, at_us: int) -> None:
        told_us, since_boot_us = self._told
        self._told = (max(told_us, at_us), since_boot_us)

    def now_us(self) -> int:
        machine_us, since_boot_us = _read()
        steady_us = _steady_us(self._followed, since_boot_us)
        told_us, told_since_boot_us = self._told
        if _is_jump(machine_us - steady_us) and _is_jump(machine_us - _steady_us(self._told, since_boot_us)):
            followed_us = steady_us
        else:
            followed_us = machine_us
            self._followed = (machine_us, since_boot_us)
        passed_us = since_boot_us - told_since_boot_us
        now_us = max(followed_us, told_us + passed_us - passed_us // limits.CLOCK_WAIT)
        self._told = (now_us, since_boot_us)
        self.off_s = (machine_us - now_us) / 1e6 if _is_jump(machine_us - now_us) else 0.0
        return now_us

    def monotonic(self) -> float:
        return time.monotonic()


def _steady_us(read: tuple[int, int], since_boot_us: int) -> int:
    """What a clock that was read then shows by now."""
    then_us, then_since_boot_us = read
    return then_us + since_boot_us - then_since_boot_us


def _is_jump(off_us: int) -> bool:
    return abs(off_us) > limits.CLOCK_JUMP_S * 1_000_000


def _read() -> tuple[int, int]:
    """(unix time, time since the machine started, sleep included), both in microseconds."""
    return time.time_ns() // 1_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


def new_id(now_us: int) -> str:
    """A UUIDv7 (RFC 9562, section 5.7) as 32 lower-case hex digits: ids made a microsecond later sort later.

    >>> made = [new_id(1_700_000_000_000_000 + n) for n in range(2_000)]
    >>> made == sorted(made), made[0][:16], len(made[0])
    (True, '018bcfe568007000', 32)
    """
    return _uuid7(now_us, int.from_bytes(os.urandom(8), "big"))


def _uuid7(now_us: int, chance: int) -> str:
    """The time in microseconds (section 6.2, method 3), then 62 bits of chance."""
    milliseconds, microseconds = divmod(now_us, 1_000)
    fraction, low = microseconds * 4_096 // 1_000, chance & (1 << 62) - 1
    return f"{(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | low:032x}"


class RequestIds:
    """Ids that are told apart and no more: only the first is by chance, then one is counted on (RFC 9562, 6.2, method 1).

    A request has one whether it writes or not, and chance is a call of the kernel.
    """

    def __init__(self) -> None:
        self._counted = int.from_bytes(os.urandom(7), "big")

    def new(self, now_us: int) -> str:
        """The next one."""
        self._counted += 1
        return _uuid7(now_us, self._counted)
