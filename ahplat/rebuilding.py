"""Views made anew on all cores: processes fold the log side by side, each for a share of the tenants; then it is one file.

It is only ever faster: where it does not come to its end nothing is there, and whoever wanted the views folds them alone.
"""

import asyncio
import logging
import os
from functools import partial
from pathlib import Path

import apsw

from ahplat import limits
from ahplat.replaying import Fold, FoldFailed, fold_apart
from events.log import head
from projections.views import Progress, put_together

logger = logging.getLogger("ahplat.rebuilding")


async def rebuild_side_by_side(
    path: Path, log_path: Path, log: apsw.Connection, installation: str, progress: Progress
) -> None:
    """Makes the views at `path` from the whole log, where that is long and there are cores for it."""
    last, shares = head(log), min(os.cpu_count() or 1, limits.REBUILD_SHARES)
    if last < limits.REBUILD_ALONE_EVENTS or shares == 1:
        return
    made = [path.with_name(f"{path.name}.new-{share}") for share in range(shares)]
    done = [0] * shares

    def told(share: int, folded: int) -> None:
        done[share] = folded
        progress(sum(done) // shares, last)

    try:
        async with asyncio.TaskGroup() as group:
            for share, file in enumerate(made):
                fold = Fold(log_path, file, "views", last, installation, share, shares)
                group.create_task(fold_apart(fold, partial(told, share)))
        await asyncio.to_thread(put_together, path, made)
    except* (FoldFailed, OSError, apsw.Error) as failed:
        logger.warning("the views are made on one core: %s", failed.exceptions[0])
    finally:
        for file in path.parent.glob(f"{path.name}.new-*"):
            file.unlink()
