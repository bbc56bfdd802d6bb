"""A Traefik in a container: in every tenant's network whatever happens to it, and no way out of one through it."""

import ipaddress
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest

from tests.parts.parts import Parts
from tests.real.platform.conftest import MakeServer
from tests.real.platform.router_container import API, RouterInContainer
from tests.real.platform.server import OPEN, Server, Service, Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]


@pytest.fixture(scope="module")
def router(running: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterInContainer]:
    sdk = docker.DockerClient(base_url=running.docker_host)
    made = RouterInContainer(sdk, tmp_path_factory.mktemp("traefik")).start()
    yield made
    print(made.container.logs().decode()[-5000:])
    made.close()
    sdk.close()


@pytest.fixture(scope="module")
def server(make_server: MakeServer, router: RouterInContainer) -> Server:
    """It looks at everything as seldom as servers do: what is found sooner, Docker's events told."""
    return make_server(*OPEN, *router.options).start()


@pytest.fixture
def service(tenant: Tenant, router: RouterInContainer) -> Service:
    """One that is reached through it."""
    made = tenant.run("web")
    made.settled()
    reached(router, made)
    return made


def reached(router: RouterInContainer, service: Service) -> None:
    """Returns once it is."""
    host = urlsplit(service.now["url"]).netloc
    eventually(lambda: (answer := router.get(host)) and answer.text.startswith("hello"))


def network_of(tenant: Tenant) -> str:
    return f"ah-tenant-{tenant.id}"


def kept_in(sdk: docker.DockerClient, tenant: Tenant) -> str:
    """The address that the router has there: services have lower ones, databases higher ones."""
    (pool,) = sdk.networks.get(network_of(tenant)).attrs["IPAM"]["Config"]
    return str(ipaddress.ip_network(pool["Subnet"])[32])


def rejoins(tenant: Tenant) -> list[tuple[str, str]]:
    """(id of the container that was put back, the address at which it was found), oldest first."""
    found = tenant.call("GET", "/v1/events?type=network.router_rejoined&after=0")
    return [(one["data"]["container"], one["data"]["found"]) for one in found]


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """It is there and does nothing."""
    server.pause()
    try:
        yield
    finally:
        server.pause(signal.SIGCONT)


def health(tenant: Tenant) -> Any:
    return tenant.call("GET", "/v1/system/health/detailed")


