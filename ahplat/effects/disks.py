"""How full the disks are that the log and the engine's images are on.

One that is low is warned of. On one that is full nothing is begun that grows: what stops, deletes and reads goes on. A
level is left only CALM_PERCENT below where it was reached, so that one at its brink does not fill the log.
"""

import asyncio
import logging
import shutil
from pathlib import Path

from msgspec import Struct, structs

from ahplat import limits
from ahplat.commands.disks import ReportDisk
from ahplat.effects.task import Platform
from ahplat.errors import AhError, Unavailable
from projections import disks

LEVELS = ("ok", "low", "full")

logger = logging.getLogger("ahplat.disks")


class Disk(Struct, frozen=True):
    """A disk as it was last seen, in bytes. `free` is what may still be written: some of the rest may be root's, or nobody's."""

    total: int
    used: int
    free: int
    level: str = "ok"

    @property
    def used_percent(self) -> float:
        """As df(1) has it: of what may be written at all."""
        return 100 * self.used / (self.used + self.free)


def level_at(used_percent: float, before: str, warn_percent: float, full_percent: float) -> str:
    """The level of a disk; `before` is the one that it had.

    >>> [level_at(used, "ok", 80, 90) for used in (79.9, 80, 90)], [level_at(used, "full", 80, 90) for used in (89, 87, 77)]
    (['ok', 'low', 'full'], ['full', 'low', 'ok'])
    """
    calm = limits.DISK_CALM_PERCENT
    if used_percent >= full_percent - (calm if before == "full" else 0):
        return "full"
    return "low" if used_percent >= warn_percent - (0 if before == "ok" else calm) else "ok"


class DiskWatch:
    """Looks every DISK_LOOK_S. `seen` holds the disks by name: log, and engine where that has one of its own to tell."""

    def __init__(self, platform: Platform, data_dir: Path, warn_percent: float, full_percent: float) -> None:
        self.platform = platform
        self.seen: dict[str, Disk] = {}
        self._data_dir = data_dir
        self._warn_percent = warn_percent
        self._full_percent = full_percent
        self._engine_root = ""
        self._loop: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts to look."""
        self._loop = asyncio.create_task(self._watch(), name="disks")

    async def close(self) -> None:
        """Stops."""
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    def refuse(self) -> None:
        """Raises Unavailable `disk_full` where nothing may be begun that grows."""
        if any(disk.level == "full" for disk in self.seen.values()):
            self._measure()  # there may be room again
        for disk in self.seen.values():
            if disk.level == "full":
                raise Unavailable("disk_full", f"the server's disk is {disk.used_percent:.0f} % full", 60)

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("the disks were not looked at")
            await asyncio.sleep(limits.DISK_LOOK_S)

    async def look(self) -> None:
        """Looks at all of them, and tells of those whose level changed."""
        self._engine_root = self._engine_root or (await self.platform.engine.status()).root
        self._measure()
        for name, disk in self.seen.items():
            await self._tell(name, disk)

    def _measure(self) -> None:
        folders = {"log": self._data_dir}
        if self._engine_root:
            folders["engine"] = Path(self._engine_root)
        seen = {}
        for name, folder in folders.items():
            try:
                disk = Disk(*shutil.disk_usage(folder))
            except OSError as error:  # Docker is on another machine
                logger.debug("%s cannot be looked at: %s", folder, error)
                continue
            before = self.seen[name].level if name in self.seen else disks.level_of(self.platform.views, name)
            level = level_at(disk.used_percent, before, self._warn_percent, self._full_percent)
            seen[name] = structs.replace(disk, level=level)
        self.seen = seen

    async def _tell(self, name: str, disk: Disk) -> None:
        if disk.level == disks.level_of(self.platform.views, name):
            return
        logger.warning("the disk of the %s is %.0f %% full: %s", name, disk.used_percent, disk.level)
        report = ReportDisk(tenant_id="", name=name, level=disk.level, used_percent=int(disk.used_percent))
        try:
            await self.platform.writer.submit(report, actor="system")
        except AhError as error:  # no room for that either: said as soon as there is
            logger.warning("that could not be recorded: %s", error.detail)
