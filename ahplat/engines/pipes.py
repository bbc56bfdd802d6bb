"""What flows into a command and out of it at the same time, neither faster than the other side takes it.

The invariant: what is held is PIPE_AHEAD_BYTES of what comes and a piece of what goes; when `pumped` has ended, for
whatever reason, nothing flows any more.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress

from ahplat import limits
from ahplat.errors import Rejected

_Task = asyncio.Future[bytes] | asyncio.Future[None]


class Last:
    """The end of what a command says on stderr."""

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, data: bytes) -> None:
        """More of it."""
        self._held += data
        del self._held[: -limits.PIPE_TAIL_BYTES]

    @property
    def content(self) -> bytes:
        """What is kept."""
        return bytes(self._held)


def check_ended_well(exit_code: int | None, stderr: bytes) -> None:
    """Raises Rejected `command_failed` for any exit code but 0, `not_running` where nobody can tell it."""
    if exit_code is None:
        raise Rejected("not_running", "the instance ended, and the command with it")
    if exit_code != 0:
        said = stderr.decode(errors="replace").strip()
        raise Rejected("command_failed", f"it ended with exit code {exit_code}: {said}")


async def pumped(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter | None,
    stdin: AsyncIterator[bytes] | None,
    is_over: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[bytes, None]:
    """What comes, in pieces, while `stdin` goes; raises what that raises, and then says no end of it.

    Where nothing comes for EXEC_LOOK_S, `is_over` is asked whether anything can still come.
    """
    feeding = asyncio.ensure_future(_feed(stdin, writer)) if stdin and writer else None
    reading: asyncio.Future[bytes] | None = None
    try:
        while True:
            reading = reading or asyncio.ensure_future(reader.read(limits.PIPE_BYTES))
            waiting: set[_Task] = {reading, feeding} if feeding and not feeding.done() else {reading}
            await asyncio.wait(waiting, timeout=limits.EXEC_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if feeding and feeding.done():
                feeding.result()
            if reading.done():
                piece, reading = reading.result(), None
                if not piece:
                    break
                yield piece
            elif not any(one.done() for one in waiting) and await is_over():
                break
    finally:
        left = [one for one in (reading, feeding) if one]
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _feed(stdin: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    """Writes all of it, then its end. That the command ended before is told by its exit code."""
    with suppress(ConnectionError):
        async for piece in stdin:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
