"""A folder with a registered tenant, copied for each test, and nothing left of what ran in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.faults.harness", "tests.faults.agents", "tests.faults.kills")

from tests.faults.harness import Server, wiped  # noqa: E402 — the rewriting comes before the import
from tests.folders import memory_folder  # noqa: E402

KEPT = ("events.db", "views.db", "keys.db", "master.key")
MakeServer = Callable[..., Server]


@pytest.fixture(scope="session")
def registered() -> Iterator[tuple[Path, str]]:
    """A data folder as a server left it that had one tenant register, and the tenant's key."""
    with memory_folder() as made:
        server = Server(made / "data").start()
        key = server.register()
        assert server.end() == 0
        yield server.folder, key


@pytest.fixture
def api_key(registered: tuple[Path, str]) -> str:
    return registered[1]


@pytest.fixture
def server(registered: tuple[Path, str]) -> Iterator[Server]:
    """A server with one tenant, not started yet."""
    with memory_folder() as made:
        folder = made / "data"
        folder.mkdir(mode=0o700)
        for name in KEPT:
            shutil.copy2(registered[0] / name, folder / name)
        with wiped(Server(folder)) as server:
            yield server


@pytest.fixture
def empty() -> Iterator[Server]:
    """A server over a folder that is not there yet."""
    with memory_folder() as made, wiped(Server(made / "data")) as server:
        yield server
