"""Hands bunches of lines from a thread that reads to the loop, no faster than they are taken.

The invariant: what waits is never more than LOG_AHEAD_BYTES and one bunch. The thread blocks in `put` until there is
room, or until the reader has gone, which `put` says by returning False; so the log's end that we read stands still, and
whoever writes into the other end waits as it always would.
"""

import asyncio
import threading
from collections import deque

from ahplat import limits
from ahplat.engines.engine import Bunch
from ahplat.engines.lines import size_of


class Handover:
    """One writer, in any thread; one reader, on the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = threading.Condition()
        self._waiting: deque[Bunch] = deque()
        self._bytes = 0
        self._error: Exception | None = None
        self._ended = False
        self._gone = False
        self._wake = asyncio.Event()

    def put(self, bunch: Bunch) -> bool:
        """Adds a bunch once there is room for it; False when nobody will take it."""
        with self._room:
            self._room.wait_for(lambda: self._bytes < limits.LOG_AHEAD_BYTES or self._gone)
            if self._gone:
                return False
            self._waiting.append(bunch)
            self._bytes += size_of(bunch)
        self._notify()
        return True

    def end(self, error: Exception | None = None) -> None:
        """Says that nothing will follow, and why where that is a fault: the reader learns it after the last bunch."""
        with self._room:
            self._error, self._ended = error, True
        self._notify()

    def leave(self) -> None:
        """Says that nobody will take anything any more."""
        with self._room:
            self._gone = True
            self._room.notify_all()

    async def take(self) -> Bunch | None:
        """The oldest bunch, waiting for one; None at the end. Raises what ended it."""
        while True:
            self._wake.clear()
            with self._room:
                if self._waiting:
                    bunch = self._waiting.popleft()
                    self._bytes -= size_of(bunch)
                    self._room.notify_all()
                    return bunch
                if self._ended:
                    break
            await self._wake.wait()
        if self._error is not None:
            raise self._error
        return None

    def _notify(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)
