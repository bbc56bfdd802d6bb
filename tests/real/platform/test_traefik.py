"""Services behind a real Traefik, told by files: their URLs answer, and no switch loses a request."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import docker
import pytest

from tests.real.platform.asking import asking, image_of
from tests.real.platform.conftest import MakeServer
from tests.real.platform.router import Traefik
from tests.real.platform.server import OPEN, Server, Service, Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]


@pytest.fixture(scope="module")
def traefik(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traefik]:
    made = Traefik(tmp_path_factory.mktemp("traefik"), told=True).start()
    yield made
    made.end()


@pytest.fixture(autouse=True)
def failures(traefik: Traefik) -> Iterator[None]:
    """What the router said that it could not do stands beside a test that failed."""
    yield
    print("\n".join(traefik.failures())[-5000:])


@pytest.fixture(scope="module")
def server(make_server: MakeServer, traefik: Traefik) -> Server:
    """A server whose services are routed by it."""
    return make_server(*OPEN, *traefik.options, "--reconcile-s", "2", "--deploy-timeout-s", "20").start()


def host_of(service: Service) -> str:
    return urlsplit(service.now["url"]).netloc


def seen_by(traefik: Traefik, service: Service) -> set[str]:
    """The versions and instances that answer, of some requests."""
    return {traefik.get(host_of(service)).text for _ in range(8)}


def test_a_services_url_answers_and_so_does_the_api(tenant: Tenant, traefik: Traefik) -> None:
    service = tenant.run("web")
    url = urlsplit(service.now["url"])
    assert (url.scheme, url.port) == ("http", traefik.web)
    answer = traefik.get(url.netloc)
    assert (answer.status, answer.text[:7]) == (200, "hello 1")
    assert traefik.get(url.netloc.upper()).status == 200
    assert traefik.get("nobody.acme.localhost").status == 404
    health = traefik.get("api.localhost", "/v1/system/health")
    assert (health.status, health.text) == (200, '{"status":"ok"}')
    assert tenant.server.ask("GET", "/v1/system/ready").json["router"] == "files"
    router = tenant.call("GET", "/v1/system/health/detailed")["router"]
    assert router["available"] and router["name"] == "files"


async def test_deploys_rollbacks_and_restarts_lose_no_request(
    tenant: Tenant, traefik: Traefik, sdk: docker.DockerClient
) -> None:
    images = [await asyncio.to_thread(image_of, sdk, tenant, version) for version in ("1", "2")]
    service = await asyncio.to_thread(tenant.run, "web", images[0])
    async with asking(traefik.web, host_of(service), per_s=12) as answers:
        for number in range(8):
            deployment = await asyncio.to_thread(service.deploy, images[1 - number % 2])
            await asyncio.to_thread(deployment.until, "running")
        for verb in ("rollback", "restart", "redeploy"):
            await asyncio.to_thread(service.order, verb, None, 60)
        await asyncio.to_thread(service.settled)
        await asyncio.sleep(1)
    print(f"11 switches, {answers.total()} requests: {dict(answers.good)}")
    assert answers.lost == []
    assert answers.total() > 400
    assert len(service.containers(sdk)) == 1


async def test_a_websocket_and_a_request_of_three_seconds_survive_a_switch(
    tenant: Tenant, traefik: Traefik, sdk: docker.DockerClient
) -> None:
    images = [await asyncio.to_thread(image_of, sdk, tenant, version) for version in ("1", "2")]
    service = await asyncio.to_thread(tenant.run, "web", images[0], drain_s=5)
    url = f"http://127.0.0.1:{traefik.web}"
    async with (
        aiohttp.ClientSession(headers={"Host": host_of(service)}) as session,
        session.ws_connect(f"{url}/ws") as socket,
    ):
        deployment = await asyncio.to_thread(service.deploy, images[1])
        slow: list[asyncio.Task[str]] = []

        async def three_seconds() -> str:
            async with session.get(f"{url}/slow") as answer:
                return f"{answer.status} {await answer.text()}"

        running = asyncio.create_task(asyncio.to_thread(deployment.until, "running"))
        while not running.done():
            slow.append(asyncio.create_task(three_seconds()))
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=10) == "hello"
            await asyncio.sleep(0.1)
        for _ in range(30):  # while the old one drains
            await socket.send_str("still here")
            assert await socket.receive_str(timeout=10) == "still here"
            await asyncio.sleep(0.1)
        answers = set(await asyncio.gather(*slow))
    assert answers <= {"200 echo 1", "200 echo 2"}
    assert "200 echo 1" in answers
    await asyncio.to_thread(service.settled)
    assert seen_by(traefik, service) == {"echo 2"}


def test_one_that_never_gets_healthy_leaves_the_old_one_serving_and_its_last_lines(
    tenant: Tenant, traefik: Traefik
) -> None:
    service = tenant.run("web")
    failed = service.deploy("hang:1").until("failed")
    assert (failed["error_code"], failed["log_tail"]) == ("unhealthy", "not listening\n")
    assert traefik.get(host_of(service)).text.startswith("hello 1")
    assert len(traefik.servers(service)) == 1


def test_replicas_share_the_requests_and_the_others_serve_when_one_is_killed(
    tenant: Tenant, traefik: Traefik, sdk: docker.DockerClient
) -> None:
    service = tenant.run("web", replicas=2)
    service.settled()
    first, second = service.containers(sdk)
    assert len(traefik.servers(service)) == 2
    first.kill()
    eventually(lambda: len(traefik.servers(service)) == 1)
    assert {traefik.get(host_of(service)).status for _ in range(6)} == {200}
    eventually(lambda: len(traefik.servers(service)) == 2)
    assert second.id in {one.id for one in service.containers(sdk)}
    assert {traefik.get(host_of(service)).status for _ in range(6)} == {200}


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_while_traefik_is_away_the_old_one_is_kept_and_the_switch_goes_on_afterwards(
    tenant: Tenant, traefik: Traefik, sdk: docker.DockerClient, how: str
) -> None:
    service = tenant.run("web")
    service.settled()
    (old,) = service.containers(sdk)
    traefik.end(signal.SIGKILL) if how == "killed" else traefik.pause()
    try:
        deployment = service.deploy("hello:2")
        eventually(lambda: len(service.containers(sdk)) == 2)
        time.sleep(3)  # for what must not happen there is nothing to wait for
        old.reload()
        assert (old.status, service.now["container_id"]) == ("running", old.id)
    finally:
        traefik.start() if how == "killed" else traefik.pause(signal.SIGCONT)
    eventually(lambda: traefik.get(host_of(service)).status == 200)  # its API is there before its routes are
    deployment.until("running")
    service.settled()
    assert seen_by(traefik, service) == {f"hello 2 service=web deployment={deployment.id}\n"}
    assert len(service.containers(sdk)) == 1


def test_a_file_that_was_taken_away_or_spoilt_is_repaired_and_said(tenant: Tenant, traefik: Traefik) -> None:
    service = tenant.run("web")
    service.settled()
    file = traefik.config_dir / f"ah-{service.id}.yml"
    right = file.read_text()
    (traefik.config_dir / "broken.yml").write_text("http: [")
    file.unlink()
    eventually(lambda: file.exists() and file.read_text() == right)
    file.write_text("http: [")
    eventually(lambda: file.read_text() == right)
    eventually(lambda: traefik.servers(service))
    eventually(lambda: traefik.get(host_of(service)).status == 200)
    assert not (traefik.config_dir / "broken.yml").exists()
    eventually(lambda: [one["data"]["finding"] for one in repairs(service)] == ["missing", "changed"])


def repairs(service: Service) -> list[dict[str, Any]]:
    return [one for one in service.events() if one["type"] == "service.route_repaired"]


def test_further_names_are_routed_and_another_tenants_are_not_to_be_had(
    server: Server, tenant: Tenant, traefik: Traefik
) -> None:
    service = tenant.run("web")
    name = f"www.{tenant.id[:8]}.example"
    made = tenant.call("POST", f"{service.path}/domains", {"domain": f"WWW.{tenant.id[:8]}.Example."})
    assert (made["domain"], made["status"]) == (name, "verified")
    eventually(lambda: traefik.get(name).status == 200)
    assert traefik.get(f"{name}.").text.startswith("hello 1")
    other = server.register(f"o{tenant.id[-8:]}")
    theirs = other.run("web")
    assert other.ask("POST", f"{theirs.path}/domains", {"domain": name}).status == 409
    own = host_of(service).partition(":")[0]
    assert other.ask("POST", f"{theirs.path}/domains", {"domain": own}).status == 400
    tenant.call("DELETE", f"{service.path}/domains/{name}")
    eventually(lambda: traefik.get(name).status == 404)


def test_a_stopped_service_is_not_routed_and_a_started_one_is_again(tenant: Tenant, traefik: Traefik) -> None:
    service = tenant.run("web")
    service.order("stop", wait_s=30)
    assert (traefik.get(host_of(service)).status, traefik.servers(service)) == (404, set())
    service.order("start", wait_s=30)
    assert traefik.get(host_of(service)).status == 200
    tenant.call("DELETE", service.path)
    eventually(lambda: not Path(traefik.config_dir / f"ah-{service.id}.yml").exists())


def test_a_server_that_was_killed_in_the_middle_of_a_switch_carries_it_on(
    make_server: MakeServer, tmp_path_factory: pytest.TempPathFactory, sdk: docker.DockerClient
) -> None:
    own = Traefik(tmp_path_factory.mktemp("own")).start()
    try:
        server = make_server(*OPEN, *own.options).start()
        service = server.register("acme").run("web")
        service.settled()
        host = host_of(service)
        own.pause()
        deployment = service.deploy("hello:2")
        eventually(lambda: "service.instance_healthy" in [one["type"] for one in service.events()][-3:])
        server.end(signal.SIGKILL)
        own.pause(signal.SIGCONT)
        assert own.get(host).status == 200
        server.start()
        deployment.until("running")
        service.settled()
        assert own.get(host).text == f"hello 2 service=web deployment={deployment.id}\n"
        assert len(service.containers(sdk)) == 1
    finally:
        own.end()


def test_a_server_that_was_killed_finds_the_folder_and_goes_on(
    make_server: MakeServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = Traefik(tmp_path_factory.mktemp("own")).start()
    try:
        server = make_server(*OPEN, *own.options).start()
        service = server.register("acme").run("web")
        host = host_of(service)
        server.end(signal.SIGKILL)
        assert own.get(host).status == 200
        (own.config_dir / f"ah-{service.id}.yml").unlink()
        server.start()
        eventually(lambda: own.get(host).status == 200)
    finally:
        own.end()
