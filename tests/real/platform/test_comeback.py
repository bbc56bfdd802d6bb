"""The server dies: containers go on, the next one adopts them, and what was under way comes to its end by itself."""

import secrets
import signal
import time
from contextlib import suppress

import docker
import pytest

from ahplat import crashpoints
from tests.real.platform.conftest import MakeServer
from tests.real.platform.databases import create
from tests.real.platform.server import OPEN, Server, Tenant, direct, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]


def test_containers_outlive_a_server_that_is_killed_and_are_adopted_by_the_next(
    make_server: MakeServer, sdk: docker.DockerClient
) -> None:
    server = make_server(*OPEN).start()
    tenant = server.register()
    services = [tenant.run("one"), tenant.run("two", replicas=2)]
    lost = tenant.run("lost")
    for service in (*services, lost):
        service.settled()
    before = {service.id: {container.id for container in service.containers(sdk)} for service in services}
    positions = {service.id: service.events()[-1]["position"] for service in services}
    server.end(signal.SIGKILL)
    assert direct(services[0].container(sdk)).status == 200
    lost.container(sdk).remove(force=True)
    server.start()
    eventually(lambda: lost.events()[-1]["type"] == "service.repaired")
    assert "missing" in {event["data"].get("finding") for event in lost.events()}
    for service in services:
        assert {container.id for container in service.containers(sdk)} == before[service.id]
        assert service.events()[-1]["position"] == positions[service.id]
        assert service.get().status == 200
    assert services[0].now["status"] == "running"
    services[0].deploy("hello:2").until("running")


def test_after_a_reboot_all_that_ran_of_all_tenants_runs_again(
    make_server: MakeServer, sdk: docker.DockerClient
) -> None:
    server = make_server(*OPEN).start()
    much, little = server.register("much"), server.register("little")
    database = create(little, "redis")
    services = [much.run(f"web{n}") for n in range(4)] + [little.run("web")]
    for service in services:
        service.settled()
    database.until("running")
    server.end(signal.SIGKILL)
    stopped = [database.container(sdk), *(service.container(sdk) for service in services)]
    for container in stopped:
        container.kill()
    began = time.monotonic()
    server.start()
    eventually(lambda: all(one.now["status"] == "running" and one.get().status == 200 for one in services))
    print(f"all serve again {time.monotonic() - began:.2f} s after the start")
    eventually(lambda: database.container(sdk).status == "running")
    database.until("running")
    assert [one.now["crash_count"] for one in services] == [0] * len(services)
    again = [database.container(sdk), *(service.container(sdk) for service in services)]
    assert [(one.id, one.status) for one in again] == [(one.id, "running") for one in stopped]


@pytest.mark.sampled
@pytest.mark.parametrize("point", crashpoints.POINTS)
def test_wherever_in_a_deployment_the_server_dies_the_next_one_brings_it_to_its_end(
    make_server: MakeServer, sdk: docker.DockerClient, point: str
) -> None:
    server = make_server(*OPEN).start()
    tenant = server.register()
    service = tenant.run("web")
    service.settled()
    assert server.end() == 0
    server.env = {"AH_CRASH_AT": point}
    server.start()
    key = {"Idempotency-Key": secrets.token_hex(8)}
    asked = {"image": "hello:2"}
    with suppress(OSError):  # who hears nothing asks again, below
        tenant.call("POST", f"{service.path}/deploy", asked, **key)
    assert server.wait() == -signal.SIGKILL
    server.env = {}
    server.start()
    repeated = tenant.ask("POST", f"{service.path}/deploy", asked, **key)
    assert (repeated.status, repeated.headers["idempotency-replayed"]) == (202, "true")
    service.settled()
    deployments = service.deployments()
    assert [(one["image"], one["status"]) for one in deployments] == [("hello:2", "running"), ("hello:1", "stopped")]
    assert deployments[0]["id"] == repeated.json["id"]
    assert service.container(sdk).labels["ah.deployment"] == repeated.json["id"]
    assert service.get().text.startswith("hello 2")


def test_another_installation_on_the_same_docker_is_left_alone(
    make_server: MakeServer, sdk: docker.DockerClient
) -> None:
    one, other = (make_server(*OPEN, "--reconcile-s", "1").start() for _ in range(2))
    mine, theirs = (server.register().run("web") for server in (one, other))
    for service in (mine, theirs):
        service.settled()
    container = theirs.container(sdk)
    network = f"ah-tenant-{theirs.tenant.id}"
    time.sleep(2.5)  # both looked at everything twice
    mine.tenant.call("DELETE", mine.path)
    eventually(lambda: not mine.containers(sdk))
    assert one.operate("DELETE", f"/v1/tenants/{mine.tenant.id}/data", {"confirm": "acme"}).status == 202
    eventually(lambda: not sdk.networks.list(names=[f"ah-tenant-{mine.tenant.id}"]))
    assert theirs.container(sdk).id == container.id
    assert len(sdk.networks.list(names=[network])) == 1
    assert theirs.get().status == 200
    assert theirs.events()[-1]["type"] == "service.drained"


def test_outside_dev_it_is_reached_over_https_through_its_proxy_with_a_bootstrap_token(
    make_server: MakeServer, sdk: docker.DockerClient
) -> None:
    token = secrets.token_hex(32)
    server = make_server(AH_BOOTSTRAP_TOKEN=token).start()
    https = {"X-Forwarded-Proto": "https"}
    assert (server.folder / "master.key").stat().st_mode & 0o777 == 0o600
    assert server.ask("GET", "/v1/system/health").status == 200
    body = {"name": "acme", "email": "acme@example.org"}
    plain = server.ask("POST", "/v1/tenants/register", body, **{"X-Bootstrap-Token": token})
    assert (plain.status, plain.json["code"]) == (403, "https_required")
    without = server.ask("POST", "/v1/tenants/register", body, **https)
    assert (without.status, without.json["code"]) == (401, "bootstrap_token_invalid")
    tenant = server.register("acme", **{"X-Bootstrap-Token": token}, **https)
    tenant = Tenant(server, tenant.id, tenant.key, https)
    service = tenant.run("web")
    assert direct(service.container(sdk)).text.startswith("hello 1")
    assert service.get().text.startswith("hello 1")
    assert server.ask("GET", service.path, Authorization=f"Bearer {tenant.key}").status == 403


def test_it_does_not_start_outside_dev_without_docker_and_says_what_helps(make_server: MakeServer) -> None:
    server = make_server("--docker-host", "unix:///nowhere.sock", AH_BOOTSTRAP_TOKEN=secrets.token_hex(32))
    with pytest.raises(AssertionError, match="the server ended"):
        server.start()
    assert server.wait() == 2
    assert server.log.read_text().splitlines()[-1].startswith("ah: Docker does not answer")


def test_a_second_server_on_the_same_folder_is_refused(server: Server, make_server: MakeServer) -> None:
    second = make_server(*OPEN)
    second.folder = server.folder / "."
    second.log_name = "second.log"
    with pytest.raises(AssertionError, match="another server uses"):
        second.start()
    assert second.wait() == 2
