"""Room on the log's disk that is kept for what frees room.

A stop or a delete is an event, too, and the log has to grow for it. So a file lies beside the log that nobody reads. Where
not a byte is left the writer gives it up, and from then on decides only what frees room (`Decision.frees`), until there is
room for the file again.
"""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from ahplat import limits

logger = logging.getLogger("ahplat.disks")


class Reserve:
    """See the module. It is the writer's alone."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "reserve"
        self._is_held = self._path.exists()

    def begin(self) -> None:
        """Takes it; on a disk without room gives it up instead, for a start has to write a little."""
        size, free = self._measure()
        if free < size // 2:
            self.give_up()
        else:
            self._take()

    def may_grow(self) -> bool:
        """Whether there is room for more than what frees some; where there was none, it is looked for again."""
        return self._is_held or self._take()

    def give_up(self) -> bool:
        """Gives its room away; whether there was any."""
        had, self._is_held = self._is_held, False
        if had:
            self._path.unlink(missing_ok=True)
            logger.warning("the disk is full: its reserve is given up, for what stops and deletes")
        return had

    def _take(self) -> bool:
        """Takes it where there is room for several; whether it is held now."""
        size, free = self._measure()
        if self._is_held or free < limits.RESERVE_TIMES * size:
            return self._is_held
        try:
            with self._path.open("wb") as file:
                self._path.chmod(0o600)
                os.posix_fallocate(file.fileno(), 0, size)
            self._is_held = True
        except OSError:  # it was filled meanwhile, or cannot be written to: whoever writes the log will say so
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        return self._is_held

    def _measure(self) -> tuple[int, int]:
        """How large it is to be, and what may still be written, in bytes."""
        usage = shutil.disk_usage(self._path.parent)
        return min(limits.RESERVE_BYTES, usage.total // limits.RESERVE_SHARE), usage.free
