"""Tenants are kept apart, and away from the host; networks are made once."""

import asyncio
import ipaddress
import socket
import subprocess

import docker
import msgspec
import pytest

from ahplat.engines import firewall
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Belonging, Image, Network
from ahplat.errors import Rejected, Unavailable
from tests.real.engine.instances import a_network, a_spec, ask

pytestmark = pytest.mark.real


@pytest.mark.alone
async def test_a_container_reaches_the_host_only_while_the_guard_is_gone(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    gateway = next(ipaddress.ip_network(network.subnet).hosts())
    with socket.create_server(("0.0.0.0", 0)) as listener:
        path = f"/connect?host={gateway}&port={listener.getsockname()[1]}"
        assert (await ask(instance, path)).startswith("closed")
        subprocess.run(["iptables", "-D", *firewall.RULE], check=True)
        assert (await ask(instance, path)) == "open\n"
        assert await engine.guard() == [f"iptables: filter {' '.join(firewall.RULE)}"]
        assert (await ask(instance, path)).startswith("closed")
    assert await engine.guard() == []


async def test_the_guard_stands_once_for_both_families_however_often_it_is_asked_for(engine: DockerEngine) -> None:
    await asyncio.gather(*(engine.guard() for _ in range(5)))
    for program in ("iptables", "ip6tables"):
        rules = subprocess.run([program, "-S", "INPUT"], check=True, capture_output=True, text=True).stdout
        assert rules.count("-j AH-INPUT") == 1


@pytest.mark.alone
async def test_making_a_network_puts_the_guard_back(engine: DockerEngine, network: Network) -> None:
    subprocess.run(["iptables", "-D", *firewall.RULE], check=True)
    subprocess.run(["ip6tables", "-D", *firewall.RULE], check=True)
    await engine.ensure_network(network)
    assert await engine.guard() == []


async def test_a_network_is_made_once_when_many_ask_at_once(
    engine: DockerEngine, installation: str, sdk: docker.DockerClient
) -> None:
    network = a_network(installation, 1)
    await asyncio.gather(*(engine.ensure_network(network) for _ in range(8)))
    (found,) = sdk.networks.list(names=[network.name])
    assert found.attrs["Internal"] is True
    assert found.attrs["Labels"] == {"ah.instance": installation, "ah.tenant": network.tenant}
    assert found.attrs["IPAM"]["Config"] == [
        {"Subnet": network.subnet, "IPRange": network.subnet.replace("/26", "/27")}
    ]
    assert found.attrs["Options"]["com.docker.network.bridge.name"] == network.bridge


async def test_a_strangers_network_of_that_name_is_not_taken_for_ours(
    engine: DockerEngine, installation: str, sdk: docker.DockerClient
) -> None:
    network = a_network(installation, 1)
    theirs = sdk.networks.create(network.name, driver="bridge", internal=True)
    try:
        with pytest.raises(Rejected, match="name_taken"):
            await engine.ensure_network(network)
        await engine.remove_network(network)
        assert [found.id for found in sdk.networks.list(names=[network.name])] == [theirs.id]
    finally:
        theirs.remove()


async def test_a_network_of_ours_that_is_not_as_wanted_is_not_used(engine: DockerEngine, network: Network) -> None:
    with pytest.raises(Unavailable, match="its bridge is"):
        await engine.ensure_network(msgspec.structs.replace(network, bridge="ahother"))


async def test_a_range_that_is_in_use_is_our_fault_and_said(
    engine: DockerEngine, installation: str, network: Network
) -> None:
    other = msgspec.structs.replace(a_network(installation, 2), subnet=network.subnet)
    with pytest.raises(Unavailable, match="network_unavailable"):
        await engine.ensure_network(other)


async def test_a_network_in_use_stays_and_an_empty_one_goes(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    with pytest.raises(Rejected, match="network_in_use"):
        await engine.remove_network(network)
    await engine.remove(instance.id)
    await engine.remove_network(network)
    await engine.remove_network(network)
    assert sdk.networks.list(names=[network.name]) == []


async def test_a_start_whose_network_went_is_tried_again_once_that_is_made_anew(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    await engine.remove_network(network)
    spec = a_spec(network)
    with pytest.raises(Unavailable):
        await engine.find_or_start(spec, hello)
    await engine.ensure_network(network)
    assert (await engine.find_or_start(spec, hello)).state == "running"


async def test_what_is_ours_and_not_whole_is_shown_and_what_is_anothers_is_not(
    engine: DockerEngine, installation: str, sdk: docker.DockerClient, network: Network
) -> None:
    for mark in (installation, f"{installation}x"):
        made = sdk.containers.create("hello:1", labels={"ah.instance": mark})
        made.rename(f"{mark}-half")
    assert await engine.belongings() == [
        Belonging("container", f"{installation}-half"),
        Belonging("network", network.name, network.tenant),
    ]
    made.remove()
