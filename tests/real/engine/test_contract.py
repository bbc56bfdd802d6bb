"""The docker engine keeps the contract of all engines; the modules beside this are what it promises besides."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import docker
import pytest

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Engine, Image, Network
from tests.engines.belongings_contract import BelongingsContract
from tests.engines.contract import EngineContract
from tests.engines.counters_contract import CountersContract
from tests.parts.parts import Parts
from tests.real.beside import REGISTRY, wipe
from tests.real.engine.instances import never

pytestmark = pytest.mark.real


class TestDockerEngine(EngineContract, CountersContract, BelongingsContract):
    """It keeps the contract; the rest of this module is what it promises besides."""

    @pytest.fixture
    async def network(self, network: Network) -> Network:
        return network

    @pytest.fixture
    async def stranger(self, running: Parts, sdk: docker.DockerClient, tmp_path: Path) -> AsyncIterator[DockerEngine]:
        stranger = DockerEngine("stranger", tmp_path, base_url=running.docker_host)
        yield stranger
        await stranger.close()
        wipe(sdk, "stranger")

    @pytest.fixture
    async def comeback(self, running: Parts, installation: str, tmp_path: Path) -> AsyncIterator[Callable[[], Engine]]:
        async with AsyncExitStack() as made:

            def build() -> Engine:
                engine = DockerEngine(installation, tmp_path, base_url=running.docker_host)
                made.push_async_callback(engine.close)
                return engine

            yield build

    @pytest.fixture
    def reference(self) -> str:
        return "hello:1"

    @pytest.fixture
    def unknown_reference(self) -> str:
        return f"{REGISTRY}/nobody/made-this:1"

    @pytest.fixture
    def image(self, hello: Image) -> Image:
        return hello

    @pytest.fixture
    async def crashing_image(self, engine: DockerEngine) -> Image:
        return await engine.fetch("crash:1", never)

    @pytest.fixture
    async def hanging_image(self, engine: DockerEngine) -> Image:
        return await engine.fetch("deaf:1", never)
