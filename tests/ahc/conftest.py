"""A real server for the real client."""

from collections.abc import Iterator

import pytest

from tests.ahc.process import Ahc
from tests.faults.harness import Server, wiped
from tests.folders import memory_folder


@pytest.fixture
def server() -> Iterator[Server]:
    """One that serves."""
    with memory_folder() as folder, wiped(Server(folder / "data")) as made:
        yield made.start()


@pytest.fixture
def ahc(server: Server) -> Ahc:
    """With the key of a new tenant."""
    home = server.folder.with_name("home")
    home.mkdir()
    return Ahc(home, f"http://127.0.0.1:{server.port}", server.register())
