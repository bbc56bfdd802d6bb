"""The logs of a service's instances as one sequence of lines: what there is, or also what comes, wherever it comes from.

Following goes with the service, as an agent that looks for a fault wants it: over crashes, repairs and deploys, from each
instance that runs of it, until nothing is going to run by itself any more. Following one deployment ends with its
instances. The invariant: what is read and not sent yet is at most LOG_BUNCHES bunches, however many instances there are
and however slowly the reader takes them; when this ends, so does all that was read for it.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from msgspec import Struct

from ahplat import limits
from ahplat.api.application import Application
from ahplat.api.stream import Subscriber
from ahplat.engines.engine import Bunch, Instance, LogLine
from ahplat.errors import Unavailable
from projections import deployments, services

SETTLED = frozenset({"stopped", "failed", "circuit_open", "deleted"})  # nothing runs, and nothing will by itself


class Wanted(Struct, frozen=True):
    """What of a service's logs is asked for. `deployment_id` "" is whatever serves."""

    service_id: str
    deployment_id: str
    tail: int
    since_ns: int


class Told(Struct, frozen=True):
    """Some lines of one instance, oldest first."""

    instance: Instance
    bunch: Bunch


async def instances_of(app: Application, wanted: Wanted) -> list[Instance]:
    """Those whose logs are meant: of the deployment that is named, else of the one that serves or served last.

    Raises EngineAway.
    """
    found = [one for one in await app.engine.list(wanted.service_id) if one.identity.epoch == app.epoch]
    service = services.find(app.views, wanted.service_id)
    serving = service.deployment_id if service else None
    numbers = {one.identity.deployment: one.identity.number for one in found}
    newest = max(numbers, key=lambda deployment: numbers[deployment], default="")
    meant = wanted.deployment_id or (serving if serving in numbers else newest)
    return sorted((one for one in found if one.identity.deployment == meant), key=lambda one: one.identity.replica)


async def past(app: Application, instances: list[Instance], wanted: Wanted) -> AsyncGenerator[Told, None]:
    """What was written by now: of each instance its last lines, by time over all of them."""
    async with AsyncExitStack() as stack:
        waiting: list[tuple[int, int, LogLine]] = []  # time, which, line: the next one of each
        logs = []
        for number, instance in enumerate(instances):
            log = app.engine.logs(instance.id, wanted.tail, wanted.since_ns)
            lines = await stack.enter_async_context(aclosing(_one_by_one(log)))
            logs.append(lines)
            if line := await anext(lines, None):
                waiting.append((line.at_ns, number, line))
        heapq.heapify(waiting)
        while waiting:
            _, number, line = heapq.heappop(waiting)
            bunch = [line]
            while (following := await anext(logs[number], None)) and len(bunch) < limits.LOG_BUNCH_LINES:
                if waiting and (following.at_ns, number) > waiting[0][:2]:
                    break
                bunch.append(following)
            if following:
                heapq.heappush(waiting, (following.at_ns, number, following))
            yield Told(instances[number], bunch)


async def _one_by_one(log: AsyncGenerator[Bunch, None]) -> AsyncGenerator[LogLine, None]:
    async with aclosing(log):
        async for bunch in log:
            for line in bunch:
                yield line


class Following:
    """What comes, for one reader. `subscriber` hears of the service's events, and is woken by what is read too."""

    def __init__(self, app: Application, wanted: Wanted, subscriber: Subscriber) -> None:
        self._app = app
        self._wanted = wanted
        self._subscriber = subscriber
        self._readers: dict[str, asyncio.Task[None]] = {}  # by instance
        self._last_ns: dict[str, int] = {}  # of the last line that was read, by instance
        self._read: deque[Told] = deque()
        self._room = asyncio.Semaphore(limits.LOG_BUNCHES)
        self._fault: Unavailable | None = None

    async def begin(self, instances: list[Instance]) -> None:
        """Reads from the last lines of these on."""
        for instance in instances:
            self._follow(instance, self._wanted.tail, self._wanted.since_ns)

    def take(self) -> Told | None:
        """What was read first and not taken yet. Raises Unavailable where a log cannot be read on."""
        if self._read:
            self._room.release()
            return self._read.popleft()
        if self._fault is not None:
            raise self._fault
        return None

    async def look(self) -> None:
        """Reads also what runs by now, from its beginning, or from where its reading ended. Raises EngineAway."""
        for instance in await self._app.engine.list(self._wanted.service_id):
            if instance.identity.epoch != self._app.epoch or self._is_other(instance):
                continue
            reader = self._readers.get(instance.id)
            if reader is None:
                self._follow(instance, None, self._wanted.since_ns)
            elif reader.done() and instance.state == "running":
                self._follow(instance, None, self._last_ns.get(instance.id, 0) + 1)

    def _is_other(self, instance: Instance) -> bool:
        return self._wanted.deployment_id not in ("", instance.identity.deployment)

    @property
    def has_read(self) -> bool:
        """Whether there was any instance at all."""
        return bool(self._readers)

    @property
    def is_moving(self) -> bool:
        """Whether instances may come of which no event tells: a deployment is on its way."""
        service = services.find(self._app.views, self._wanted.service_id)
        return service is not None and service.status == "deploying"

    @property
    def is_over(self) -> bool:
        """Whether nothing will come any more: all that was read has ended, and nothing else is going to run by itself."""
        if self._read or not all(reader.done() for reader in self._readers.values()):
            return False
        if self._wanted.deployment_id:
            row = deployments.find(self._app.views, self._wanted.deployment_id)
            return row is None or row.status not in ("pending", "deploying", "running", "crashed")
        service = services.find(self._app.views, self._wanted.service_id)
        return service is None or service.status in SETTLED

    async def close(self) -> None:
        """Ends all reading."""
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)

    def _follow(self, instance: Instance, tail: int | None, since_ns: int) -> None:
        self._readers[instance.id] = asyncio.create_task(self._pump(instance, tail, since_ns), name="log")

    async def _pump(self, instance: Instance, tail: int | None, since_ns: int) -> None:
        try:
            async with aclosing(self._app.engine.logs(instance.id, tail, since_ns, follow=True)) as log:
                async for bunch in log:
                    await self._room.acquire()
                    self._last_ns[instance.id] = bunch[-1].at_ns
                    self._read.append(Told(instance, bunch))
                    self._subscriber.wake.set()
        except Unavailable as error:
            self._fault = error
        finally:
            self._subscriber.wake.set()
