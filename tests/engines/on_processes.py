"""What the tests of the embedded engine share: its fixtures, images made of a few files, and a look at its processes."""

import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from ahplat.engines import folder_image
from ahplat.engines.embedded import EmbeddedEngine
from ahplat.engines.engine import Engine, Image, Instance, Network, Spec
from ahplat.engines.run_folder import Started
from tests.engines.contract import eventually, never

CRASH = "web: echo one; echo two; echo three; exit 3"
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf'); signal.pause()"


class Processes:
    """Fixtures: engines over one folder, and images of a few files."""

    @pytest.fixture
    async def engine(self, tmp_path: Path, network: Network) -> AsyncIterator[EmbeddedEngine]:
        engine = EmbeddedEngine(network.instance, tmp_path)
        yield engine
        for instance in [*await engine.list(), *await engine.list_databases()]:
            await engine.remove(instance.id)
        await engine.close()

    @pytest.fixture
    async def stranger(self, tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
        stranger = EmbeddedEngine("stranger", tmp_path)
        yield stranger
        for instance in await stranger.list():
            await stranger.remove(instance.id)
        await stranger.close()

    @pytest.fixture
    def comeback(self, tmp_path: Path, network: Network) -> Callable[[], Engine]:
        return lambda: EmbeddedEngine(network.instance, tmp_path)

    @pytest.fixture
    def reference(self) -> str:
        return "ah/hello"

    @pytest.fixture
    async def image(self, engine: EmbeddedEngine) -> Image:
        return await engine.fetch("ah/hello", never)

    @pytest.fixture
    def make(self, engine: EmbeddedEngine, tmp_path: Path) -> Callable[..., Image]:
        """An image of these files."""

        def build(**files: str) -> Image:
            name = secrets.token_hex(4)
            folder = tmp_path / "images" / "test" / name
            folder.mkdir(parents=True)
            for file, text in files.items():
                (folder / file.replace("_py", ".py")).write_text(text)
            return folder_image.fetch(tmp_path / "images", f"ah/test:{name}", never)

        return build

    @pytest.fixture
    def crashing_image(self, make: Callable[..., Image]) -> Image:
        return make(Procfile=CRASH)

    @pytest.fixture
    def hanging_image(self, make: Callable[..., Image]) -> Image:
        return make(main_py=DEAF)


def text(value: Spec | Image) -> str:
    return msgspec.json.encode(value).decode()


def path(engine: EmbeddedEngine, instance: Instance) -> Path:
    return engine._run / instance.name


def shim(engine: EmbeddedEngine, instance: Instance) -> Started:
    return msgspec.json.decode((path(engine, instance) / "started.json").read_bytes(), type=Started)


def child(engine: EmbeddedEngine, instance: Instance) -> int:
    """The program's own process."""
    return int(msgspec.json.decode((path(engine, instance) / "started.json").read_bytes())["child"])


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def code(engine: EmbeddedEngine, instance: Instance) -> int | None:
    seen = await engine.inspect(instance.id)
    assert seen is not None
    assert seen.state == "exited"
    return seen.exit_code


async def says(engine: EmbeddedEngine, instance: Instance, words: str) -> None:
    async def said() -> bool:
        return words in await engine.tail(instance.id, 100)

    await eventually(said)
