"""Tenants are kept from each other, from the host and from the API; a firewall rule that is gone comes back."""

import ipaddress
import secrets
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from ahplat.engines import firewall
from tests.real.platform.conftest import MakeServer
from tests.real.platform.server import OPEN, Server, Service, Tenant, direct, eventually

pytestmark = pytest.mark.real

TRIES = 20  # to see the host open before somebody's reconciler closes it again


@pytest.fixture(scope="module")
def server(make_server: MakeServer) -> Server:
    """It listens on all of the host's addresses, and looks at everything every 2 s."""
    return make_server(*OPEN, "--host", "0.0.0.0", "--reconcile-s", "2").start()


@pytest.fixture
def other(server: Server) -> Tenant:
    """Another tenant of the same server."""
    return server.register(f"o{secrets.token_hex(4)}")


def address_of(service: Service, sdk: docker.DockerClient) -> str:
    (network,) = service.container(sdk).attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def gateway_of(service: Service, sdk: docker.DockerClient) -> str:
    """The host's own address on the tenant's network."""
    address = ipaddress.ip_interface(f"{address_of(service, sdk)}/26")
    return str(next(address.network.hosts()))


def reaches(service: Service, sdk: docker.DockerClient, host: str, port: int) -> bool:
    """Whether its container gets a connection."""
    return direct(service.container(sdk), f"/connect?host={host}&port={port}").text == "open\n"


def test_a_tenants_own_services_reach_each_other_and_those_of_others_never(
    tenant: Tenant, other: Tenant, sdk: docker.DockerClient
) -> None:
    mine, mine_too, theirs = tenant.run("one"), tenant.run("two"), other.run("one")
    assert reaches(mine, sdk, address_of(mine_too, sdk), 8000)
    assert not reaches(mine, sdk, address_of(theirs, sdk), 8000)
    assert not reaches(theirs, sdk, address_of(mine, sdk), 8000)


def test_no_container_reaches_the_host_or_the_api_by_any_address(
    tenant: Tenant, other: Tenant, sdk: docker.DockerClient
) -> None:
    mine, theirs = tenant.run("one"), other.run("one")
    hosts = [gateway_of(mine, sdk), gateway_of(theirs, sdk), "10.201.0.1", *own_addresses()]
    with socket.create_server(("0.0.0.0", 0)) as listener:
        ports = (listener.getsockname()[1], tenant.server.port)
        tries = [(host, port) for host in hosts for port in ports]
        with ThreadPoolExecutor(len(tries)) as pool:  # each takes the 2 s after which a container gives up
            open_ = list(pool.map(lambda to: reaches(mine, sdk, *to), tries))
    assert dict.fromkeys(tries, False) == dict(zip(tries, open_, strict=True))


def own_addresses() -> list[str]:
    """The addresses under which the host is known outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


@pytest.mark.alone
def test_the_way_to_the_api_is_open_while_the_rule_is_gone_and_closed_again_at_the_next_tick(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.run("one")
    gateway, port = gateway_of(service, sdk), tenant.server.port
    assert not reaches(service, sdk, gateway, port)
    was_open = False
    for _ in range(TRIES):
        subprocess.run(["iptables", "-D", *firewall.RULE], check=False, capture_output=True)
        was_open = reaches(service, sdk, gateway, port)
        if was_open:
            break
    assert was_open
    eventually(rule_stands, within_s=10)
    assert not reaches(service, sdk, gateway, port)
    assert f"repaired: iptables: filter {' '.join(firewall.RULE)}" in tenant.server.log.read_text()


def rule_stands() -> bool:
    return subprocess.run(["iptables", "-C", *firewall.RULE], check=False, capture_output=True).returncode == 0
