"""The parts, and Docker as the tests look at it."""

import fcntl
from collections.abc import Iterator
from contextlib import suppress

import docker
import pytest

from tests.parts import parts
from tests.parts.cache import folder
from tests.parts.parts import Parts
from tests.real.beside import REGISTRY


@pytest.fixture(scope="session")
def running() -> Iterator[Parts]:
    """The parts; of the images that these tests make nothing is left in Docker once the last worker has ended."""
    up = parts.up()
    with folder().joinpath("tests").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield up
        with suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_images(up)


def remove_images(up: Parts) -> None:
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
