"""SIGKILL at each point of what is done about tenants."""

import pytest

from events.event import Intent
from events.tenants import TenantKept
from tests.faults.harness import Server
from tests.faults.kills import kill_at_each_point, named, of_noun

pytestmark = pytest.mark.embedded

INTENTS = of_noun("tenant")


@pytest.mark.parametrize("intent", INTENTS, ids=named)
def test_servers_that_are_killed_at_each_point_are_followed_by_one_that_ends_it(
    server: Server, api_key: str, intent: type[Intent]
) -> None:
    if intent is TenantKept:
        server.options = (*server.options, "--keep-suspended", "1")
    kill_at_each_point(server, api_key, intent)
