"""The parts, and Docker as the tests look at it."""

from collections.abc import Iterator

import docker
import pytest

from tests.parts import parts
from tests.parts.parts import Parts
from tests.real.beside import REGISTRY


@pytest.fixture(scope="session")
def running() -> Iterator[Parts]:
    """The parts; of the images that these tests make nothing is left in Docker afterwards."""
    up = parts.up()
    yield up
    client = docker.DockerClient(base_url=up.docker_host)
    for image in {found.id: found for found in client.images.list(f"{REGISTRY}/test/*", all=True)}.values():
        client.images.remove(image.id, force=True)
    client.close()


@pytest.fixture
def sdk(running: Parts) -> Iterator[docker.DockerClient]:
    """Docker as the tests look at it, beside the engine."""
    client = docker.DockerClient(base_url=running.docker_host)
    yield client
    client.close()
