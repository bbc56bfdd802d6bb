"""A command in a container whose stdin and stdout are streams: as `container_exec.py`, over a connection of its own.

Docker turns the connection of the request into one that carries stdin one way and frames of stdout and stderr the other;
the end of what we write is the end of stdin.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from ahplat import limits
from ahplat.engines import container_execs, pipes
from ahplat.engines.container_exec import ContainerExec
from ahplat.engines.dockerd import Dockerd
from ahplat.engines.frames import STDOUT, Frames
from ahplat.errors import EngineAway


class ContainerPipe(ContainerExec):
    """See the module. One for each command."""

    def __init__(self, dockerd: Dockerd, installation: str, container_id: str, mark: str) -> None:
        super().__init__(dockerd, installation, container_id, mark)
        self._pid = b""  # what is said first on stderr, to the end of its line
        self._stderr = pipes.Last()
        self._reader: asyncio.StreamReader | None = None

    async def stream(self, argv: Sequence[str], stdin: AsyncIterator[bytes] | None) -> AsyncGenerator[bytes, None]:
        """See `Engine.pipe`. The image has to have `sh`."""
        writer: asyncio.StreamWriter | None = None
        try:
            self._id = await self._create(container_execs.telling(argv, self._mark), self._mark, stdin is not None)
            connection, first = await self._dockerd.call(lambda client: container_execs.attach(client, self._id))
            self._reader, writer = await asyncio.open_connection(sock=connection, limit=limits.PIPE_AHEAD_BYTES)
            async with aclosing(pipes.pumped(self._reader, writer, stdin, self._is_over)) as pieces:
                async for data in self._stdout(first, pieces):
                    yield data
            code = await self._exit_code()
        except ConnectionError as error:
            await self._cut_short()
            raise EngineAway(f"a command was cut off: {error}") from error
        except BaseException:
            await asyncio.shield(self._cut_short())
            raise
        finally:
            if writer is not None:
                writer.close()
        await self._sweep()
        pipes.check_ended_well(code, self._stderr.content)

    async def _cut_short(self) -> None:
        """Takes in what still comes meanwhile: Docker lets no command end whose output it cannot get rid of."""
        dropping = asyncio.ensure_future(self._drop())
        try:
            await super()._cut_short()
        finally:
            dropping.cancel()
            await asyncio.gather(dropping, return_exceptions=True)

    async def _drop(self) -> None:
        while self._reader is not None and await self._reader.read(limits.PIPE_BYTES):
            pass

    async def _stdout(self, first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """What the command writes; what it says on stderr is noted."""
        frames = Frames()
        for data in [first] if first else []:
            for piece in self._sorted(frames, data):
                yield piece
        async for data in pieces:
            for piece in self._sorted(frames, data):
                yield piece

    def _sorted(self, frames: Frames, data: bytes) -> list[bytes]:
        found = []
        for kind, piece in frames.add(data):
            if kind == STDOUT:
                found.append(piece)
            else:
                self._hear(piece)
        return found

    def _hear(self, piece: bytes) -> None:
        if not self._pid.endswith(b"\n"):
            line, end, piece = piece.partition(b"\n")
            self._pid += line + end
        self._stderr.add(piece)

    async def _is_over(self) -> bool:
        found = await self._look(self._id)
        return found is None or not found.running or not await self._runs()

    async def _exit_code(self) -> int | None:
        """None where it ended with its container."""
        while (found := await self._look(self._id)) and found.running:
            if not await self._runs():
                return None
            await asyncio.sleep(limits.STOP_POLL_S)
        return found.exit_code if found else None
