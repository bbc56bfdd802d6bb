"""Removes what nothing comes back to, where the log says that it is ours, and tells of what it does not know.

Images: kept are the last IMAGES_KEPT of each service, what serves, and what databases run. Networks: those of tenants that
are suspended or erased; for who comes back they are made anew, before anything starts. Volumes of scratch servers that
died. What is left of that is removed once two looks, GC_AGE_S apart, agree that it is garbage; the engine refuses what a
container still uses, and nothing is touched of a repository from which something is under way. An image that is removed
here can be fetched again, but for what was built: there the registry forgets it too, a rollback that far says that it is
gone, and what it took in the registry is given back (`builders/blobs.py`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.garbage import ReportGarbage
from ahplat.effects import leftovers
from ahplat.effects.task import Platform
from ahplat.engines.engine import Belonging
from ahplat.engines.images import familiar, repository_of
from ahplat.errors import AhError, Rejected, Unavailable
from events.garbage import GarbageCollected
from projections import images

logger = logging.getLogger("ahplat.garbage")

T = TypeVar("T")

Kind = Literal["image", "network", "volume", "registry"]
Sizes = dict[tuple[Kind, str], int]  # kind and name → bytes


class Garbage(Struct, frozen=True):
    """Something that is garbage. `since_us` is when it was first found to be, `due_us` when it may be removed."""

    kind: Kind
    name: str
    bytes: int
    since_us: int
    due_us: int


class Collector:
    """Looks every GC_EVERY_S, and whenever it is asked to. `strangers` are what the last look found and nobody knows."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.removed_bytes = 0
        self.strangers: list[Belonging] = []
        self._seen: list[Belonging] = []  # by the last look
        self._since_us: dict[tuple[Kind, str], int] = {}
        self._sweeping = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts to look."""
        self._loop = asyncio.create_task(self._collect(), name="garbage")

    async def close(self) -> None:
        """Stops."""
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _collect(self) -> None:
        while True:
            try:
                await self.sweep()
            except Unavailable as error:
                logger.info("no garbage was looked for: %s", error.detail)
            except Exception:
                logger.exception("garbage could not be collected")
            await asyncio.sleep(limits.GC_EVERY_S)

    # the look

    async def look(self) -> list[Garbage]:
        """All that is garbage now, whether it may be removed yet or not. Raises Unavailable."""
        return await self._look() + await self._blobs(self.platform.builder.wasted)

    async def _look(self) -> list[Garbage]:
        views, now_us = self.platform.views, self.platform.clock.now_us()
        there = await self._images() | await self._leftovers()
        busy = {familiar(repository_of(image)) for image in images.coming(views)}
        self._since_us = {one: self._since_us.get(one, now_us) for one in there}
        age_us = limits.GC_AGE_S * 1_000_000
        return [
            Garbage(kind, name, there[kind, name], since_us, since_us + age_us)
            for (kind, name), since_us in sorted(self._since_us.items())
            if kind != "image" or repository_of(name) not in busy
        ]

    async def _images(self) -> Sizes:
        views = self.platform.views
        unwanted = sorted(set(images.fetched(views)) - images.wanted(views, limits.IMAGES_KEPT))
        there = await self.platform.engine.image_sizes(unwanted) if unwanted else {}
        return {("image", image): size for image, size in there.items()}

    async def _leftovers(self) -> Sizes:
        """Networks and volumes. A stranger is what was not known before the engine was asked, and is not after."""
        platform = self.platform
        knew = leftovers.known(platform.views, platform.installation)
        self._seen = await platform.engine.belongings()
        strangers = [one for one in self._seen if not knew(one)]
        if strangers:
            knows = leftovers.known(platform.views, platform.installation)
            strangers = [one for one in strangers if not knows(one)]
        self._meet(strangers)
        volumes = self._idle(leftovers.idle_scratches)
        sizes = await platform.engine.volume_bytes() if volumes else {}
        found: Sizes = {("network", name): 0 for name in self._idle(leftovers.idle_networks)}
        return found | {("volume", name): sizes.get(name, 0) for name in volumes}

    def _idle(self, kind: Callable[[Connection, str, int, list[Belonging]], dict[str, T]]) -> dict[str, T]:
        platform = self.platform
        return kind(platform.views, platform.installation, platform.clock.now_us(), self._seen)

    def _meet(self, strangers: list[Belonging]) -> None:
        """Says of each once that it is there."""
        if new := [one for one in strangers if one not in self.strangers]:
            told = ", ".join(f"{one.kind} {one.name}" for one in new[: limits.UNKNOWN_NAMED])
            logger.warning("%d with our label that the log does not know, left alone: %s", len(new), told)
        self.strangers = strangers

    async def _blobs(self, asked: Callable[[], Awaitable[int]]) -> list[Garbage]:
        """What the registry has, or gave back; it keeps nobody from the rest."""
        now_us = self.platform.clock.now_us()
        try:
            size = await asked()
        except Unavailable as error:
            logger.warning("what the registry could give back was not looked at: %s", error.detail)
            return []
        return [Garbage("registry", "what no image has", size, now_us, now_us)] if size else []

    # the removal

    async def sweep(self) -> list[Garbage]:
        """Removes what may be removed, and returns that. Raises Unavailable."""
        async with self._sweeping:
            now_us = self.platform.clock.now_us()
            due = [one for one in await self._look() if one.due_us <= now_us]
            removed = [one for one in due if await self._is_removed(one)]
            removed += await self._blobs(self.platform.builder.free)
            if removed:
                await self._tell(removed)
            return removed

    async def _is_removed(self, garbage: Garbage) -> bool:
        """Removes it. What is in use, or cannot be removed now, waits for the next look."""
        try:
            if not await self._remove(garbage):
                return False
        except (Rejected, Unavailable) as error:
            logger.info("%s %s stays for now: %s", garbage.kind, garbage.name, error.detail)
            return False
        self._since_us.pop((garbage.kind, garbage.name), None)
        return True

    async def _remove(self, garbage: Garbage) -> bool:
        """Looked at once more, for others were removed since: the tenant may be back."""
        engine = self.platform.engine
        if garbage.kind == "image":
            return await self._remove_image(garbage.name)
        if garbage.kind == "network" and (network := self._idle(leftovers.idle_networks).get(garbage.name)):
            await engine.remove_network(network)
            await self.platform.names.look(network.tenant)
            return True
        if garbage.kind == "volume" and (volume := self._idle(leftovers.idle_scratches).get(garbage.name)):
            await engine.remove_volume(volume)
            return True
        return False

    async def _remove_image(self, image: str) -> bool:
        """From the registry first: what the engine has no more is not looked at again, whoever dies in between."""
        await self.platform.builder.drop(image)
        names = images.fetched(self.platform.views).get(image, frozenset())
        return await self.platform.engine.remove_image(image, sorted(names))

    async def _tell(self, removed: list[Garbage]) -> None:
        freed = sum(one.bytes for one in removed if one.kind != "registry")
        self.removed_bytes += freed
        names = {kind: [one.name for one in removed if one.kind == kind] for kind in ("image", "network", "volume")}
        given_back = sum(one.bytes for one in removed if one.kind == "registry")
        told = ", ".join(f"{len(found)} {kind}s" for kind, found in names.items() if found)
        logger.info("removed %s: %d bytes, and %d in the registry", told or "nothing", freed, given_back)
        collected = GarbageCollected(names["image"], freed, tuple(names["network"]), tuple(names["volume"]), given_back)
        try:
            await self.platform.writer.submit(ReportGarbage(tenant_id="", collected=collected), actor="system")
        except AhError as error:  # no room for that: it is removed all the same
            logger.warning("that could not be recorded: %s", error.detail)
