"""dockerd stops: reads go on, commands are accepted and wait, `ready` says so; when it is back the work is done."""

import signal
import time

import docker
import pytest

from tests.real.beside import dockerd_stopped
from tests.real.platform.server import Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.alone]


def test_commands_wait_for_a_daemon_that_is_away_and_are_done_when_it_is_back(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    server = tenant.server
    web, gone, halted, still = (tenant.run(name) for name in ("web", "gone", "halted", "still"))
    for service in (web, gone, halted, still):
        service.settled()
    before = still.events()[-1]["position"]
    with dockerd_stopped():
        ready = eventually(lambda: answer if (answer := server.ask("GET", "/v1/system/ready")).status != 200 else None)
        assert (ready.status, ready.json["code"]) == (503, "not_ready")
        assert ready.json["detail"].startswith("engine: Docker does not answer")
        health = tenant.call("GET", "/v1/system/health/detailed")
        assert (health["status"], health["docker"]["available"]) == ("degraded", False)
        assert health["engine"] == {"name": "docker", "available": False, "isolated": True}
        assert server.ask("GET", "/v1/system/health").status == 200
        assert web.now["image"] == "hello:1"
        assert len(tenant.call("GET", "/v1/services")) == 4
        deployed = web.deploy("hello:2")
        new = tenant.create("new")
        tenant.call("DELETE", gone.path)
        halted.order("stop")
        time.sleep(1.5)  # in which somebody may be tempted
        waiting = {one["status"] for one in (web.deployments()[0], new.deployments()[0])}
        assert waiting <= {"pending", "deploying"}
        assert tenant.call("GET", "/v1/system/health/detailed")["effects"]["open"] >= 4
    began = time.monotonic()
    deployed.until("running")
    new.until("running")
    halted.until("stopped")
    print(f"all done {time.monotonic() - began:.2f} s after it was back")
    assert server.ask("GET", "/v1/system/ready").status == 200
    assert web.get().text.startswith("hello 2")
    assert new.get().text.startswith("hello 1")
    eventually(lambda: not gone.containers(sdk) + halted.containers(sdk))
    eventually(lambda: still.get().status == 200)  # dockerd had ended it
    still.settled()
    told = [one for one in still.events() if one["position"] > before and one["type"].startswith("service.")]
    assert [one["type"] for one in told] == ["service.drifted", "service.repair_requested", "service.repaired"]
    assert told[0]["data"]["finding"] == "exited"
    assert still.now["crash_count"] == 0


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGKILL])
def test_a_deployment_whose_daemon_ends_under_it_goes_on_when_it_is_back(
    tenant: Tenant, sdk: docker.DockerClient, with_signal: signal.Signals
) -> None:
    service = tenant.run("web")
    service.settled()
    hanging = service.deploy("hang:1")
    eventually(lambda: len(service.containers(sdk)) == 2)
    with dockerd_stopped(with_signal):
        time.sleep(1)
        assert service.deployments()[0]["status"] == "deploying"
        assert tenant.server.ask("GET", "/v1/system/ready").status == 503
    eventually(lambda: attempts(service.events(), hanging.id) >= 2)
    assert service.deployments()[0]["status"] == "deploying"
    service.deploy("hello:2").until("running")
    assert service.get().text.startswith("hello 2")
    service.settled()
    assert service.container(sdk).id == service.now["container_id"]


def attempts(events: list[dict[str, dict[str, object]]], deployment_id: str) -> int:
    """How many attempts at a deployment have begun."""
    (intent,) = (
        one["position"]
        for one in events
        if one["type"] == "service.deploy_requested" and one["data"]["deployment_id"] == deployment_id
    )
    return sum(one["type"] == "effect.attempted" and one["data"]["intent"] == intent for one in events)
