"""Egress: who has it, its names, its networks and its rules. What it reaches is in `test_reach.py`; on a made-up internet."""

import ipaddress
import socket
import subprocess
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from tests.real.internet import FORBIDDEN, OUTSIDE, PORT, internet, opens_from
from tests.real.platform.conftest import MakeServer
from tests.real.platform.inside import call, reached, resolve
from tests.real.platform.server import OPEN, Server, Service, Tenant, eventually

pytestmark = pytest.mark.real

TRIES = 20  # to see the way open before somebody's reconciler closes it again


@pytest.fixture(scope="module")
def outside() -> Iterator[str]:
    """The internet: its namespace."""
    with internet() as namespace:
        yield namespace


@pytest.fixture(scope="module")
def server(make_server: MakeServer, outside: str) -> Server:
    """It listens on all of the host's addresses, looks at everything every 2 s, and asks the internet for names."""
    return make_server(*OPEN, "--host", "0.0.0.0", "--reconcile-s", "2", "--dns-upstream", f"{OUTSIDE}:53").start()


def addresses_of(container: Container) -> dict[str, str]:
    """Network → its address there."""
    container.reload()
    return {name: net["IPAddress"] for name, net in container.attrs["NetworkSettings"]["Networks"].items()}


def gateways_of(container: Container) -> list[str]:
    """The host's own addresses in its networks."""
    return [str(ipaddress.ip_interface(f"{one}/26").network[1]) for one in addresses_of(container).values()]


def in_both(service: Service, sdk: docker.DockerClient) -> Container:
    container = service.container(sdk)
    tenant = service.tenant.id
    assert set(addresses_of(container)) == {f"ah-tenant-{tenant}", f"ah-egress-{tenant}"}
    return container


def test_names_of_the_internet_exist_for_a_service_with_egress_and_for_no_other(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    out, shut = in_both(tenant.run("out", egress="internet"), sdk), tenant.run("shut").container(sdk)
    assert resolve(out, "www.example.org") == [OUTSIDE]
    assert resolve(out, "shut.internal") == list(addresses_of(shut).values())
    assert resolve(out, "nobody.internal") == socket.EAI_NONAME
    assert resolve(shut, "www.example.org") == socket.EAI_NONAME
    assert resolve(shut, "out.internal") == [addresses_of(out)[f"ah-tenant-{tenant.id}"]]
    for gateway in gateways_of(out):
        said = call(shut, "ask", gateway, "www.example.org")
        assert isinstance(said, str) or (said["code"], said["answers"]) == (3, 0)


def test_a_service_whose_egress_is_taken_away_has_none_after_its_next_deploy(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.run("web", egress="internet")
    in_both(service, sdk)
    tenant.call("PATCH", service.path, {"egress": "none"})
    service.order("redeploy", wait_s=30)
    service.settled()
    assert list(addresses_of(service.container(sdk))) == [f"ah-tenant-{tenant.id}"]
    assert reached(service.container(sdk), [(OUTSIDE, PORT)]) == []
    asked = [event["data"] for event in service.events() if event["type"] == "service.deploy_requested"]
    assert [one["egress"] for one in asked] == ["internet", "none"]


@pytest.mark.alone
def test_the_way_to_private_addresses_is_open_while_the_rules_are_gone_and_closed_again_at_the_next_tick(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    out = in_both(tenant.run("out", egress="internet"), sdk)
    private = (FORBIDDEN[0], PORT)
    assert reached(out, [private]) == []
    was_open = False
    for _ in range(TRIES):
        subprocess.run(["iptables", "-t", "mangle", "-F", "AH-FORWARD"], check=True)
        was_open = reached(out, [private]) == [private]
        if was_open:
            break
    assert was_open
    eventually(lambda: reached(out, [private]) == [], within_s=10)
    assert "repaired: iptables: mangle FORWARD -j AH-FORWARD" in tenant.server.log.read_text()


def test_nobody_outside_opens_a_connection_to_a_service_with_egress(
    tenant: Tenant, outside: str, sdk: docker.DockerClient
) -> None:
    out = in_both(tenant.run("out", egress="internet"), sdk)
    address = addresses_of(out)[f"ah-egress-{tenant.id}"]
    network = str(ipaddress.ip_interface(f"{address}/26").network)
    before = stopped_on_the_way_in()
    assert call(out, "connect", address, PORT) == "open", "it listens there"
    assert not opens_from(outside, network, address, PORT)
    assert stopped_on_the_way_in() > before


def stopped_on_the_way_in() -> int:
    """Packets that the first rule of our chain has dropped."""
    said = subprocess.run(
        ["iptables", "-t", "mangle", "-w", "5", "-nvxL", "AH-FORWARD"], check=True, capture_output=True, text=True
    )
    rule = next(line for line in said.stdout.splitlines() if "aho+" in line and "DROP" in line)
    return int(rule.split()[0])


def test_an_erased_tenant_leaves_no_network_and_no_file(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("out", egress="internet")
    in_both(service, sdk)
    resolvers = tenant.server.folder / "resolv"
    mine = {f"ah{tenant.id[-12:]}.conf", f"aho{tenant.id[-12:]}.conf"}
    assert mine <= {file.name for file in resolvers.iterdir()}
    name = tenant.call("GET", "/v1/tenant")["name"]
    assert tenant.server.operate("DELETE", f"/v1/tenants/{tenant.id}/data", {"confirm": name}).status == 202
    eventually(lambda: not sdk.networks.list(filters={"label": f"ah.tenant={tenant.id}"}))
    eventually(lambda: not mine & {file.name for file in resolvers.iterdir()})
