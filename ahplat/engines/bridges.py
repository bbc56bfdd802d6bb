"""Tenants' networks in Docker: bridges with an address range of their own, internal but for those to the internet.

Docker may hold several networks of one name, so a network is found by name *and* labels, and looked at again after it
was made. `ensure` and `remove` are blocking and not for two threads at once: the engine serialises them.
"""

import ipaddress
from typing import Any

import msgspec
from docker import APIClient
from docker.errors import APIError, NotFound
from msgspec import Struct, field

from ahplat.engines.engine import Network
from ahplat.errors import Rejected, Unavailable

BRIDGE_NAME = "com.docker.network.bridge.name"
CONTAINERS_MEET = "com.docker.network.bridge.enable_icc"  # on a network to the internet they need not


class _Pool(Struct, rename="pascal"):
    subnet: str = ""


class _Ipam(Struct, rename="pascal"):
    config: list[_Pool] | None = None


class Found(Struct, rename="pascal"):
    """The part of Docker's list of networks that is read."""

    id: str
    name: str
    created: str
    internal: bool = False
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    ipam: _Ipam = field(default_factory=_Ipam, name="IPAM")


def create_arguments(network: Network) -> dict[str, Any]:
    """The exact arguments of a tenant's network."""
    return {
        "name": network.name,
        "driver": "bridge",
        "internal": network.internal,
        "enable_ipv6": False,
        "check_duplicate": True,
        "options": {BRIDGE_NAME: network.bridge} | ({} if network.internal else {CONTAINERS_MEET: "false"}),
        "ipam": {"Driver": "default", "Config": [pool_of(network)]},
        "labels": labels_of(network),
    }


def pool_of(network: Network) -> dict[str, str]:
    """Its addresses. In a tenant's own network the upper half is kept for those that are given by us."""
    return {"Subnet": network.subnet} | ({"IPRange": dynamic_part(network.subnet)} if network.internal else {})


def dynamic_part(subnet: str) -> str:
    """The half of a network from which Docker gives addresses by itself; those of the other are given by us.

    A network that was made without it goes on as it is: Docker gives the lowest that is free.

    >>> dynamic_part("10.128.0.64/26")
    '10.128.0.64/27'
    """
    return str(next(ipaddress.ip_network(subnet).subnets(1)))


def labels_of(network: Network) -> dict[str, str]:
    """What says that a network is ours and whose it is."""
    return {"ah.instance": network.instance, "ah.tenant": network.tenant}


def differences(found: Found, network: Network) -> list[str]:
    """In what the network that stands is not the one that is wanted: one line each."""
    subnets = [pool.subnet for pool in found.ipam.config or []]
    bridge = (found.options or {}).get(BRIDGE_NAME, "")
    lines = [] if found.internal == network.internal else [f"it is {'' if found.internal else 'not '}internal"]
    if subnets != [network.subnet]:
        lines.append(f"its subnet is {', '.join(subnets)}, not {network.subnet}")
    if bridge != network.bridge:
        lines.append(f"its bridge is {bridge}, not {network.bridge}")
    return lines


def ensure(client: APIClient, network: Network) -> bool:
    """Makes it where it is missing: whether it was. Raises Rejected `name_taken`, Unavailable `network_unavailable`."""
    found = find(client, network)
    if is_missing := not found:
        _create(client, network)
        found = find(client, network)
    for surplus in found[1:]:  # a reply was lost and both tries went through: the older one stays
        client.remove_network(surplus.id)
    if not found:
        raise Unavailable("network_unavailable", f"network {network.name} was made and cannot be found")
    if wrong := differences(found[0], network):
        raise Unavailable("network_unavailable", f"network {network.name} is not as wanted: {'; '.join(wrong)}")
    return is_missing


def remove(client: APIClient, network: Network) -> None:
    """Removes it where it is. Raises Rejected `network_in_use`."""
    for found in find(client, network):
        try:
            client.remove_network(found.id)
        except NotFound:
            continue
        except APIError as error:
            if error.status_code in (403, 409):
                raise Rejected("network_in_use", f"network {network.name} is in use: {error.explanation}") from error
            raise


def find(client: APIClient, network: Network) -> list[Found]:
    """Every network of that name with our labels, oldest first."""
    wanted = [f"{key}={value}" for key, value in labels_of(network).items()]
    answer = client.networks(names=[network.name], filters={"label": wanted})
    ours = [found for found in msgspec.convert(answer, list[Found]) if found.name == network.name]
    return sorted(ours, key=lambda found: (found.created, found.id))


def standing(client: APIClient, wanted: list[Network]) -> list[tuple[str, Network]]:
    """Docker's id and the network, of those wanted that are there as they should be. Of one installation."""
    by_name = {network.name: network for network in wanted}
    labels = [f"ah.instance={instance}" for instance in {network.instance for network in wanted}]
    listed = msgspec.convert(client.networks(filters={"label": labels}), list[Found]) if wanted else []
    pairs = [(found, by_name[found.name]) for found in listed if found.name in by_name]
    return [(found.id, network) for found, network in pairs if not differences(found, network)]


def _create(client: APIClient, network: Network) -> None:
    try:
        client.create_network(**create_arguments(network))
    except APIError as error:
        if error.status_code == 409 and not find(client, network):
            raise Rejected("name_taken", f"a network {network.name} that is not ours exists already") from error
        if error.status_code in (400, 403):  # the address range or the bridge is in use
            raise Unavailable("network_unavailable", f"network {network.name}: {error.explanation}") from error
        if error.status_code != 409:
            raise
