"""Which address a container gets: round and round the part that services have, so that none comes back soon."""

import ipaddress
import threading
from typing import Any, cast

import msgspec
import pytest
from docker import APIClient
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ahplat.engines.addresses import Addresses, Member, held_by, next_free
from ahplat.engines.bridges import dynamic_part
from ahplat.engines.engine import Network

NETWORK = Network("ah-tenant-ten", "ah0123456789abc", "10.128.0.64/26", "inst", "ten")
OUTSIDE = structs.replace(NETWORK, name="ah-egress-ten", bridge="aho123456789abc", internal=False)
SERVICES = [f"10.128.0.{last}" for last in range(66, 96)]  # the network is .64, its gateway .65, databases begin at .96


def summary(created: int, address: str = "", own: str = "", network: str = NETWORK.name) -> dict[str, Any]:
    """A container in Docker's list; one that does not run has no address, but may be made for one."""
    endpoint: dict[str, Any] = {"IPAddress": address, "IPAMConfig": {"IPv4Address": own} if own else None}
    return {"Id": str(created), "Created": created, "NetworkSettings": {"Networks": {network: endpoint}}}


class Docker:
    """As much of Docker as is asked: the containers of a network."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return list(self.listed)

    @property
    def client(self) -> APIClient:
        return cast(APIClient, self)


def test_an_address_that_was_freed_is_the_last_to_be_given_again() -> None:
    docker, addresses = Docker(), Addresses()
    docker.listed = [summary(1, address=SERVICES[0])]
    given_one_by_one = []
    for number in range(len(SERVICES)):  # a switch: the new one comes, then the one before goes
        given_one_by_one.append(addresses.give(docker.client, NETWORK))
        docker.listed = [summary(number + 2, address=given_one_by_one[-1])]
    assert given_one_by_one == [*SERVICES[1:], SERVICES[0]]


def test_another_process_goes_on_after_the_newest_container() -> None:
    docker = Docker()
    docker.listed = [summary(9, address=SERVICES[5]), summary(3, address=SERVICES[20])]
    assert Addresses().give(docker.client, NETWORK) == SERVICES[6]


def test_a_database_or_a_router_that_is_newer_does_not_make_it_begin_again() -> None:
    docker = Docker()
    docker.listed = [summary(7, address=SERVICES[5]), summary(8, address="10.128.0.126")]
    docker.listed.append(summary(9, address=NETWORK.router))
    assert Addresses().give(docker.client, NETWORK) == SERVICES[6]


def test_what_failed_and_went_does_not_give_its_address_back_at_once() -> None:
    docker, addresses = Docker(), Addresses()
    docker.listed = [summary(1, address=SERVICES[0])]
    assert [addresses.give(docker.client, NETWORK) for _ in range(3)] == SERVICES[1:4]


def test_the_address_of_a_container_that_does_not_run_is_its_own() -> None:
    docker = Docker()
    docker.listed = [summary(2, own=SERVICES[1]), summary(3, address=SERVICES[0], own=SERVICES[0])]
    assert Addresses().give(docker.client, NETWORK) == SERVICES[2]


def test_where_all_but_one_are_held_that_one_is_given_and_where_all_are_none() -> None:
    held = frozenset(SERVICES)
    assert next_free(NETWORK, held - {SERVICES[3]}, SERVICES[3]) == SERVICES[3]
    assert next_free(NETWORK, held, SERVICES[3]) == ""


@pytest.mark.parametrize("network", [NETWORK, OUTSIDE])
def test_gateways_broadcasts_and_databases_addresses_are_never_given(network: Network) -> None:
    docker, addresses = Docker(), Addresses()
    found = {addresses.give(docker.client, network) for _ in range(100)}
    assert found == set(SERVICES) if network.internal else found == {f"10.128.0.{last}" for last in range(66, 127)}


def test_the_routers_address_is_the_one_between_services_and_databases() -> None:
    assert NETWORK.router == "10.128.0.96"
    assert NETWORK.router not in SERVICES
    assert ipaddress.ip_address(NETWORK.router) not in ipaddress.ip_network(
        dynamic_part(NETWORK.subnet)
    )  # Docker's own


def test_a_network_that_went_is_forgotten() -> None:
    docker, addresses = Docker(), Addresses()
    assert addresses.give(docker.client, NETWORK) == SERVICES[0]
    addresses.forget(NETWORK)
    assert addresses.give(docker.client, NETWORK) == SERVICES[0]


def test_who_ask_at_once_get_addresses_of_their_own() -> None:
    docker, addresses = Docker(), Addresses()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(addresses.give(docker.client, NETWORK))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 20


def test_containers_elsewhere_and_without_a_network_hold_nothing() -> None:
    listed = [summary(1, address="10.0.0.2", network="other"), {"Id": "2", "Created": 2}, summary(3)]
    assert held_by(msgspec.convert(listed, list[Member]), NETWORK.name) == []


@given(st.sets(st.sampled_from(SERVICES)), st.sampled_from(["", *SERVICES, "10.128.0.100", "10.1.1.1"]))
def test_a_free_address_is_found_wherever_there_is_one(held: set[str], last: str) -> None:
    found = next_free(NETWORK, frozenset(held), last)
    assert (found in set(SERVICES) - held) if len(held) < len(SERVICES) else not found
