"""Hands service ids from a thread to the event loop, each at most once at a time.

A hint that something may have changed is worth no more than the newest one, so hints of one service merge while nobody
has taken them. Bounded by `limits.WATCH_SERVICES`: what does not fit is dropped, the reconciler's own tick finds it.
"""

import asyncio
import threading

from ahplat import limits
from ahplat.errors import EngineAway


class Changes:
    """One writer, in any thread; one reader, on the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: dict[str, None] = {}
        self._ended: str | None = None
        self._wake = asyncio.Event()

    def put(self, service: str) -> None:
        """Adds a hint. Wakes the reader only when nothing waited yet."""
        with self._lock:
            first = not self._waiting
            if len(self._waiting) < limits.WATCH_SERVICES:
                self._waiting[service] = None
        if first:
            self._notify()

    def end(self, why: str) -> None:
        """Says that no hint will follow; the reader learns it after the last one."""
        with self._lock:
            self._ended = why
        self._notify()

    async def take(self) -> str:
        """The oldest hint, waiting for one. Raises EngineAway at the end."""
        while True:
            self._wake.clear()
            with self._lock:
                if self._waiting:
                    return self._pop()
                if self._ended is not None:
                    raise EngineAway(self._ended)
            await self._wake.wait()

    def _pop(self) -> str:
        service = next(iter(self._waiting))
        del self._waiting[service]
        return service

    def _notify(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)
