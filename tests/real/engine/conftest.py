"""One docker engine of an installation of its own, of which nothing is left afterwards."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Network
from tests.parts.parts import Parts
from tests.real.beside import wipe
from tests.real.engine.instances import a_network, never


@pytest.fixture
def installation(sdk: docker.DockerClient) -> Iterator[str]:
    """A new installation, of which nothing is left afterwards."""
    name = f"test{secrets.token_hex(4)}"
    yield name
    wipe(sdk, name)


@pytest.fixture
async def engine(running: Parts, installation: str, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(installation, tmp_path, base_url=running.docker_host)
    yield engine
    await engine.close()


@pytest.fixture
async def network(engine: DockerEngine, installation: str) -> Network:
    network = a_network(installation, 1)
    await engine.ensure_network(network)
    return network


@pytest.fixture
async def hello(engine: DockerEngine) -> Image:
    return await engine.fetch("hello:1", never)
