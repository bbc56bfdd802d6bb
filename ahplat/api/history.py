"""Looks into the past while a server runs: off the loop, so many at once, each on a connection of its own.

Views as they were are folded in memory and the last few are kept: who pages through a list asks for the same moment
again. The invariant: how many events are folded at once, and are kept folded, is bounded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from apsw import Connection

from ahplat import limits
from ahplat.api.places import Places
from ahplat.api.query import invalid_parameter
from events.database import open_reader
from projections import tenants
from projections.metering import METERING
from projections.past import size_of, views_at
from projections.views import PROJECTIONS

T = TypeVar("T")
Kind = Literal["views", "metering"]
_Key = tuple[str, int, Kind]  # (tenant, position, …); of all tenants ""


class History:
    """See the module."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._turns = asyncio.Semaphore(limits.PAST_AT_ONCE)
        self._places = Places("looks into the past")
        self._kept: OrderedDict[_Key, tuple[Connection, int]] = OrderedDict()  # the views, and of how many events

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

    async def views(self, tenant_id: str, position: int, kind: Kind = "views") -> Connection:
        """The views, or the metering, of a tenant as they were at a position; for "", of all: then only tenants are in them.

        Raises Rejected where that is the result of too many events, and Unavailable.
        """
        key = tenant_id, position, kind
        if key not in self._kept:
            self._keep(key, *await self.read(tenant_id, lambda log: _folded(log, *key)))
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def _keep(self, key: _Key, views: Connection, events: int) -> None:
        """Keeps what fits beside it; what goes is closed by who still reads it."""
        self._kept.pop(key, None)
        while self._kept and (len(self._kept) >= limits.PAST_KEPT or self._events() + events > limits.PAST_EVENTS):
            self._kept.popitem(last=False)
        self._kept[key] = views, events

    def _events(self) -> int:
        return sum(events for _, events in self._kept.values())


def _folded(log: Connection, tenant_id: str, position: int, kind: Kind) -> tuple[Connection, int]:
    whose = tenant_id or None
    events = size_of(log, whose, position, limits.PAST_EVENTS + 1)
    if events > limits.PAST_EVENTS:
        raise invalid_parameter("as_of", f"expected a moment before which at most {limits.PAST_EVENTS} events happened")
    of_kind = METERING if kind == "metering" else PROJECTIONS
    return views_at(log, whose, position, of_kind if whose else {"tenants": tenants}), events
