"""Servers on the real engine, a tenant for each test, and nothing left of them afterwards."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.parts.parts import Parts
from tests.real.beside import wipe
from tests.real.platform.server import OPEN, Server, Tenant

MakeServer = Callable[..., Server]


@pytest.fixture(scope="module")
def make_server(running: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeServer]:
    """A function: a new installation with those options and variables, not started yet."""
    made: list[Server] = []

    def make(*options: str, **env: str) -> Server:
        made.append(Server(tmp_path_factory.mktemp("ah"), *options, **env))
        return made[-1]

    yield make
    for server in made:
        server.end()
        print(server.log.read_text())
    sdk = docker.DockerClient(base_url=running.docker_host)
    for server in made:
        if Path(server.folder / "events.db").exists():
            wipe(sdk, server.installation)
    sdk.close()


@pytest.fixture(scope="module")
def server(make_server: MakeServer) -> Server:
    """A server that serves, shared by the tests of a module."""
    return make_server(*OPEN).start()


@pytest.fixture
def tenant(server: Server) -> Tenant:
    """A tenant of its own for each test."""
    return server.register(f"t{secrets.token_hex(4)}")
