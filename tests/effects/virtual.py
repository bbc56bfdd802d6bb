"""A loop and a clock whose time is not the machine's: it stands while anything runs, then jumps to the next timer.

Hours pass in milliseconds, and always in the same way. Work in threads (the writer's) counts as running: `elsewhere`
says how much of it is under way, and while there is some the loop waits for it instead of jumping.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

START_US = 1_700_000_000_000_000
PATIENCE_S = 20.0  # of the machine's time, until a thread that does not come back fails the test


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, time moves."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and not self.loop.elsewhere:  # nobody but this thread does anything
            self.loop.now += max(0.0, timeout)
            return []
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            ready = super().select(PATIENCE_S)
            assert ready, "nothing is scheduled, and no thread comes back: the test would wait for ever"
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `now` is in seconds, from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self.elsewhere = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def count(self, future: "asyncio.Future[Any]") -> None:
        """Something in a thread resolves this future: until then time stands."""
        self.elsewhere += 1
        future.add_done_callback(self._came_back)

    def _came_back(self, _: "asyncio.Future[Any]") -> None:
        self.elsewhere -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Done here and at once: with whom a thread would run side by side is the machine's chance, not the test's."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class LoopClock:
    """The loop's time as a Clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.off_s = 0.0
        self.ahead_s = 0  # of true time; monotonic time is true whatever the clock is set to

    def now_us(self) -> int:
        return START_US + round((self._loop.now + self.ahead_s) * 1_000_000)

    def go_on_from(self, at_us: int) -> None:
        assert at_us <= self.now_us()

    def monotonic(self) -> float:
        return self._loop.now
