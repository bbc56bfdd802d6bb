"""`metering.db` while a server runs: it follows the log in a thread of its own, now and then, and whenever somebody asks.

Nothing is decided by it, so the writer does not wait for it; who asks waits until it has come as far as the log was.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw
from apsw import Connection

from ahplat import limits
from ahplat.errors import Unavailable
from events.database import open_reader
from projections.metering import open_metering
from projections.views import DAMAGE, Views, catch_up, condemn, read_checkpoint, remove_unfinished

T = TypeVar("T")

logger = logging.getLogger("ahplat.metering")


class Metering:
    """See the module. The thread is the only one that touches the files. `position` is how far it has come."""

    def __init__(self, folder: Path, installation: str) -> None:
        self.position = 0
        self._folder = folder
        self._installation = installation
        self._thread = ThreadPoolExecutor(1, "metering")
        self._log: Connection | None = None
        self._views: Views | None = None
        self._loop: asyncio.Task[None] | None = None
        self._closing = threading.Event()

    def begin(self) -> None:
        """Starts to follow."""
        self._loop = asyncio.create_task(self._follow(), name="metering.db")

    async def close(self) -> None:
        """Stops, also where the file is being made of a long log, and closes the files."""
        self._closing.set()
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def read(self, function: Callable[[Connection], T]) -> T:
        """What `function` says of the file, once that is in step. Raises Unavailable `projection_lag`."""
        reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read, function)
        reading.add_done_callback(lambda read: read.cancelled() or read.exception())  # heard, if by nobody
        try:
            async with asyncio.timeout(limits.POSITION_WAIT_S):
                return await asyncio.shield(reading)
        except TimeoutError as error:
            raise Unavailable("projection_lag", "the metering is being made from the log", 5) from error

    async def _follow(self) -> None:
        while True:
            try:
                await self.read(lambda _: None)
            except Unavailable as error:
                logger.info("%s", error.detail)
            except Exception:
                logger.exception("metering.db could not follow the log")
            await asyncio.sleep(limits.METERING_FOLLOW_S)

    # the thread's side

    def _read(self, function: Callable[[Connection], T]) -> T:
        try:
            return function(self._in_step().db)
        except (apsw.FullError, apsw.BusyError) as error:
            self._close()  # with what was under way
            raise Unavailable("projection_lag", f"the metering cannot follow the log now: {error}", 30) from error
        except DAMAGE:
            logger.warning("metering.db is damaged, and is made anew from the log")
            self._close()
            condemn(self._folder / "metering.db")
            return function(self._in_step().db)

    def _in_step(self) -> Views:
        if self._log is None:
            self._log = open_reader(self._folder / "events.db")
        if self._views is None:
            path = self._folder / "metering.db"
            self._views = open_metering(path, self._log, self._installation, self._progressed)
        else:
            catch_up(self._views, self._log, self._progressed)
        checkpoint = read_checkpoint(self._views.db)
        self.position = checkpoint.position if checkpoint else 0
        return self._views

    def _progressed(self, _done: int, _of: int) -> None:
        if self._closing.is_set():
            raise Unavailable("stopping", "the server is stopping", 2)

    def _close(self) -> None:
        for file in (self._views, self._log):
            if file is not None:
                file.close()
        self._views = self._log = None
        remove_unfinished(self._folder / "metering.db")
