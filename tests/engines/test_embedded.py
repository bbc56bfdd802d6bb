"""The embedded engine with real processes: the contract, and whose processes they are when servers come and go."""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ahplat import processes
from ahplat.engines.embedded import EmbeddedEngine
from ahplat.engines.engine import Engine, Image
from ahplat.engines.run_folder import Started
from ahplat.errors import Rejected
from tests.engines.belongings_contract import BelongingsContract
from tests.engines.contract import EngineContract, SpecFor, ask_over_http, close
from tests.engines.counters_contract import CountersContract
from tests.engines.on_processes import DEAF, Processes, code, path, text

pytestmark = pytest.mark.embedded

# Starts an instance through the engine on uvloop, as the server does, and never lets go.
SERVER = """
import asyncio, sys, uvloop, msgspec
from pathlib import Path
from ahplat.engines.embedded import EmbeddedEngine
from ahplat.engines.engine import Image, Spec

async def main():
    engine = EmbeddedEngine("contract", Path(sys.argv[1]))
    spec, image = msgspec.json.decode(sys.argv[2], type=Spec), msgspec.json.decode(sys.argv[3], type=Image)
    print((await engine.find_or_start(spec, image)).id, flush=True)
    await asyncio.Event().wait()

uvloop.run(main())
"""


class TestEmbeddedEngine(Processes, EngineContract, CountersContract, BelongingsContract):
    # ── the server comes and goes ──

    async def test_a_killed_server_leaves_its_instances_to_the_next(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor, tmp_path: Path
    ) -> None:
        spec = spec_for()
        argv = [sys.executable, "-c", SERVER, str(tmp_path), text(spec), text(image)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": "."}) as server:
            assert server.stdout is not None
            started = (await asyncio.to_thread(server.stdout.readline)).strip()
            server.kill()
        adopted = await engine.find_or_start(spec, image)
        assert (adopted.id, adopted.state) == (started, "running")
        assert spec.identity.service in await ask_over_http(adopted)
        hints = aiter(engine.watch())
        hint = asyncio.ensure_future(anext(hints))
        await engine.stop(adopted.id, 10)
        assert await hint == spec.identity.service
        await close(hints)
        assert await code(engine, adopted) == 0

    async def test_what_was_half_made_or_half_removed_goes(self, tmp_path: Path) -> None:
        (tmp_path / "run" / ".gone-x").mkdir(parents=True)
        (tmp_path / "run" / ".new-x").mkdir()
        engine = EmbeddedEngine("contract", tmp_path)
        assert list((tmp_path / "run").iterdir()) == []
        await engine.close()

    async def test_what_runs_is_adopted_without_its_image(
        self, engine: EmbeddedEngine, make: Callable[..., Image], spec_for: SpecFor, tmp_path: Path
    ) -> None:
        image = make(main_py=DEAF)
        started = await engine.find_or_start(spec_for(), image)
        shutil.rmtree(tmp_path / "images")
        assert await engine.find_or_start(spec_for(), image) == started

    async def test_what_runs_is_not_replaced_by_what_is_not_there(
        self, engine: EmbeddedEngine, make: Callable[..., Image], image: Image, spec_for: SpecFor, tmp_path: Path
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        other = make(main_py=DEAF)
        shutil.rmtree(tmp_path / "images")
        with pytest.raises(Rejected) as refused:
            await engine.find_or_start(spec_for(position=8), other)
        assert refused.value.code == "image_not_found"
        assert await engine.list() == [started]

    async def test_two_servers_at_once_start_one_instance(
        self, engine: EmbeddedEngine, comeback: Callable[[], Engine], image: Image, spec_for: SpecFor
    ) -> None:
        first = await engine.find_or_start(spec_for(), image)
        await engine.stop(first.id, 10)
        other = comeback()
        one, two = await asyncio.gather(engine.find_or_start(spec_for(), image), other.find_or_start(spec_for(), image))
        assert one == two
        await other.close()

    # ── whose it is ──

    async def test_a_stranger_with_that_pid_is_never_signalled(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor
    ) -> None:
        instance = await engine.find_or_start(spec_for(), image)
        await engine.stop(instance.id, 10)
        folder = path(engine, instance)
        with subprocess.Popen(["sleep", "1000"]) as innocent, (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "exit.json").unlink()
            forged = Started(innocent.pid, (processes.started_at(innocent.pid) or 0) - 1)
            (folder / "started.json").write_bytes(msgspec.json.encode(forged))
            seen = await engine.inspect(instance.id)
            assert seen is not None
            assert seen.state == "exited"
            await engine.stop(instance.id, 0)
            assert innocent.poll() is None
            innocent.kill()

    async def test_a_damaged_folder_is_left_out_and_left_alone(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor
    ) -> None:
        instance = await engine.find_or_start(spec_for(), image)
        record = path(engine, instance) / "instance.json"
        whole = record.read_bytes()
        record.write_bytes(whole[:50])
        assert await engine.list() == []
        assert await engine.inspect(instance.id) is None
        with pytest.raises(Rejected) as refused:
            await engine.find_or_start(spec_for(), image)
        assert refused.value.code == "name_taken"
        record.write_bytes(whole)
        assert await engine.list() == [instance]

    @pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 64, "A"])
    async def test_a_name_stays_inside_its_folder(
        self, engine: EmbeddedEngine, image: Image, spec_for: SpecFor, name: str
    ) -> None:
        with pytest.raises(Rejected) as refused:
            await engine.find_or_start(msgspec.structs.replace(spec_for(), name=name), image)
        assert refused.value.code == "name_invalid"
        assert await engine.inspect(f"{name}.0") is None
