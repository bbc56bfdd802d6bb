"""What a program gets from the embedded engine, how it ends, and what is kept of what it wrote."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ahplat import limits, processes
from ahplat.engines import folder_image
from ahplat.engines.embedded import EmbeddedEngine
from ahplat.engines.engine import Image
from tests.engines.contract import EngineFixtures, SpecFor, ask_over_http, close, ended, eventually
from tests.engines.on_processes import Processes, child, code, lives, path, says, shim

pytestmark = pytest.mark.embedded


class TestPrograms(Processes, EngineFixtures):
    # ── what a program gets ──

    async def test_nothing_of_the_servers_environment_reaches_a_program(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AH_BOOTSTRAP_TOKEN", "secret")
        image = make(main_py="import os; print('\\n'.join(sorted(os.environ)))")
        instance = await ended(engine, await engine.find_or_start(spec_for(env={"GREETING": "hi"}), image))
        given = "AH_DEPLOYMENT AH_INSTANCE_ID AH_SERVICE GREETING HOME LANG PATH PORT "
        given += "PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED"
        assert (await engine.tail(instance.id, 50)).split() == given.split()

    async def test_variables_do_not_reach_the_disk(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor, tmp_path: Path
    ) -> None:
        await engine.find_or_start(spec_for(env={"DATABASE_URL": "postgres://very-secret"}), image)
        files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
        assert files
        assert not any(b"very-secret" in path.read_bytes() for path in files)

    async def test_its_port_is_ours_to_choose(self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor) -> None:
        instance = await engine.find_or_start(spec_for(env={"PORT": "80"}), image)
        assert instance.port in limits.EMBEDDED_PORTS
        assert (await ask_over_http(instance)).startswith("HTTP/1.0 200 OK")

    async def test_odd_values_reach_a_program_unchanged(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor
    ) -> None:
        odd = {"A": "ä\n'\"$HOME", "B": "x" * 100_000, "LD_LIBRARY_PATH": "/nowhere", "PYTHONHOME": ""}
        image = make(main_py="import os; print(ascii(os.environ['A']), len(os.environ['B']))")
        instance = await ended(engine, await engine.find_or_start(spec_for(env=odd), image))
        assert await engine.tail(instance.id, 9) == f"{odd['A']!a} 100000\n"

    async def test_what_cannot_be_executed_is_exited_with_127_and_the_reason(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder_image, "command", lambda folder, port: ["/no/such/program"])
        instance = await engine.find_or_start(spec_for(), image)
        assert (instance.state, instance.exit_code) == ("exited", 127)
        assert "/no/such/program could not be started: [Errno 2]" in await engine.tail(instance.id, 5)

    # ── how a program ends ──

    async def test_an_end_is_told_at_once(self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor) -> None:
        hints = aiter(engine.watch())
        hint = asyncio.ensure_future(anext(hints))
        instance = await engine.find_or_start(spec_for(), image)
        os.kill(child(engine, instance), signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await hint == spec_for().identity.service
        await close(hints)
        assert await code(engine, instance) == 137

    async def test_a_program_may_finish_what_it_does(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor
    ) -> None:
        drain = "trap 'sleep 0.1; echo drained; exit 0' TERM; echo ready; while true; do sleep 0.01; done"
        instance = await engine.find_or_start(spec_for(), make(Procfile=f"web: {drain}"))
        await says(engine, instance, "ready")
        await engine.stop(instance.id, 10)
        await says(engine, instance, "drained")
        assert await code(engine, instance) == 0

    async def test_its_children_have_the_grace_too_when_it_goes_first(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor
    ) -> None:
        worker = "import signal, time; signal.signal(15, lambda *_: (time.sleep(0.1), print('drained'), exit(0)));"
        worker += "print('ready'); signal.pause()"
        image = make(Procfile="web: python3 worker.py; true", worker_py=worker)
        instance = await engine.find_or_start(spec_for(), image)
        await says(engine, instance, "ready")
        await engine.stop(instance.id, 10)
        await says(engine, instance, "drained")
        assert await code(engine, instance) == 143

    async def test_a_program_that_changes_its_group_is_ended_too(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor
    ) -> None:
        image = make(
            main_py="import os, signal; os.setpgid(0, os.getpgid(os.getppid())); print('ready'); signal.pause()"
        )
        instance = await engine.find_or_start(spec_for(), image)
        await says(engine, instance, "ready")
        await engine.stop(instance.id, 10)
        assert await code(engine, instance) == 143

    async def test_a_daemon_that_it_left_behind_ends_with_it(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor
    ) -> None:
        image = make(Procfile="web: setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.05; exit 4")
        instance = await ended(engine, await engine.find_or_start(spec_for(), image))
        assert instance.exit_code == 4
        assert not lives(int(await engine.tail(instance.id, 1)))

    async def test_a_shorter_grace_overtakes_a_longer(
        self, engine: EmbeddedEngine, hanging_image: Image, spec_for: SpecFor
    ) -> None:
        instance = await engine.find_or_start(spec_for(), hanging_image)
        await says(engine, instance, "deaf")
        patient = asyncio.ensure_future(engine.stop(instance.id, 300))
        await asyncio.sleep(0)
        await engine.remove(instance.id)
        await patient
        assert await engine.list() == []

    async def test_killing_the_shim_kills_all_of_it(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor
    ) -> None:
        image = make(Procfile="web: setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000")
        instance = await engine.find_or_start(spec_for(), image)
        await says(engine, instance, "\n")
        daemon = int(await engine.tail(instance.id, 1))
        program = child(engine, instance)
        hints = aiter(engine.watch())
        hint = asyncio.ensure_future(anext(hints))
        os.kill(shim(engine, instance).pid, signal.SIGKILL)
        assert await hint == spec_for().identity.service
        await close(hints)
        assert await code(engine, instance) == 137

        async def all_gone() -> bool:
            return not lives(daemon) and not lives(program)

        await eventually(all_gone)
        again = await engine.find_or_start(spec_for(), image)
        assert (again.id, again.state) == (instance.id, "running")

    async def test_a_shim_that_does_not_answer_is_killed(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "EMBEDDED_KILL_S", 0.05)
        instance = await engine.find_or_start(spec_for(), image)
        program = child(engine, instance)
        os.kill(shim(engine, instance).pid, signal.SIGSTOP)
        await engine.remove(instance.id)
        assert await engine.list() == []

        async def gone() -> bool:
            return not lives(program)

        await eventually(gone)

    async def test_no_zombie_is_left(self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor) -> None:
        instance = await engine.find_or_start(spec_for(), image)
        leader = shim(engine, instance)
        await engine.stop(instance.id, 10)

        async def reaped() -> bool:
            return processes.started_at(leader.pid) != leader.started_at

        await eventually(reaped)

    # ── logs ──

    async def test_a_log_is_turned_over_and_bounded(
        self,
        engine: EmbeddedEngine,
        make: Callable[..., Image],
        spec_for: SpecFor,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(limits, "EMBEDDED_LOG_BYTES", 400_000)
        image = make(main_py="for n in range(40_000): print(f'line {n:10}', flush=False)")
        instance = await ended(engine, await engine.find_or_start(spec_for(env={"PYTHONUNBUFFERED": ""}), image))
        sizes = {log.name: log.stat().st_size for log in path(engine, instance).glob("log*")}
        assert sizes.keys() == {"log", "log.1", "log.2"}
        assert max(sizes.values()) <= 400_000
        assert (await engine.tail(instance.id, 2)).split() == ["line", "39998", "line", "39999"]

    async def test_a_tail_is_bounded_over_turned_logs(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor
    ) -> None:
        instance = await engine.find_or_start(spec_for(), image)
        (path(engine, instance) / "log.1").write_bytes(b"\xff" * limits.TAIL_BYTES + b"\nolder\n")
        tail = await engine.tail(instance.id, 1000)
        assert len(tail.encode()) <= limits.TAIL_BYTES
        assert "older" in tail

    async def test_output_on_a_full_disk_neither_stalls_nor_ends_a_program(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor, tmp_path: Path
    ) -> None:
        image = make(main_py="import sys\nfor n in range(100_000): print('x' * 80)\nsys.exit(5)")
        first = await ended(engine, await engine.find_or_start(spec_for(), make(Procfile="web: true")))
        log = path(engine, first) / "log"
        log.unlink()
        log.symlink_to("/dev/full")
        again = await ended(engine, await engine.find_or_start(spec_for(), image))
        assert again.exit_code == 5

    # ── hello ──

    async def test_hello_is_up_quickly_and_drains(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor
    ) -> None:
        begun = time.monotonic()
        instance = await engine.find_or_start(spec_for(), image)
        answer = await ask_over_http(instance)
        assert time.monotonic() - begun < 2  # 0.1 s on an idle machine
        assert "Hello from ahplat! This is service service-" in answer
        reader, writer = await asyncio.open_connection(instance.host, instance.port)
        writer.write(b"GET /healthz HTTP/1.0\r\n")
        await writer.drain()
        stopping = asyncio.ensure_future(engine.stop(instance.id, 10))
        await asyncio.sleep(0)
        writer.write(b"\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\nok\n")
        writer.close()
        await stopping
        assert await code(engine, instance) == 0
