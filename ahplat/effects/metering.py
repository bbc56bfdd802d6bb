"""What tenants use: containers' counters, looked at every METER_LOOK_S and told once an hour, and what is stored.

A container's last counters are told before it is removed, for they go with it. What is told are counters and no
differences, so that nothing is lost or counted twice when a server dies between two looks; only what its containers held
in memory since the last hour is not known then. What happened since the last look before an hour's end is the next hour's.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from apsw import Connection
from msgspec import Struct, structs

from ahplat import limits
from ahplat.clock import Clock
from ahplat.commands.usage import RecordUsage
from ahplat.effects.database_specs import server_name
from ahplat.effects.volumes import volume_of
from ahplat.engines.engine import Counters, Engine, Instance
from ahplat.errors import AhError, Unavailable
from ahplat.writer import Writer
from events.usage import STORED, Reading
from projections import database_backups, databases, images, storage, volumes
from projections.metering import HOUR_S

MEGABYTE = 2**20

logger = logging.getLogger("ahplat.metering")


class Sample(Struct):
    """An instance as it was last looked at. `held` is memory over time that was not told yet, in bytes times seconds."""

    instance: Instance
    counters: Counters
    seen_at: float  # on the clock that is never set
    held: float = 0.0
    told: Counters | None = None

    def look(self, counters: Counters, now: float) -> None:
        """It was looked at again: until now it held what it held then."""
        self.held += self.counters.memory_bytes * (now - self.seen_at)
        self.counters, self.seen_at = counters, now

    def reading(self) -> Reading | None:
        """What is to be told of it; None where that is nothing new."""
        at, memory_mb_s = self.counters, int(self.held / MEGABYTE)
        if self.told and self.told == structs.replace(at, memory_bytes=self.told.memory_bytes) and not memory_mb_s:
            return None
        identity = self.instance.identity
        kind = "database" if identity.database else "service"
        return Reading(self.instance.id, kind, identity.subject, at.cpu_us, memory_mb_s, at.rx_bytes, at.tx_bytes)


class Meter:
    """See the module. `samples` holds what runs, by the engine's id, as it was last seen."""

    def __init__(self, engine: Engine, writer: Writer, views: Connection, clock: Clock, installation: str) -> None:
        self.samples: dict[str, Sample] = {}
        self._engine = engine
        self._writer = writer
        self._views = views
        self._clock = clock
        self._installation = installation
        self._hour = 0
        self._ended: set[str] = set()  # whose last counters were told, and who are not gone yet
        self._turn = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts to look."""
        self._loop = asyncio.create_task(self._watch(), name="metering")

    async def close(self) -> None:
        """Stops."""
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except AhError as error:
                logger.info("nothing was metered: %s", error.detail)
            except Exception:
                logger.exception("nothing could be metered")
            await asyncio.sleep(limits.METER_LOOK_S)

    async def look(self) -> None:
        """Looks at all that runs; where an hour is over, tells what it came to. Raises Unavailable."""
        hour, before = self._hour_now(), set(self._ended)
        if self._hour not in (0, hour):
            stored = await self._stored()
            async with self._turn:
                await self._tell(self._hour, list(self.samples.values()), stored)
        self._hour = hour
        seen = {one.id: one for one in (*await self._engine.list(), *await self._engine.list_databases())}
        self._ended -= before - seen.keys()
        await self._tell_gone(hour, self.samples.keys() - seen.keys())
        running = [one for one in seen.values() if one.state == "running"]
        for first in range(0, len(running), limits.METER_AT_ONCE):
            async with self._turn:
                await self._read(running[first : first + limits.METER_AT_ONCE])

    async def _tell_gone(self, hour: int, ids: set[str]) -> None:
        """Tells of what is not there any more, and nobody had looked at before it went, as it was seen last."""
        async with self._turn:
            await self._tell(hour, [self.samples[id_] for id_ in sorted(ids) if id_ in self.samples], {})
            for id_ in ids:
                self.samples.pop(id_, None)

    async def last_look(self, instances: Sequence[Instance]) -> None:
        """Tells the counters of what is about to be removed. They are lost, and the removal is not, where that fails."""
        async with self._turn:
            with suppress(Unavailable):
                await self._read(instances)
            self._ended |= {one.id for one in instances}
            samples = [sample for one in instances if (sample := self.samples.pop(one.id, None))]
            with suppress(AhError):
                await self._tell(self._hour_now(), samples, {})

    def _hour_now(self) -> int:
        now_s = self._clock.now_us() // 1_000_000
        return now_s - now_s % HOUR_S

    async def _read(self, instances: Sequence[Instance]) -> None:
        by_id = {one.id: one for one in instances if one.id not in self._ended}
        found = await self._engine.counters(list(by_id)) if by_id else {}
        now = self._clock.monotonic()
        for id_, counters in found.items():
            self.samples.setdefault(id_, Sample(by_id[id_], counters, now)).look(counters, now)

    async def _tell(self, hour: int, samples: list[Sample], stored: dict[str, dict[str, int]]) -> None:
        of_tenant: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            of_tenant[sample.instance.identity.tenant].append(sample)
        for tenant_id in sorted(of_tenant.keys() | stored.keys()):
            known = [(one, reading) for one in of_tenant[tenant_id] if (reading := one.reading())]
            readings = [reading for _, reading in known]
            command = RecordUsage(tenant_id=tenant_id, hour=hour, readings=readings, stored=stored.get(tenant_id, {}))
            await self._writer.submit(command, actor="system")
            for sample, reading in known:
                sample.told = sample.counters
                sample.held -= reading.memory_mb_s * MEGABYTE

    async def _stored(self) -> dict[str, dict[str, int]]:
        """Tenant → what is kept for it, in bytes by kind. Layers that images share count for each of them."""
        sizes = await self._engine.volume_bytes()
        nothing = dict.fromkeys(STORED, 0)
        stored = defaultdict(nothing.copy, {tenant_id: nothing.copy() for tenant_id in storage.tenants(self._views)})
        for name, tenant_id in self._volumes().items():
            stored[tenant_id]["volumes"] += sizes.get(name, 0)
        owners = images.fetched_by(self._views)
        there = await self._engine.image_sizes(sorted({image for all_of in owners.values() for image in all_of}))
        for tenant_id, all_of in owners.items():
            stored[tenant_id]["images"] = sum(there.get(image, 0) for image in all_of)
        for tenant_id, size in database_backups.held(self._views).items():
            stored[tenant_id]["backups"] = size
        return stored

    def _volumes(self) -> dict[str, str]:
        """The engine's name of each volume → whose it is."""
        named = {volume_of(id_, tenant, self._installation).name: tenant for id_, tenant in volumes.owners(self._views)}
        return named | {server_name(id_): tenant for id_, tenant in databases.owners(self._views)}
