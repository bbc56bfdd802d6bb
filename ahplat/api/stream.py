"""Who listens to the log: event streams, waiters for a subject, waiters for a position.

Live push is an optimisation over reading the log. A subscriber is live while it has been given everything up to the
last commit; one that falls behind loses its queue, not its place, and reads on from the log. The invariant: what a
subscriber is given is every event of its tenant after its cursor, once, in order, whatever its speed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import apsw

from ahplat import limits
from ahplat.api import frames
from ahplat.api.frames import PublicEvent
from ahplat.errors import Unavailable
from events.catalog import decode
from events.event import Event, Recorded
from events.keys import KeyRevoked
from events.log import read_tenant
from events.tenants import TenantErasureRequested, TenantSuspended

Fact = tuple[Recorded, Event]


class Filter:
    """Which events of a tenant somebody wants: types (exact, or `noun.*`) and one resource; everything by default."""

    def __init__(self, types: str = "", resource: str = "") -> None:
        wanted = [one.strip() for one in types.split(",") if one.strip()]
        self._exact = frozenset(one for one in wanted if not one.endswith("*"))
        self._prefixes = tuple(one[:-1] for one in wanted if one.endswith("*"))
        self._all = not wanted
        self._resource = resource.rpartition(":")[2]

    def wants(self, at: Recorded, event: Event) -> bool:
        """Whether the event passes. Work on a resource belongs to it too."""
        if not (self._all or at.type in self._exact or at.type.startswith(self._prefixes or ("\0",))):
            return False
        if not self._resource:
            return True
        about = getattr(event, "subject", at.stream)
        return self._resource in (about.partition("-")[2], getattr(event, "key_id", ""))


class Subscriber:
    """One event stream. `cursor` is the last position that was given out, or looked at and not wanted."""

    def __init__(self, tenant_id: str, key_id: str, cursor: int, wanted: Filter) -> None:
        self.tenant_id = tenant_id
        self.key_id = key_id
        self.cursor = cursor
        self.wanted = wanted
        self.closed = False
        self.live = False
        self.queue: deque[PublicEvent] = deque()
        self.wake = asyncio.Event()
        self.alarm: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Ends the stream after what it has sent."""
        self.closed = True
        self.wake.set()

    async def rest(self, wait_s: float) -> None:
        """Until there is more, or it has been so long. The one alarm stays set over many events and may wake early."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self.alarm is None or not now_s < self.alarm.when() <= now_s + wait_s:
            self.forget_alarm()
            self.alarm = loop.call_later(wait_s, self.wake.set)
        await self.wake.wait()

    def forget_alarm(self) -> None:
        """Once nobody rests any more."""
        if self.alarm:
            self.alarm.cancel()

    def give(self, event: PublicEvent) -> None:
        """Live push; too much at once, and it reads on from the log instead."""
        if len(self.queue) >= limits.STREAM_QUEUE:
            self.queue.clear()
            self.live = False
        else:
            self.queue.append(event)
        self.wake.set()


class Hub:
    """Hears of every commit, on the loop, before those who committed are answered."""

    def __init__(self, log: apsw.Connection, position: int) -> None:
        self.position = position  # of the last commit
        self.framed: dict[int, bytes] = {}  # position → its frame, made once for all who hear of the last commit
        self._log = log
        self._subscribers: dict[str, set[Subscriber]] = {}  # by tenant
        self._positions: set[asyncio.Future[None]] = set()  # who waits for any commit
        self._closing = False
        self._subjects: dict[str, set[asyncio.Future[None]]] = {}
        self._count = 0

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._count

    def committed(self, facts: list[Fact]) -> None:
        """Pushes to live subscribers, wakes waiters, ends the streams of keys that died."""
        self.position = facts[-1][0].position
        self.framed.clear()
        for at, event in facts:
            shown: PublicEvent | None = None
            for subscriber in self._subscribers.get(at.tenant, ()):
                if subscriber.live and subscriber.wanted.wants(at, event):
                    shown = shown or frames.public(at, event)
                    subscriber.give(shown)
            self._end_streams(at, event)
            _wake(self._subjects.get(getattr(event, "subject", at.stream), ()))
        _wake(self._positions)

    def caught_up(self) -> None:
        """The views lagged and are in step: who waits for what they say looks again."""
        for waiters in (self._positions, *self._subjects.values()):
            _wake(waiters)

    def _end_streams(self, at: Recorded, event: Event) -> None:
        if isinstance(event, KeyRevoked | TenantSuspended | TenantErasureRequested):
            for subscriber in self._subscribers.get(at.tenant, ()):
                if not isinstance(event, KeyRevoked) or subscriber.key_id == event.key_id:
                    subscriber.close()

    # streams

    def subscribe(self, subscriber: Subscriber) -> None:
        """Raises Unavailable when there are too many."""
        if self._count >= limits.STREAMS:
            raise Unavailable("overloaded", f"{limits.STREAMS} event streams are open", 10)
        mine = self._subscribers.get(subscriber.tenant_id, set())
        if len(mine) >= limits.STREAMS_OF_TENANT:
            raise Unavailable("overloaded", f"{len(mine)} event streams of this tenant are open", 10)
        self._count += 1
        mine.add(subscriber)
        self._subscribers[subscriber.tenant_id] = mine

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Forgets it."""
        subscriber.forget_alarm()
        mine = self._subscribers[subscriber.tenant_id]
        mine.discard(subscriber)
        self._count -= 1
        if not mine:
            del self._subscribers[subscriber.tenant_id]

    def take(self, subscriber: Subscriber) -> list[PublicEvent]:
        """What comes next for a subscriber; empty when it has everything, and it is live from then on."""
        if not subscriber.live:
            return self._catch_up(subscriber)
        given = list(subscriber.queue)
        subscriber.queue.clear()
        subscriber.cursor = self.position
        return given

    def _catch_up(self, subscriber: Subscriber) -> list[PublicEvent]:
        head = self.position
        found = read_tenant(self._log, subscriber.tenant_id, subscriber.cursor, limits.LIST_LIMIT)
        found = [at for at in found if at.position <= head]
        decoded = [(at, decode(at.type, at.data)) for at in found]
        subscriber.cursor = found[-1].position if len(found) == limits.LIST_LIMIT else head
        subscriber.live = len(found) < limits.LIST_LIMIT
        return [frames.public(at, event) for at, event in decoded if subscriber.wanted.wants(at, event)]

    def close(self) -> None:
        """Ends all streams and all waits."""
        self._closing = True
        for mine in self._subscribers.values():
            for subscriber in mine:
                subscriber.close()
        self.caught_up()

    # waiters

    async def until_committed(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Waits for something to hold, looking again after every commit. Whether it came to that in time."""
        return await self._until(self._positions, holds, timeout_s)

    async def until(self, stream: str, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Waits for something about a stream to hold, looking again whenever it changes."""
        waiters = self._subjects.setdefault(stream, set())
        try:
            return await self._until(waiters, holds, timeout_s)
        finally:
            if not waiters and self._subjects.get(stream) is waiters:
                del self._subjects[stream]

    async def _until(self, waiters: set[asyncio.Future[None]], holds: Callable[[], bool], timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not holds() and not self._closing:
            waiter: asyncio.Future[None] = loop.create_future()
            waiters.add(waiter)
            try:
                await asyncio.wait_for(waiter, deadline - loop.time())
            except TimeoutError:
                return holds()
            finally:
                waiters.discard(waiter)
        return holds()


def _wake(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
