"""Commands beside an embedded instance: what they get, and that nothing of them is left, whatever ends them."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ahplat import limits, processes
from ahplat.engines.embedded import EmbeddedEngine
from ahplat.engines.engine import Image, Instance
from tests.engines.contract import EngineFixtures, SpecFor, eventually
from tests.engines.on_processes import Processes, child, lives
from tests.engines.stubborn import STUBBORN

pytestmark = pytest.mark.embedded


def left(mark: str) -> list[int]:
    """Processes that bear a mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"{limits.EXEC_MARK}={mark}".encode() in environ.split(b"\0"):
            found.append(int(entry.name))
    return found


class TestExecs(Processes, EngineFixtures):
    @pytest.fixture
    async def instance(self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor) -> Instance:
        return await engine.find_or_start(spec_for(env={"GREETING": "hi"}), image)

    @pytest.fixture
    def mark(self) -> str:
        return secrets.token_hex(16)

    async def test_a_command_has_the_environment_and_the_folder_of_the_instance(
        self, engine: EmbeddedEngine, instance: Instance, mark: str
    ) -> None:
        script = "echo $GREETING $PORT; pwd; cat"
        done = await engine.execute(instance.id, ["sh", "-c", script], mark, 10)
        greeting, folder = done.stdout.decode().splitlines()
        assert greeting == f"hi {instance.port}"
        assert Path(folder) == Path(f"/proc/{child(engine, instance)}/cwd").resolve()

    async def test_when_its_time_is_over_nothing_of_it_is_left_however_stubborn(
        self, engine: EmbeddedEngine, instance: Instance, mark: str
    ) -> None:
        done = await engine.execute(instance.id, ["python3", "-c", STUBBORN], mark, 1)
        assert (done.exit_code, done.timed_out, done.stdout) == (137, True, b"up\n")
        assert left(mark) == []

    @pytest.mark.parametrize(("last", "timed_out"), [("exec env -i sleep 987", True), ("exit 3", False)])
    async def test_what_clears_its_environment_and_leaves_its_session_and_parent_ends_with_it(
        self, engine: EmbeddedEngine, instance: Instance, mark: str, last: str, timed_out: bool
    ) -> None:
        script = f"(env -i setsid setsid sleep 987 >/dev/null 2>&1 & env -i sleep 987 &); {last}"
        done = await engine.execute(instance.id, ["sh", "-c", script], mark, 0.5)
        assert (done.exit_code, done.timed_out) == (137 if timed_out else 3, timed_out)
        assert not [one for one in Path("/proc").glob("[0-9]*") if _argv(one) == b"sleep\x00987\x00"]

    async def test_a_command_that_began_at_the_same_time_goes_on(
        self, engine: EmbeddedEngine, instance: Instance, mark: str
    ) -> None:
        other = mark[:20] + secrets.token_hex(6)
        running = asyncio.create_task(engine.execute(instance.id, ["sleep", "1000"], other, 60))

        async def is_up() -> bool:
            return bool(left(other))

        await eventually(is_up)
        assert (await engine.execute(instance.id, ["true"], mark, 10)).exit_code == 0
        assert left(other)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    async def test_what_it_left_behind_ends_with_it(
        self, engine: EmbeddedEngine, instance: Instance, mark: str
    ) -> None:
        done = await engine.execute(instance.id, ["sh", "-c", "setsid sleep 1000 & echo out; exit 3"], mark, 10)
        assert (done.exit_code, done.stdout, done.timed_out) == (3, b"out\n", False)
        assert left(mark) == []

    async def test_a_call_that_is_cancelled_ends_it(
        self, engine: EmbeddedEngine, instance: Instance, mark: str
    ) -> None:
        running = asyncio.create_task(engine.execute(instance.id, ["python3", "-c", STUBBORN], mark, 60))

        async def is_up() -> bool:
            return len(left(mark)) >= 4

        await eventually(is_up)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert left(mark) == []

    async def test_a_call_that_is_cancelled_while_it_starts_ends_it_too(
        self, engine: EmbeddedEngine, instance: Instance, mark: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = processes.start_piped

        async def slow(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
            await start(argv, env, cwd)
            await asyncio.Event().wait()

        async def is_up() -> bool:
            return len(left(mark)) >= 4

        monkeypatch.setattr(processes, "start_piped", slow)
        running = asyncio.create_task(engine.execute(instance.id, ["python3", "-c", STUBBORN], mark, 60))
        await eventually(is_up)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert left(mark) == []

    async def test_a_fresh_engine_ends_what_a_killed_server_left(
        self, engine: EmbeddedEngine, comeback: Callable[[], EmbeddedEngine], instance: Instance, mark: str
    ) -> None:
        running = asyncio.create_task(engine.execute(instance.id, ["python3", "-c", STUBBORN], mark, 60))

        async def is_up() -> bool:
            return len(left(mark)) >= 4

        await eventually(is_up)
        await comeback().end_execution(instance.id, mark)
        assert left(mark) == []
        assert (await running).exit_code == 137

    async def test_a_command_does_not_outlive_its_instance(
        self, engine: EmbeddedEngine, instance: Instance, mark: str
    ) -> None:
        running = asyncio.create_task(engine.execute(instance.id, ["python3", "-c", STUBBORN], mark, 60))

        async def is_up() -> bool:
            return len(left(mark)) >= 4

        await eventually(is_up)
        program = child(engine, instance)
        await engine.stop(instance.id, 5)
        done = await running
        assert (done.exit_code, done.timed_out) == (137, False)
        assert left(mark) == []
        assert not lives(program)

    async def test_more_output_than_is_kept_is_dropped_and_said_so(
        self, engine: EmbeddedEngine, instance: Instance, mark: str
    ) -> None:
        script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2"
        done = await engine.execute(instance.id, ["sh", "-c", script], mark, 10)
        sizes = (len(done.stdout), len(done.stderr), done.truncated, done.exit_code)
        assert sizes == (limits.EXEC_OUTPUT_BYTES, limits.EXEC_OUTPUT_BYTES, True, 0)

    async def test_what_is_no_program_is_126(self, engine: EmbeddedEngine, instance: Instance, mark: str) -> None:
        assert (await engine.execute(instance.id, ["/etc/passwd"], mark, 10)).exit_code == 126
        assert (await engine.execute(instance.id, ["/no/such/thing"], mark, 10)).exit_code == 127


def _argv(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
