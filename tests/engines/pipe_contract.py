"""What every engine must do for commands whose stdin and stdout are streams: all that have `Engine.pipe` pass this.

A test module derives a class from `PipeContract` and gives the fixtures of `EngineContract` that are used here; one whose
commands are processes derives it from `StreamingPipeContract`, for what only those can show.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from ahplat import limits
from ahplat.engines.engine import Engine, Image, Instance
from ahplat.errors import Rejected, Unreadable
from tests.engines.contract import PATIENCE_S, EngineFixtures, SpecFor

ECHOING = ("cat",)
FAILING = ("sh", "-c", "echo half; echo why >&2; exit 3")
SLEEPING = ("sleep", "1000")
TOUCHING = ("sh", "-c", "cat > /dev/null && echo whole")


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def broken_after(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    raise Unreadable("as the test wants it")


async def piped(
    engine: Engine, instance: Instance, argv: tuple[str, ...], stdin: AsyncIterator[bytes] | None = None
) -> bytes:
    """All that it writes."""
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(engine.pipe(instance.id, argv, secrets.token_hex(16), stdin)) as said,
    ):
        return b"".join([piece async for piece in said])


class PipeContract(EngineFixtures):
    """See the module."""

    @pytest.fixture
    async def instance(self, engine: Engine, image: Image, spec_for: SpecFor) -> Instance:
        return await engine.find_or_start(spec_for(), image)

    async def test_what_goes_in_comes_out_whole(self, engine: Engine, instance: Instance) -> None:
        given = [secrets.token_bytes(200_000), b"", b"\0\n", secrets.token_bytes(1_300_000)]
        assert await piped(engine, instance, ECHOING, pieces_of(*given)) == b"".join(given)

    async def test_nothing_goes_in_and_it_sees_the_end_of_that(self, engine: Engine, instance: Instance) -> None:
        assert await piped(engine, instance, ECHOING, pieces_of()) == b""
        assert await piped(engine, instance, ECHOING) == b""

    async def test_one_that_fails_says_so_after_what_it_wrote_and_why(self, engine: Engine, instance: Instance) -> None:
        written = bytearray()
        with pytest.raises(Rejected, match="exit code 3: why") as refused:
            async for piece in engine.pipe(instance.id, FAILING, secrets.token_hex(16)):
                written += piece
        assert (written, refused.value.code) == (b"half\n", "command_failed")

    async def test_a_program_that_is_not_there_has_failed(self, engine: Engine, instance: Instance) -> None:
        with pytest.raises(Rejected) as refused:
            await piped(engine, instance, ("no-such-program",))
        assert refused.value.code == "command_failed"

    async def test_what_its_stdin_raises_ends_it_and_is_never_taken_for_the_end(
        self, engine: Engine, instance: Instance
    ) -> None:
        with pytest.raises(Unreadable):
            await piped(engine, instance, TOUCHING, broken_after(b"half"))

    async def test_where_nothing_runs_nothing_is_piped(self, engine: Engine, instance: Instance) -> None:
        await engine.stop(instance.id, 0)
        for instance_id in (instance.id, "0123456789ab" * 5):
            with pytest.raises(Rejected) as refused:
                async for _ in engine.pipe(instance_id, ECHOING, secrets.token_hex(16)):
                    pass
            assert refused.value.code == "not_running"

    async def test_it_ends_with_its_instance(self, engine: Engine, instance: Instance) -> None:
        running = asyncio.ensure_future(piped(engine, instance, SLEEPING))
        await asyncio.sleep(0)
        await engine.stop(instance.id, 0)
        with pytest.raises(Rejected) as refused:
            await running
        assert refused.value.code in ("not_running", "command_failed")


class StreamingPipeContract(PipeContract):
    """What only real processes can show."""

    async def marked(self, engine: Engine, instance: Instance, mark: str) -> int:
        """How many processes there are that bear a mark."""
        script = f"grep -lsF '{limits.EXEC_MARK}={mark}' /proc/[0-9]*/environ | wc -l"
        return int((await engine.execute(instance.id, ["sh", "-c", script], secrets.token_hex(16), PATIENCE_S)).stdout)

    async def test_it_writes_no_faster_than_it_is_read_and_reads_no_faster_than_it_is_given(
        self, engine: Engine, instance: Instance
    ) -> None:
        taken = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 64 * 1024
                yield bytes(64 * 1024)

        async with aclosing(engine.pipe(instance.id, ECHOING, secrets.token_hex(16), endless())) as said:
            assert await anext(said)
            before = -1
            while before != taken:  # until it stands still
                before = taken
                await asyncio.sleep(0.3)
            assert taken < 16 * 1024 * 1024

    async def test_closed_before_its_end_nothing_of_it_is_left(self, engine: Engine, instance: Instance) -> None:
        mark = secrets.token_hex(16)
        said = engine.pipe(instance.id, ("sh", "-c", "sleep 1000 & echo up; sleep 1000"), mark)
        assert await anext(said) == b"up\n"
        assert await self.marked(engine, instance, mark) > 0
        await said.aclose()
        assert await self.marked(engine, instance, mark) == 0

    async def test_cancelled_nothing_of_it_is_left(self, engine: Engine, instance: Instance) -> None:
        mark = secrets.token_hex(16)
        running = asyncio.ensure_future(anext(engine.pipe(instance.id, SLEEPING, mark)))
        while not await self.marked(engine, instance, mark):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running}, timeout=PATIENCE_S)
        assert running.cancelled()
        assert await self.marked(engine, instance, mark) == 0

    async def test_what_a_dead_server_left_is_ended_by_its_mark(self, engine: Engine, instance: Instance) -> None:
        mark = secrets.token_hex(16)
        said = engine.pipe(instance.id, ("sh", "-c", "echo up; sleep 1000"), mark)
        assert await anext(said) == b"up\n"
        await engine.end_execution(instance.id, mark)
        assert await self.marked(engine, instance, mark) == 0
        with pytest.raises(Rejected, match="137"):
            await anext(said)

    async def test_one_that_takes_no_stdin_ends_as_it_does(self, engine: Engine, instance: Instance) -> None:
        said = await piped(engine, instance, ("echo", "done"), pieces_of(*(bytes(64 * 1024) for _ in range(100))))
        assert said == b"done\n"
