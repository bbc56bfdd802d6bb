"""Removes images that nothing comes back to: those that the log says we fetched, and none else.

Kept are the last IMAGES_KEPT of each service, what serves, and what databases run. What is left of that is removed once two
listings, GC_AGE_S apart, agree that it is garbage; the engine refuses what a container still uses, and nothing is touched
of a repository from which something is under way. What is removed here can be fetched again, but for what was built: there
the registry forgets it too, and a rollback that far says that the image is gone.
"""

import asyncio
import logging

from msgspec import Struct

from ahplat import limits
from ahplat.commands.garbage import ReportGarbage
from ahplat.effects.task import Platform
from ahplat.engines.images import familiar, repository_of
from ahplat.errors import AhError, Unavailable
from projections import images

logger = logging.getLogger("ahplat.garbage")


class Garbage(Struct, frozen=True):
    """An image that is garbage. `since_us` is when it was first found to be, `due_us` when it may be removed."""

    image: str
    bytes: int
    since_us: int
    due_us: int


class Collector:
    """Looks every GC_EVERY_S, and whenever it is asked to."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.removed_bytes = 0
        self._since_us: dict[str, int] = {}  # garbage, by image
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

    async def look(self) -> list[Garbage]:
        """All that is garbage now, whether it may be removed yet or not. Raises Unavailable."""
        views, now_us = self.platform.views, self.platform.clock.now_us()
        unwanted = sorted(set(images.fetched(views)) - images.wanted(views, limits.IMAGES_KEPT))
        there = await self.platform.engine.image_sizes(unwanted) if unwanted else {}
        busy = {familiar(repository_of(image)) for image in images.coming(views)}
        self._since_us = {image: self._since_us.get(image, now_us) for image in there}
        age_us = limits.GC_AGE_S * 1_000_000
        return [
            Garbage(image, there[image], since_us, since_us + age_us)
            for image, since_us in sorted(self._since_us.items())
            if repository_of(image) not in busy
        ]

    async def sweep(self) -> list[Garbage]:
        """Removes what may be removed, and returns that. Raises Unavailable."""
        async with self._sweeping:
            now_us = self.platform.clock.now_us()
            due = [one for one in await self.look() if one.due_us <= now_us]
            removed = [one for one in due if await self._remove(one)]
            if removed:
                await self._tell(removed)
            return removed

    async def _remove(self, garbage: Garbage) -> bool:
        names = images.fetched(self.platform.views).get(garbage.image, frozenset())
        if not await self.platform.engine.remove_image(garbage.image, sorted(names)):
            return False
        await self.platform.builder.drop(garbage.image)
        self._since_us.pop(garbage.image, None)
        return True

    async def _tell(self, removed: list[Garbage]) -> None:
        freed = sum(one.bytes for one in removed)
        self.removed_bytes += freed
        logger.info("removed %d images, %d bytes", len(removed), freed)
        report = ReportGarbage(tenant_id="", images=[one.image for one in removed], bytes=freed)
        try:
            await self.platform.writer.submit(report, actor="system")
        except AhError as error:  # no room for that: it is removed all the same
            logger.warning("that could not be recorded: %s", error.detail)
