"""The two rooms of a build, on their way up before they are wanted: git fetches in one, nixpacks plans in the other.

Theory of operation. A sandbox takes some 100 ms to come up, whatever is to be built in it. So both come up at once, and
after a build those of its tenant's next one come up and wait, as long as the tenant's builder does (`buildkitd.py`).
Rooms serve one build. They are over one folder, which is empty and of no build until then, and becomes the one that git
fetches into by a rename: what is mounted stays mounted. The folder, and each room, is in a workplace of its own among
those of builds, so that what a killed server left of them is found and removed as builds are.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from ahplat import limits
from ahplat.builders.sandbox import Confinement, Room, room
from ahplat.builders.workplace import Workplace

Needs = tuple[Confinement, Confinement | None]  # what holds git in, and nixpacks where it is wanted


class Rooms:
    """See the module. They begin to come up when they are made."""

    def __init__(self, builds: Path, needs: Needs) -> None:
        self.needs = needs
        self._place = Workplace(builds, secrets.token_hex(16))
        self._place.source.mkdir(parents=True, mode=0o700)
        fetching, planning = needs
        self._fetching = _Rising(_apart(builds, self._place.source, limits.CLONE_BYTES, fetching))
        self._planning: _Rising | None = None
        if planning:
            self._planning = _Rising(_apart(builds, self._place.source, limits.PLAN_FILE_BYTES, planning))

    @property
    def are_fit(self) -> bool:
        """Whether nothing has gone wrong with them so far."""
        return all(one is None or one.is_fit for one in (self._fetching, self._planning))

    async def up(self) -> None:
        """Returns once they are. Raises Unavailable."""
        await self._fetching.up()
        if self._planning:
            await self._planning.up()

    @asynccontextmanager
    async def fetching(self, place: Workplace, folder: Path) -> AsyncIterator[Room]:
        """Git's, until the end of the block, for a build whose folder is there and empty."""
        await self.up()  # until then they look for the folder where it is
        self._place.source.rename(folder)
        async with self._fetching.entered() as found:
            yield found.given_to(place, folder)

    @asynccontextmanager
    async def planning(self, place: Workplace, folder: Path) -> AsyncIterator[Room]:
        """Nixpacks', over the same folder, wherever that is by now."""
        assert self._planning, "a room is asked for that was not wanted"
        async with self._planning.entered() as found:
            yield found.given_to(place, folder)

    async def close(self) -> None:
        """Ends them where they are."""
        await self._fetching.close()
        if self._planning:
            await self._planning.close()
        await self._place.discard()


class _Rising:
    """A room that comes up meanwhile."""

    def __init__(self, coming: AbstractAsyncContextManager[Room]) -> None:
        self._stack = AsyncExitStack()
        self._coming = asyncio.ensure_future(self._stack.enter_async_context(coming))

    @property
    def is_fit(self) -> bool:
        if not self._coming.done():
            return True
        return not self._coming.cancelled() and self._coming.exception() is None and self._coming.result().is_up

    async def up(self) -> Room:
        """Returns once it is. Raises Unavailable."""
        return await self._coming

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Room]:
        try:
            yield await self.up()
        finally:
            await self.close()

    async def close(self) -> None:
        self._coming.cancel()
        await asyncio.gather(self._coming, return_exceptions=True)
        await self._stack.aclose()


@asynccontextmanager
async def _apart(builds: Path, folder: Path, file_bytes: int, how: Confinement) -> AsyncIterator[Room]:
    """A room in a workplace of its own: ending it ends no other."""
    place = Workplace(builds, secrets.token_hex(16))
    await place.begin(is_first=False)
    try:
        async with room(place, folder, file_bytes, how) as made:
            yield made
    finally:
        await place.discard()


def has_memory_for_spares() -> bool:
    """Whether this machine has so much memory to spare that rooms may wait in it."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    available_kb = next((int(words[1]) for words in lines if words[0] == "MemAvailable:"), 0)
    return available_kb >= limits.SPARE_ROOMS_FREE_MB * 1024
