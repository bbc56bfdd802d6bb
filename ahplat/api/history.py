"""Looks into the past while a server runs: off the loop, so many at once, each on a connection of its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from apsw import Connection

from ahplat import limits
from ahplat.api.places import Places
from events.database import open_reader

T = TypeVar("T")


class History:
    """See the module."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._turns = asyncio.Semaphore(limits.PAST_AT_ONCE)
        self._places = Places("looks into the past")

    async def read(self, tenant_id: str, look: Callable[[Connection], T]) -> T:
        """What `look` says of the log, in a thread. Raises Unavailable where too many wait already."""
        with self._places.taken(tenant_id, 1, limits.PAST_WAITING, limits.PAST_WAITING_OF_TENANT, 1):
            async with self._turns:
                return await asyncio.to_thread(self._look, look)

    def _look(self, look: Callable[[Connection], T]) -> T:
        log = open_reader(self._log)
        try:
            return look(log)
        finally:
            log.close()
