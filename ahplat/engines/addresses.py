"""Which address a service's container gets in a tenant's network: the one after the one that was given last, round and round.

Docker would give the address of a container that went to the next one at once, and a request that was stuck on the way to
the old one would reach a stranger. In a circle what was freed is the last to be given again, whatever else is asked for,
and no free address is ever withheld. The invariant: nothing is given that a container of the network has, runs it or not.
A process that has given none yet goes on after the newest service's container that is there.
"""

import ipaddress
import threading

import msgspec
from docker import APIClient
from msgspec import Struct, field

from ahplat.engines.engine import Network


class _Own(Struct):
    address: str = field(default="", name="IPv4Address")


class _Endpoint(Struct):
    address: str = field(default="", name="IPAddress")
    own: _Own | None = field(default=None, name="IPAMConfig")

    @property
    def held(self) -> str:
        """What it has, or will have once it starts; "" where that is not known before."""
        return self.address or (self.own.address if self.own else "")


class _Settings(Struct, rename="pascal"):
    networks: dict[str, _Endpoint] | None = None


class Member(Struct, rename="pascal"):
    """The part of Docker's list of containers that is read."""

    created: int = 0
    network_settings: _Settings = field(default_factory=_Settings)


class Addresses:
    """See the module. One for an engine; may be asked from several threads."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}  # network → what was given last
        self._giving = threading.Lock()

    def give(self, client: APIClient, network: Network) -> str:
        """The address for a new container; "" where none is free, or Docker has none of the network's to tell."""
        with self._giving:
            listed = client.containers(all=True, filters={"network": [network.name]})
            members = msgspec.convert(listed, list[Member])
            held = held_by(members, network.name)
            last = self._last.get(network.name) or next((one for one in reversed(held) if one in part_of(network)), "")
            address = next_free(network, frozenset(held), last)
            if address:
                self._last[network.name] = address
            return address

    def forget(self, network: Network) -> None:
        """The network is gone."""
        with self._giving:
            self._last.pop(network.name, None)


def held_by(members: list[Member], network: str) -> list[str]:
    """The addresses that containers have in a network, those of the newest last."""
    in_order = sorted(members, key=lambda member: member.created)
    endpoints = [(member.network_settings.networks or {}).get(network) for member in in_order]
    return [endpoint.held for endpoint in endpoints if endpoint and endpoint.held]


def part_of(network: Network) -> list[str]:
    """The addresses that services get, in order."""
    whole = ipaddress.ip_network(network.subnet)
    ends = whole.num_addresses // 2 if network.internal else whole.num_addresses - 1
    return [str(whole[number]) for number in range(2, ends)]  # after the network itself and its gateway


def next_free(network: Network, held: frozenset[str], last: str) -> str:
    """The first after `last`, round the part that services have, which nobody holds; "" where all are held.

    In a tenant's own network that is the lower half: databases have theirs in the upper one.

    >>> network = Network("n", "ah0", "10.128.0.64/26", "i", "t")
    >>> next_free(network, frozenset(), ""), next_free(network, frozenset({"10.128.0.68"}), "10.128.0.67")
    ('10.128.0.66', '10.128.0.69')
    """
    part = part_of(network)
    begins = part.index(last) + 1 if last in part else 0
    return next((address for address in part[begins:] + part[:begins] if address not in held), "")
