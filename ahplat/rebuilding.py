"""The views at a start: gone on with, brought in step, or made anew, on all cores where that is long.

On all cores processes fold the log side by side, each for a share of the tenants, and then it is one file. That is only
ever faster: where it does not come to its end nothing of it is left, and one thread folds all of it.

The invariant: once this has ended, however it did, nothing works on the files any more. So it ends before the folder is
another server's.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from ahplat import limits
from ahplat.replaying import Fold, FoldFailed, fold_side_by_side
from events.database import open_reader
from events.log import head
from projections.shares import SharesDiffer, put_together
from projections.views import Progress, Views, open_views, remove_unfinished, why_rebuild

logger = logging.getLogger("ahplat.rebuilding")

T = TypeVar("T")


class _CalledOff(Exception):
    """Nobody waits for the views any more."""


async def views_in_step(path: Path, log_path: Path, installation: str, progress: Progress) -> Views:
    """The views at `path`, in step with the log."""
    log = open_reader(log_path)
    stopping = threading.Event()

    def progressed(done: int, total: int) -> None:
        if stopping.is_set():
            raise _CalledOff
        progress(done, total)

    try:
        remove_unfinished(path)
        if why := why_rebuild(path, log, installation):
            logger.info("building the views: %s", why)
            await rebuild_side_by_side(path, log_path, head(log), installation, progress)
        return await _to_its_end(partial(open_views, path, log, installation, progressed), stopping.set)
    finally:
        log.close()


async def rebuild_side_by_side(path: Path, log_path: Path, last: int, installation: str, progress: Progress) -> None:
    """Makes the views at `path` from the log up to its `last` position, where it is long and there are cores for it."""
    shares = min(len(os.sched_getaffinity(0)), limits.REBUILD_SHARES)
    if last < limits.REBUILD_ALONE_EVENTS or shares == 1:
        return
    logger.info("%d events are folded on %d cores", last, shares)
    made = [path.with_name(f"{path.name}.new-{share}") for share in range(shares)]
    folds = [Fold(log_path, file, "views", last, installation, share, shares) for share, file in enumerate(made)]
    try:
        await fold_side_by_side(folds, lambda done: progress(done // shares, last))
        await _to_its_end(partial(put_together, path, made))
    except (FoldFailed, SharesDiffer, OSError, apsw.Error) as error:
        logger.warning("the views are made on one core: %s", error)
    finally:
        remove_unfinished(path)


async def _to_its_end(work: Callable[[], T], hurry: Callable[[], None] = lambda: None) -> T:
    """What a thread makes of it. Who is cancelled waits for the thread all the same, which is told to hurry."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        hurry()
        await asyncio.gather(working, return_exceptions=True)
        raise
