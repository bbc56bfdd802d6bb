"""A rule of the firewall that keeps containers from the host comes back when it is gone."""

import ipaddress
import subprocess

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
