"""Has backups made while the server runs: each by `ah backup` in a process of its own, which leaves the server's alone.

When the next one is due follows from the newest pair in the folder, and from nothing in memory: a restart changes nothing,
and one that an operator made counts. One that failed is said, and tried again at the next look.
"""

import asyncio
import logging
import sys
from pathlib import Path

from ahplat import limits, processes
from ahplat.backups import pairs
from ahplat.backups.pairs import BackupFailed
from ahplat.clock import Clock
from ahplat.errors import Unavailable

logger = logging.getLogger("ahplat.backups")


def last_made_at(folder: Path) -> int:
    """When the newest pair was made, in unix seconds; 0 where there is none that says so."""
    try:
        pair = pairs.newest(folder)
        return pair.about().made_at if pair else 0
    except (BackupFailed, OSError):
        return 0


def machine_s(clock: Clock) -> float:
    """The machine's time, which pairs have theirs from, whether it is followed or not."""
    return clock.now_us() / 1e6 + clock.off_s


def is_due(made_at: int, now_s: float, every_s: float) -> bool:
    """Whether the last one is too old, or of a time that has not come: then the clock was set back.

    >>> is_due(0, 100_000, 3_600), is_due(99_000, 100_000, 3_600), is_due(100_001, 100_000, 3_600)
    (True, False, True)
    """
    return not 0 <= now_s - made_at < every_s


def aged_out_at(every_s: float, now_us: int) -> int | None:
    """When no pair will be left that is there now or is being made, in unix seconds; None where the server makes none.

    Each of these may be late by the time between two looks. What somebody made by hand, here or elsewhere, is not known.
    """
    if not every_s:
        return None
    return now_us // 1_000_000 + int(limits.BACKUP_PAIRS * (every_s + min(limits.BACKUP_LOOK_S, every_s)))


class Schedule:
    """One loop. `every_s` 0 is never."""

    def __init__(self, data_dir: Path, folder: Path, every_s: float, clock: Clock) -> None:
        self._data_dir = data_dir
        self._folder = folder
        self._every_s = every_s
        self._clock = clock
        self._loop: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts to look."""
        if self._every_s:
            self._loop = asyncio.create_task(self._look(), name="backups")

    async def close(self) -> None:
        """Stops looking; a backup that is under way comes to its own end."""
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(min(limits.BACKUP_LOOK_S, self._every_s))
            try:
                if is_due(last_made_at(self._folder), machine_s(self._clock), self._every_s):
                    await self._make()
            except Unavailable as error:
                logger.error("no backup was made: %s", error.detail)
            except Exception:
                logger.exception("no backup was made")

    async def _make(self) -> None:
        argv = [sys.executable, "-P", "-m", "ahplat.cli.entry", "backup"]
        argv += ["--data-dir", str(self._data_dir), "--to", str(self._folder)]
        done = await processes.run(argv, limits.BACKUP_TIMEOUT_S)
        if done.code:
            logger.error("no backup was made: %s", done.stderr.strip().removeprefix("ah: "))
        else:
            logger.info("%s", done.stdout.strip())
