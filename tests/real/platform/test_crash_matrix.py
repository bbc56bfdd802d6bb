"""SIGKILL at each point of an effect, on Docker: a sample of the table's rows in each run, and those of Docker alone among it.

The builds' rows are tried on the embedded engine; here `test_builds.py` is about builds.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from ahplat.effects.catalog import EFFECTS
from events.domains import ServiceDomainCheckRequested
from events.event import Intent, wire_name
from events.tenants import TenantKept
from tests.faults.harness import Server, eventually
from tests.faults.kills import OPERATOR, TOKEN, kill_at_each_point, named
from tests.parts import docker as dockerd
from tests.real.beside import wipe
from tests.real.platform.server import OPEN, a_pool
from tests.real.platform.server import Server as Installation

pytestmark = pytest.mark.real

INTENTS = [intent for intent in EFFECTS if not wire_name(intent).startswith("build.")]
HTTPS = {"X_Forwarded_Proto": "https"}


class OnDocker(Server):
    """The harness's server, on Docker: what runs are containers."""

    def __init__(self, folder: Path, sdk: docker.DockerClient, *options: str) -> None:
        given = ("--engine", "docker", "--docker-host", dockerd.HOST, "--tenant-pool", a_pool())
        super().__init__(folder, *given, "--drain-s", "0", "--no-rate-limits", *options)
        self._sdk = sdk

    @property
    def installation(self) -> str:
        """What its containers carry as `ah.instance`."""
        return Installation(self.folder).installation

    @property
    def running(self) -> frozenset[str]:
        mine = {"label": f"ah.instance={self.installation}"}
        return frozenset(str(one.id) for one in self._sdk.containers.list(all=True, filters=mine, ignore_removed=True))

    @property
    def strays(self) -> dict[int, str]:
        """Containers in any state are in `running`."""
        return {}

    def kill(self, service_id: str) -> None:
        """Ends a service's container behind the platform's back."""
        for one in self._sdk.containers.list(filters={"label": f"ah.service={service_id}"}, ignore_removed=True):
            one.kill()


@pytest.fixture
def on_docker(tmp_path: Path, sdk: docker.DockerClient, intent: type[Intent]) -> Iterator[Server]:
    """An installation of its own, not started yet."""
    options = () if intent is ServiceDomainCheckRequested else OPEN
    if intent is TenantKept:
        options = (*options, "--keep-suspended", "1")
    server = OnDocker(tmp_path / "data", sdk, *options)
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)
        print(server.said.read_text())
        wipe(sdk, server.installation)


@pytest.mark.sampled(of=12)
@pytest.mark.parametrize("intent", INTENTS, ids=named)
def test_servers_that_are_killed_at_each_point_are_followed_by_one_that_ends_it(
    on_docker: OnDocker, intent: type[Intent]
) -> None:
    headers = HTTPS if intent is ServiceDomainCheckRequested else {}
    on_docker.start(AH_BOOTSTRAP_TOKEN=TOKEN)
    body = {"name": "other", "email": "other@example.org"}
    made = eventually(lambda: on_docker.ask("POST", "/v1/tenants/register", body, **headers, **OPERATOR))
    assert on_docker.end() == 0
    kill_at_each_point(
        on_docker,
        made.json["api_key"],
        intent,
        headers,
        image="hello:1",
        settings={"memory_mb": 128, "cpu_count": 0.5},
        database_kind="redis",
        kill=on_docker.kill,
    )
