"""The network of one tenant's builder: a namespace with one way out, to the internet and to nothing nearer.

A veth pair leads from the namespace to the host, which forwards and translates. Twice it is said what is closed: in the
namespace, for what the builder itself fetches and for the steps behind its bridge, and on the host, which no build can
touch. Closed are private, shared, link-local (the metadata address is one), loopback and reserved networks, and on the
host all of its own addresses. IPv6 is off. Pure functions say what is asked of `ip` and `iptables`; `Network` asks.
"""

import ipaddress
import secrets
from pathlib import Path

from msgspec import Struct

from ahplat import limits, processes
from ahplat.errors import Unavailable

POOL = ipaddress.ip_network("100.127.0.0/16")  # of the uplinks: a /30 each
STEPS = "100.126.0.0/24"  # of the steps, the same in each namespace
BRIDGE, UPLINK = "steps0", "uplink0"
HOST_SIDE = "ahx"  # x is no hex digit: no tenant's bridge, ah + 12 hex digits, is called so
CHAIN = "AH-BUILD"
CLOSED = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
)
"""What no build reaches (RFC 6890), besides the host itself."""


def is_open(address: ipaddress.IPv4Address) -> bool:
    """Whether a build reaches it, where it is not the host's own.

    >>> is_open(ipaddress.IPv4Address("1.1.1.1")), is_open(ipaddress.IPv4Address("169.254.169.254"))
    (True, False)
    """
    return not any(address in ipaddress.ip_network(network) for network in CLOSED)


class Uplink(Struct, frozen=True):
    """The two ends of a way out, in CIDR form."""

    host: str
    builder: str


def uplink(slot: int) -> Uplink:
    """The n-th /30 of the pool, from 0.

    >>> uplink(1)
    Uplink(host='100.127.0.5/30', builder='100.127.0.6/30')
    """
    address = int(POOL.network_address) + 4 * slot
    return Uplink(f"{ipaddress.ip_address(address + 1)}/30", f"{ipaddress.ip_address(address + 2)}/30")


def make_argv(name: str, way: Uplink) -> list[list[str]]:
    """What makes the namespace `name` with its way out; the host's end has the same name."""
    inside = ["ip", "-n", name]
    return [
        ["ip", "netns", "add", name],
        ["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.ip_forward=1"],
        ["ip", "link", "add", name, "type", "veth", "peer", "name", UPLINK, "netns", name],
        ["ip", "address", "add", way.host, "dev", name],
        ["ip", "link", "set", name, "up"],
        [*inside, "link", "set", "lo", "up"],
        [*inside, "address", "add", way.builder, "dev", UPLINK],
        [*inside, "link", "set", UPLINK, "up"],
        [*inside, "route", "add", "default", "via", way.host.partition("/")[0]],
    ]


def entering(name: str) -> list[str]:
    """Puts what follows it into the namespace, with mounts of its own that go when it ends.

    `ip netns exec` would hide the host's cgroups from it, without which runc runs nothing.
    """
    return ["nsenter", f"--net=/run/netns/{name}", "unshare", "--mount"]


def inner_rules() -> str:
    """The namespace's filter, for iptables-restore: steps reach no address of the namespace itself either."""
    reject = "REJECT --reject-with icmp-admin-prohibited"
    return "\n".join(
        [
            "*filter",
            ":INPUT DROP [0:0]",
            ":FORWARD DROP [0:0]",
            ":OUTPUT ACCEPT [0:0]",
            "-A INPUT -i lo -j ACCEPT",
            "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f"-A INPUT -i {BRIDGE} -j {reject}",
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            *(f"-A FORWARD -i {BRIDGE} -d {network} -j {reject}" for network in CLOSED),
            f"-A FORWARD -i {BRIDGE} -o {UPLINK} -j ACCEPT",
            "-A OUTPUT -o lo -j ACCEPT",
            *(f"-A OUTPUT -d {network} -j {reject}" for network in CLOSED),
            "COMMIT",
            "",
        ]
    )


def host_rules() -> str:
    """The host's chain, for iptables-restore --noflush: it is made anew whole, and no other is touched."""
    reject = "REJECT --reject-with icmp-admin-prohibited"
    return "\n".join(
        [
            "*filter",
            f":{CHAIN} - [0:0]",
            *(f"-A {CHAIN} -i {HOST_SIDE}+ -d {network} -j {reject}" for network in CLOSED),
            f"-A {CHAIN} -i {HOST_SIDE}+ ! -s {POOL} -j DROP",
            f"-A {CHAIN} -i {HOST_SIDE}+ -j ACCEPT",
            f"-A {CHAIN} -o {HOST_SIDE}+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f"-A {CHAIN} -o {HOST_SIDE}+ -j DROP",
            "COMMIT",
            "",
        ]
    )


def host_jumps() -> list[list[str]]:
    """What leads packets there: table, chain and rule, each to be first of its chain."""
    return [
        ["filter", "FORWARD", "-j", CHAIN],
        ["filter", "INPUT", "-i", f"{HOST_SIDE}+", "-j", "REJECT"],
        ["nat", "POSTROUTING", "-s", str(POOL), "!", "-o", f"{HOST_SIDE}+", "-j", "MASQUERADE"],
    ]


class Network(Struct, frozen=True):
    """A builder's network; `folder` is where rules are written for `iptables-restore` to read."""

    name: str
    folder: Path

    async def ensure(self) -> None:
        """Has it there with all that closes it; the host's rules are looked at each time. Raises Unavailable."""
        await self._guard_host()
        if (await processes.run(["ip", "netns", "pids", self.name], limits.FIREWALL_TIMEOUT_S)).code == 0:
            return
        try:
            for argv in make_argv(self.name, await _free_uplink()):
                await _ask(argv)
            await self._restore(["ip", "netns", "exec", self.name, "iptables-restore", "-w"], "inner", inner_rules())
        except Unavailable:
            await self.remove()
            raise

    async def remove(self) -> None:
        """Takes it away; nothing happens where it is not."""
        await processes.run(["ip", "link", "delete", self.name], limits.FIREWALL_TIMEOUT_S)
        await processes.run(["ip", "netns", "delete", self.name], limits.FIREWALL_TIMEOUT_S)

    async def _guard_host(self) -> None:
        await self._restore(["iptables-restore", "-w", "--noflush"], "host", host_rules())
        for table, chain, *rule in host_jumps():
            argv = ["iptables", "-w", "-t", table]
            found = await processes.run([*argv, "-C", chain, *rule], limits.FIREWALL_TIMEOUT_S)
            if found.code != 0:
                await _ask([*argv, "-I", chain, *rule])

    async def _restore(self, argv: list[str], name: str, rules: str) -> None:
        path = self.folder / f"{name}.rules"
        path.write_text(rules)
        await _ask([*argv, str(path)])


async def _free_uplink() -> Uplink:
    """One whose address the host does not have; by chance, so that two servers hardly ever choose the same."""
    taken = (await processes.run(["ip", "-o", "-4", "address"], limits.FIREWALL_TIMEOUT_S)).stdout
    slots = POOL.num_addresses // 4
    first = secrets.randbelow(slots)
    ways = (uplink((first + step) % slots) for step in range(slots))
    return next(way for way in ways if f" {way.host} " not in taken)


async def _ask(argv: list[str]) -> None:
    done = await processes.run(argv, limits.FIREWALL_TIMEOUT_S)
    if done.code != 0:
        raise Unavailable(
            "builder_network", f"{' '.join(argv[:5])} … ended with {done.code}: {done.stderr.strip()[:300]}"
        )
