"""One command in a container from its beginning to the end of the last process that it started.

The story over the blocking steps of `container_execs.py`. Its invariant: when `run` returns or raises, for whatever
reason, nothing of the command is left, as far as its mark shows; where the container cannot be searched, what was cut
short ends with the container.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from ahplat import limits
from ahplat.engines import container_execs, lifecycle
from ahplat.engines.container_execs import KILLED, Ended, Output
from ahplat.engines.dockerd import Dockerd
from ahplat.engines.engine import Execution
from ahplat.errors import Rejected


class ContainerExec:
    """See the module. One for each command."""

    def __init__(self, dockerd: Dockerd, installation: str, container_id: str, mark: str) -> None:
        self._dockerd = dockerd
        self._installation = installation
        self._container_id = container_id
        self._mark = mark
        self._id = ""
        self._output: Output | None = None

    async def run(self, argv: Sequence[str], timeout_s: float) -> Execution:
        """See `Engine.execute`. Where the image has no `sh`, the command is run without one."""
        try:
            async with asyncio.timeout(timeout_s):
                output, code = await self._once(container_execs.telling(argv, self._mark), timeout_s)
                if container_execs.was_refused(output, code):
                    output, code = await self._once(list(argv), timeout_s)
        except TimeoutError:
            await self._cut_short()
            if self._output is None:  # it did not even begin in time
                return Execution(KILLED, b"", b"", truncated=False, timed_out=True)
            return container_execs.execution(self._output, KILLED, timed_out=True)
        except BaseException:
            await asyncio.shield(self._cut_short())
            raise
        await self._sweep()
        if output.fault is not None:
            raise output.fault
        return container_execs.execution(output, code, timed_out=False)

    async def end(self) -> None:
        """Kills all that is marked, with its container where there is no other way."""
        if not await self._sweep():
            await self._dockerd.call(lambda client: lifecycle.kill(client, self._container_id))

    async def _once(self, argv: list[str], timeout_s: float) -> tuple[Output, int | None]:
        """What a command wrote, and its exit code: None where nobody can tell it any more."""
        self._id = await self._create(argv, self._mark)
        output = self._output = await self._begin(self._id, timeout_s)
        ended = await self._end_of(self._id, output)
        return output, ended.exit_code if ended else None

    async def _cut_short(self) -> None:
        """Ends it, also where it is only about to begin: then there is nothing to be found at first."""
        if not self._id:
            return
        for _ in range(limits.EXEC_KILL_ROUNDS):
            await self.end()
            ended = await self._look(self._id)
            if ended is None or not (ended.running or ended.exit_code is None):
                break
            await asyncio.sleep(limits.ENGINE_PAUSE_S)
        if self._output is not None:
            self._output.cut()

    async def _sweep(self) -> bool:
        """Whether nothing of the command is left."""
        try:
            sweep_id = await self._create(container_execs.sweeper(self._mark), "")
            async with asyncio.timeout(limits.EXEC_KILL_S):
                ended = await self._end_of(sweep_id, await self._begin(sweep_id, limits.EXEC_KILL_S))
        except Rejected:
            return True  # the container ended, and all in it
        except TimeoutError:
            return False
        return ended is None or ended.exit_code == 0 or not await self._runs()

    async def _create(self, argv: list[str], mark: str, stdin: bool = False) -> str:
        return await self._dockerd.call(
            lambda client: container_execs.create(client, self._container_id, self._installation, argv, mark, stdin)
        )

    async def _begin(self, exec_id: str, timeout_s: float) -> Output:
        stream = await self._dockerd.call(
            lambda client: container_execs.begin(client, exec_id, timeout_s + limits.ENGINE_TIMEOUT_S)
        )
        return Output(stream, asyncio.get_running_loop())

    async def _end_of(self, exec_id: str, output: Output) -> Ended | None:
        """How it ended, once Docker knows it; None where it ended with its container, of which no stream tells."""
        while not await _within(limits.EXEC_LOOK_S, output.ended):
            if not await self._runs():
                output.cut()
                return None
        while (found := await self._look(exec_id)) and found.running:
            if not await self._runs():
                return None
            await asyncio.sleep(limits.STOP_POLL_S)
        return found

    async def _look(self, exec_id: str) -> Ended | None:
        return await self._dockerd.call(lambda client: container_execs.look(client, exec_id))

    async def _runs(self) -> bool:
        return await self._dockerd.call(lambda client: container_execs.runs(client, self._container_id))


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether it comes to that within a time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
