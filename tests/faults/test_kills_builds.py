"""SIGKILL at each point of what is done about builds: from git, of a repository that is there, or of a branch that is not."""

from collections.abc import Iterator

import pytest

from events.event import Intent
from tests.builds.conftest import git_server as git_server
from tests.builds.git_server import GitServer
from tests.faults.harness import Server
from tests.faults.kills import kill_at_each_point, named, of_noun

pytestmark = pytest.mark.embedded

INTENTS = of_noun("build")


@pytest.fixture
def beside_git(server: Server, git_server: GitServer) -> Iterator[Server]:
    """A server that lets that git server in."""
    server.options = (*server.options, "--allow-git-host", git_server.host)
    yield server


@pytest.mark.parametrize("intent", INTENTS, ids=named)
def test_servers_that_are_killed_at_each_point_are_followed_by_one_that_ends_it(
    beside_git: Server, api_key: str, git_server: GitServer, intent: type[Intent]
) -> None:
    kill_at_each_point(beside_git, api_key, intent, git_url=git_server.url("web"))
