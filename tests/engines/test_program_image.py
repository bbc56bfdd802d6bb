"""Databases of the embedded engine, by the programs that this machine has; what it lacks is named."""

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import msgspec
import pytest

from ahplat.effects.database_health import resp
from ahplat.engines import embedded, program_image
from ahplat.engines.embedded import EmbeddedEngine
from ahplat.engines.engine import Mount, Volume
from ahplat.errors import Rejected
from tests.engines.contract import EngineFixtures, SpecFor, never
from tests.engines.on_processes import Processes

PATIENCE_S = 60.0


@pytest.mark.parametrize(("reference", "lacks"), [("redis:7-alpine", "redis-server"), ("postgres:16-alpine", "initdb")])
def test_programs_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, lacks: str
) -> None:
    monkeypatch.setattr(program_image, "DEBIAN", tmp_path)
    with pytest.raises(Rejected) as refused:
        program_image.fetch(reference, str(tmp_path))
    assert refused.value.code == "database_unsupported"
    assert lacks in refused.value.detail


def test_postgres_is_not_started_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Rejected, match="root"):
        program_image.fetch("postgres:16-alpine", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    image = program_image.fetch("postgres:16-alpine", str(tmp_path))
    assert image.pinned == f"postgres@{image.digest}"
    assert program_image.fetch(image.pinned, str(tmp_path)).digest == image.digest


def test_postgres_is_found_where_debian_keeps_it_the_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_image, "DEBIAN", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for version in ("15", "16"):
        (tmp_path / version / "bin").mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (tmp_path / version / "bin" / name).write_text(version)
            (tmp_path / version / "bin" / name).chmod(0o755)
    newest = hashlib.sha256(b"16").hexdigest()
    assert program_image.fetch("postgres:16-alpine", "/nowhere").digest == f"sha256:{newest}"
    assert program_image.searched("/bin") == f"/bin:{tmp_path}/16/bin:{tmp_path}/15/bin"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder of the user that Postgres runs as here."""
    path = Path(tempfile.mkdtemp(prefix="ah-pg-"))
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    yield path
    shutil.rmtree(path)


def start(data: Path, port: int) -> subprocess.Popen[bytes]:
    """The script as the engine runs it, by a user that is not root."""
    env = {"PATH": embedded.PATH, "PORT": str(port), "LANG": "C.UTF-8", "PGDATA": "/nowhere"}
    env |= {"POSTGRES_USER": "u_db", "POSTGRES_PASSWORD": "s3-cr_et", "POSTGRES_DB": "u_db"}
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"] if os.geteuid() == 0 else []
    argv = [*drop, *program_image.command("postgres:16-alpine")]
    return subprocess.Popen(argv, cwd=data, env=env, start_new_session=True)


async def all_gone(group: int) -> None:
    """Waits for the last process of a group: the shim, which is not here, would have done that."""
    deadline = time.monotonic() + PATIENCE_S
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            await asyncio.sleep(0.01)


async def ask(port: int, words: str) -> object:
    """What it answers, as soon as it does."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=port, user="u_db", password="s3-cr_et", database="u_db", ssl=False
            )
            break
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    try:
        return await connection.fetchval(words)
    finally:
        connection.terminate()


if all(
    shutil.which(program, path=program_image.searched(embedded.PATH)) for program in program_image.PROGRAMS["postgres"]
):

    @pytest.mark.embedded
    async def test_postgres_keeps_its_data_over_a_stop_and_a_kill(data: Path) -> None:
        port = free_port()
        for how, words, answer in (
            (signal.SIGTERM, "CREATE TABLE kept AS SELECT 42 AS x", None),
            (signal.SIGKILL, "SELECT x FROM kept", 42),
            (signal.SIGTERM, "SELECT x FROM kept", 42),
        ):
            process = start(data, port)
            try:
                assert await ask(port, words) == answer
                os.killpg(process.pid, how)
                await asyncio.to_thread(process.wait, PATIENCE_S)
                await all_gone(process.pid)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        assert sorted(path.name for path in data.iterdir()) == ["cluster"]


if shutil.which("redis-server", path=embedded.PATH):

    @pytest.mark.embedded
    class TestRedis(Processes, EngineFixtures):
        async def test_redis_runs_on_its_volume_and_keeps_its_port(
            self, engine: EmbeddedEngine, spec_for: SpecFor, volume: Volume
        ) -> None:
            await engine.ensure_volume(volume)
            image = await engine.fetch("redis:7-alpine", never)
            env = {"REDIS_PASSWORD": "s3-cr_et", "PORT": "6379"}
            named = spec_for("db", service="", deployment="", database="one", mounts=(Mount(volume.name, "/data"),))
            spec = msgspec.structs.replace(named, env=env)
            started = await engine.find_or_start(spec, image)
            assert await told(started.port, ("SET", "kept", "42")) == "+OK"
            await engine.stop(started.id, 10)
            again = await engine.find_or_start(spec, image)
            assert (again.id, again.port) == (started.id, started.port)
            assert await told(again.port, ("GET", "kept")) == "$2 42"
            await engine.remove(again.id)
            await engine.remove_volume(volume)

    async def told(port: int, words: tuple[str, ...]) -> str:
        """What it answers to who knows the password, as soon as it listens."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        writer.write(resp("AUTH", "s3-cr_et") + resp(*words))
        assert (await reader.readline()).strip() == b"+OK"
        line = (await reader.readline()).strip()
        if line.startswith(b"$"):
            line += b" " + (await reader.readline()).strip()
        writer.close()
        return line.decode()
