"""A Traefik in a container: in every tenant's network whatever happens to it, and no way out of one through it."""

import signal
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import docker
import pytest

from tests.real.platform.conftest import MakeServer
from tests.real.platform.router_container import RouterInContainer
from tests.real.platform.server import OPEN, Server, Service, Tenant, eventually

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def router(sdk: docker.DockerClient) -> Iterator[RouterInContainer]:
    made = RouterInContainer(sdk).start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(make_server: MakeServer, router: RouterInContainer) -> Server:
    return make_server(*OPEN, *router.options, "--reconcile-s", "5").start()


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
    eventually(lambda: (answer := router.get(host)) and answer.status == 200)


def network_of(tenant: Tenant) -> str:
    return f"ah-tenant-{tenant.id}"


def rejoins(tenant: Tenant) -> list[str]:
    """The ids that were put back, oldest first."""
    found = tenant.ask("GET", "/v1/events?type=network.router_rejoined&after=0", Accept="application/json").json
    return [one["data"]["container"] for one in found]


def test_a_service_is_reached_through_it_from_the_first_deploy(
    tenant: Tenant, service: Service, router: RouterInContainer
) -> None:
    assert network_of(tenant) in router.networks
    assert rejoins(tenant) == []
    assert tenant.call("GET", "/v1/system/health/detailed")["router"]["available"]


def test_one_that_was_taken_out_is_put_back_at_once_and_that_is_an_event(
    tenant: Tenant, service: Service, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    started = time.monotonic()
    sdk.networks.get(network_of(tenant)).disconnect(router.container, force=True)
    eventually(lambda: network_of(tenant) in router.networks)
    print(f"put back after {time.monotonic() - started:.2f} s")
    reached(router, service)
    eventually(lambda: rejoins(tenant) == [router.container.id])


def test_one_that_was_made_anew_is_put_back(tenant: Tenant, service: Service, router: RouterInContainer) -> None:
    old = router.container.id
    router.start()
    eventually(lambda: network_of(tenant) in router.networks)
    reached(router, service)
    eventually(lambda: rejoins(tenant) == [router.container.id])
    assert router.container.id != old


def test_while_it_is_away_health_says_so_and_services_run(
    tenant: Tenant, service: Service, router: RouterInContainer
) -> None:
    router.end()
    try:
        eventually(lambda: not tenant.call("GET", "/v1/system/health/detailed")["router"]["available"])
        health = eventually(
            lambda: (
                (now := tenant.call("GET", "/v1/system/health/detailed"))["router"]["detail"].startswith("there is no")
                and now
            )
        )
        assert router.name in health["router"]["detail"] and health["status"] == "degraded"
        assert service.now["status"] == "running"
    finally:
        router.start()
    reached(router, service)
    eventually(lambda: tenant.call("GET", "/v1/system/health/detailed")["router"]["available"])


def test_a_server_that_was_killed_puts_it_back_at_its_start(
    server: Server, tenant: Tenant, service: Service, router: RouterInContainer
) -> None:
    server.end(signal.SIGKILL)
    router.start()
    assert router.networks == {}
    server.start()
    eventually(lambda: network_of(tenant) in router.networks)
    reached(router, service)
    eventually(lambda: rejoins(tenant) == [router.container.id])


def test_it_joins_no_network_that_is_not_ours_and_leaves_one_that_goes(
    server: Server, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    going = server.register("going")
    going.run("web").settled()
    strangers = sdk.networks.create(f"{router.name}-strangers", internal=True, labels={"ah.instance": "somebody-else"})
    try:
        eventually(lambda: network_of(going) in router.networks)
        router.start()
        eventually(lambda: network_of(going) in router.networks)
        assert strangers.name not in router.networks
        going.call("DELETE", "/v1/tenant")
        assert server.operate("DELETE", f"/v1/tenants/{going.id}/data", {"confirm": "going"}).status == 202
        eventually(lambda: not sdk.networks.list(names=[network_of(going)]))
        assert network_of(going) not in router.networks
    finally:
        strangers.remove()


def test_a_tenant_reaches_neither_its_api_nor_another_network_through_it(
    server: Server, tenant: Tenant, service: Service, router: RouterInContainer, sdk: docker.DockerClient
) -> None:
    other = server.register("beside")
    beside = other.run("web")
    beside.settled()
    reached(router, beside)
    (theirs,) = beside.containers(sdk)
    inside = router.networks[network_of(tenant)]
    their_address = theirs.attrs["NetworkSettings"]["Networks"][network_of(other)]["IPAddress"]
    targets = {
        "entry point": (inside, 80),
        "api": (inside, 8099),
        "api at home": (router.address, 8099),
        "other network": (router.networks[network_of(other)], 80),
        "other service": (their_address, 8000),
    }
    seen = {name: _connects(tenant, service, *target) for name, target in targets.items()}
    print(seen)
    assert [name for name, is_open in seen.items() if is_open] == ["entry point"]


def _connects(tenant: Tenant, service: Service, host: str, port: int) -> bool:
    code = f"import socket; socket.create_connection(('{host}', {port}), 3)"
    done = tenant.call("POST", f"{service.path}/exec", {"command": ["python3", "-c", code], "timeout_s": 20})
    assert done["exit_code"] == 0 or "Error" in done["stderr"], done
    return bool(done["exit_code"] == 0)


def test_one_whose_api_answers_tenants_is_in_none_of_their_networks(
    tenant: Tenant, service: Service, router: RouterInContainer
) -> None:
    router.start(api_on="")
    try:
        detail = eventually(
            lambda: (
                "answers tenants on port 8099"
                in (now := tenant.call("GET", "/v1/system/health/detailed")["router"]["detail"])
                and now
            )
        )
        assert router.name in detail
        eventually(lambda: router.networks == {})
    finally:
        router.start()
    reached(router, service)


def test_an_image_that_says_itself_where_it_answers_is_refused(tenant: Tenant) -> None:
    service = tenant.create("web", "traefik-labelled:1")
    assert service.until("failed")["last_error"].startswith("image_forbidden")
