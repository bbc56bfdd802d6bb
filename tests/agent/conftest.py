"""A platform that builds from a git server beside it, and that only a bootstrap token registers with."""

from collections.abc import Iterator

import pytest

from tests.builds.conftest import git_server, platform
from tests.builds.git_server import GitServer
from tests.faults.harness import Server
from tests.folders import memory_folder

__all__ = ["git_server"]
TOKEN = "t" * 32


@pytest.fixture
def server(git_server: GitServer) -> Iterator[Server]:
    """One that serves."""
    with memory_folder() as folder, platform(folder, git_server) as made:
        yield made.start(AH_BOOTSTRAP_TOKEN=TOKEN)