def test_a_service_is_reached_through_it_from_the_first_deploy_on(
    tenant: Tenant, service: Service, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    assert router.addresses[network_of(tenant)] == kept_in(sdk, tenant)
    assert rejoins(tenant) == []
    assert health(tenant)["router"]["available"]


def test_one_that_was_taken_out_is_put_back_at_once_and_that_is_an_event(
    tenant: Tenant, service: Service, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    started = time.monotonic()
    sdk.networks.get(network_of(tenant)).disconnect(router.container, force=True)
    eventually(lambda: network_of(tenant) in router.addresses, within_s=10)
    print(f"put back after {time.monotonic() - started:.2f} s")
    reached(router, service)
    eventually(lambda: rejoins(tenant) == [(router.container.id, "")])


def test_one_at_an_address_that_services_get_is_put_to_its_own(
    tenant: Tenant, service: Service, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    network = sdk.networks.get(network_of(tenant))
    with paused(tenant.server):
        network.disconnect(router.container, force=True)
        network.connect(router.container)
        elsewhere = router.addresses[network.name]
        assert elsewhere != kept_in(sdk, tenant)
    eventually(lambda: router.addresses.get(network.name) == kept_in(sdk, tenant), within_s=10)
    eventually(lambda: rejoins(tenant) == [(router.container.id, elsewhere)])
    reached(router, service)


def test_one_that_was_made_anew_is_put_back(tenant: Tenant, service: Service, router: RouterInContainer) -> None:
    old = router.container.id
    router.start()
    eventually(lambda: network_of(tenant) in router.addresses, within_s=10)
    reached(router, service)
    eventually(lambda: rejoins(tenant) == [(router.container.id, "")])
    assert router.container.id != old


def test_while_it_is_away_health_says_so_and_nothing_waits_but_what_is_to_be_reached(
    tenant: Tenant, service: Service, router: RouterInContainer
) -> None:
    router.end()
    try:
        wanted = f"the container {router.name} is not there: no service is reached through it"
        eventually(lambda: health(tenant)["router"].get("detail") == wanted, within_s=10)
        told = health(tenant)
        assert (told["status"], told["router"]["available"]) == ("degraded", False)
        assert service.now["status"] == "running"
        worker = tenant.run("worker", port=0)
        beside = tenant.create("beside")
        database = tenant.call("POST", "/v1/databases", {"name": "cache", "type": "redis"})
        assert tenant.call("GET", f"/v1/databases/{database['id']}?wait=running&timeout=60")["status"] == "running"
        assert worker.now["status"] == "running"
    finally:
        router.start()
    reached(router, service)
    beside.until("running")
    reached(router, beside)
    eventually(lambda: health(tenant)["router"]["available"])


def test_a_server_that_was_killed_puts_it_back_at_its_start(
    server: Server, tenant: Tenant, service: Service, router: RouterInContainer
) -> None:
    server.end(signal.SIGKILL)
    router.start()
    assert router.addresses == {}
    server.start()
    eventually(lambda: network_of(tenant) in router.addresses, within_s=10)
    reached(router, service)
    eventually(lambda: rejoins(tenant) == [(router.container.id, "")])


def test_it_joins_no_network_that_is_not_ours_and_none_to_the_internet(
    tenant: Tenant, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    strangers = sdk.networks.create(f"{router.name}-strangers", internal=True, labels={"ah.instance": "somebody-else"})
    try:
        tenant.run("out", egress="internet").settled()
        router.start()
        eventually(lambda: network_of(tenant) in router.addresses)
        assert all(name.startswith("ah-tenant-") for name in router.addresses)
    finally:
        strangers.remove()


@pytest.mark.parametrize("is_running", [True, False])
def test_a_network_that_goes_is_left_first_and_the_router_starts_again(
    server: Server, router: RouterInContainer, sdk: docker.DockerClient, is_running: bool
) -> None:
    name = f"going-{is_running}".lower()
    going = server.register(name)
    going.run("web").settled()
    assert network_of(going) in router.addresses
    container = router.container
    if not is_running:
        container.stop(timeout=5)
    going.call("DELETE", "/v1/tenant")
    assert server.operate("DELETE", f"/v1/tenants/{going.id}/data", {"confirm": name}).status == 202
    eventually(lambda: not sdk.networks.list(names=[network_of(going)]))
    container.start()
    eventually(lambda: router.container.status == "running" and network_of(going) not in router.addresses)


def test_an_image_that_says_itself_where_it_answers_is_refused(tenant: Tenant, router: RouterInContainer) -> None:
    service = tenant.create("web", "traefik-labelled:1")
    assert service.until("failed")["last_error"].startswith("image_forbidden")


def test_a_tenant_reaches_neither_its_api_nor_another_network_through_it(
    server: Server, tenant: Tenant, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    """From a service that may go out, so that it has a way to addresses that are not its network's."""
    service = tenant.run("out", egress="internet")
    service.settled()
    reached(router, service)
    other = server.register("beside")
    beside = other.run("web")
    beside.settled()
    reached(router, beside)
    (theirs,) = beside.containers(sdk)
    inside, over_there = kept_in(sdk, tenant), kept_in(sdk, other)
    their_address = theirs.attrs["NetworkSettings"]["Networks"][network_of(other)]["IPAddress"]
    targets = {
        "entry point": (inside, 80),
        "api": (inside, API),
        "api at home": (router.address, API),
        "entry point at home": (router.address, 80),
        "api by the host": (f"{inside.rpartition('.')[0]}.{int(inside.rpartition('.')[2]) - 31}", router.api),
        "other network": (over_there, 80),
        "api in the other network": (over_there, API),
        "other service": (their_address, 8000),
    }
    seen = connected(service, targets)
    print(seen)
    assert [name for name, error in seen.items() if not error] == ["entry point"]


CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def error(target):
    try:
        socket.create_connection(target, 3)
    except OSError as error:
        return str(error)
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(dict(zip(targets, pool.map(error, targets.values())))))
"""


def connected(service: Service, targets: dict[str, tuple[str, int]]) -> dict[str, str | None]:
    """What became of connections from inside a service, all at once: None where somebody took it, else the error."""
    command = {"command": ["python3", "-c", CONNECT, json.dumps(targets)], "timeout_s": 20}
    done = service.tenant.call("POST", f"{service.path}/exec", command)
    assert done["exit_code"] == 0, done
    found: dict[str, str | None] = json.loads(done["stdout"])
    return found
