"""Keeps containers away from the host, and those with egress away from everything but the internet.

On a bridge of ours (`ah…`) a container reaches the host's own addresses through the gateway, and Docker lets what is on
a network that is not internal (`aho…`) go anywhere. Two chains of our own close that, in both address families:

    filter AH-INPUT     from INPUT: from our bridges nothing new comes in but questions for names, and those only to the
                        address that the host has on the very bridge that they come from; answers pass, so that router
                        and health checks reach containers
    mangle AH-FORWARD   from FORWARD, before whatever Docker accepts there: to the internet, and to no address that is
                        private, shared, link-local (metadata), loopback, multicast or reserved; nothing new comes in

Invariant: one transaction makes a chain whole, so there is no moment at which it is open, and nothing stands twice.
"""

import asyncio
from pathlib import Path

import msgspec
from msgspec import Struct

from ahplat import limits, processes
from ahplat.errors import Unavailable

IPV6 = Path("/proc/net/if_inet6")  # exists when the kernel has IPv6 at all
RULE = ("INPUT", "-i", "ah+", "-j", "AH-INPUT")
NEVER_OUTSIDE = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""What is no part of the internet: IANA's special-purpose registry (RFC 6890) without the three for documentation."""

_BUILDERS = "-i ahx+ -j RETURN"  # the builders' uplinks, which have rules of their own and are told no at once
_NEW = "-m conntrack --ctstate NEW -j DROP"
_ON_OUR_ADDRESS = "-m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT"


class Chain(Struct, frozen=True):
    """A chain of our own, and the rule of a built-in one that leads to it, in the words of `iptables-save`."""

    table: str
    name: str
    jump: str
    rules: tuple[str, ...]


NAMES_ASKED = (f"-p udp -m udp --dport 53 {_ON_OUR_ADDRESS}", f"-p tcp -m tcp --dport 53 {_ON_OUR_ADDRESS}")
OUTSIDE = tuple(f"-d {network} -j DROP" for network in NEVER_OUTSIDE)
CHAINS = {
    "iptables": (
        Chain("filter", "AH-INPUT", " ".join(RULE), (_BUILDERS, *NAMES_ASKED, _NEW)),
        Chain("mangle", "AH-FORWARD", "FORWARD -j AH-FORWARD", (f"-o aho+ {_NEW}", "! -i aho+ -j RETURN", *OUTSIDE)),
    ),
    "ip6tables": (  # our networks have no IPv6, and nobody answers there
        Chain("filter", "AH-INPUT", " ".join(RULE), (_NEW,)),
        Chain("mangle", "AH-FORWARD", "FORWARD -j AH-FORWARD", ("-i aho+ -j DROP", "-o aho+ -j DROP")),
    ),
}


def programs(ipv6: bool) -> tuple[str, ...]:
    """Who keeps the chains: both families, or IPv4 alone on a kernel without IPv6, where nothing could come in by it.

    >>> programs(ipv6=False)
    ('iptables',)
    """
    return ("iptables", "ip6tables") if ipv6 else ("iptables",)


class Found(Struct, frozen=True):
    """What stands of a chain. `rules` is None where there is no such chain."""

    rules: tuple[str, ...] | None
    jumps: int
    is_first: bool  # the jump comes before any other rule of its chain for our bridges


def found(chain: Chain, saved: str) -> Found:
    """Reads what `iptables-save` printed.

    >>> found(Chain("filter", "A", "INPUT -i ah+ -j A", ()), "*filter\\n:A - [0:0]\\n-A INPUT -i ah+ -j A\\nCOMMIT\\n")
    Found(rules=(), jumps=1, is_first=True)
    """
    lines = saved.partition(f"*{chain.table}\n")[2].partition("\nCOMMIT")[0].splitlines()
    mine, jump = f"-A {chain.name} ", f"-A {chain.jump}"
    exists = any(line.startswith(f":{chain.name} ") for line in lines)
    built_in = f"-A {chain.jump.partition(' ')[0]} -i ah+ "
    rivals = [line for line in lines if line == jump or line.startswith(built_in)]
    rules = tuple(line.removeprefix(mine) for line in lines if line.startswith(mine))
    return Found(rules if exists else None, lines.count(jump), rivals[:1] == [jump])


def mended(chain: Chain, now: Found) -> str:
    """What `iptables-restore --noflush` is to be told so that the chain stands as it should, in one transaction."""
    lines = [f"*{chain.table}", f":{chain.name} - [0:0]"]  # which empties it where it exists
    lines += [f"-A {chain.name} {rule}" for rule in chain.rules]
    lines += [f"-D {chain.jump}"] * now.jumps
    return "\n".join([*lines, f"-I {chain.jump}", "COMMIT", ""])


class Firewall:
    """See the module. Not for two callers at once: the engine serialises them."""

    def __init__(self) -> None:
        self._printed: dict[tuple[str, Chain], tuple[str, ...]] = {}  # how this machine prints what we wrote

    async def repair(self) -> list[str]:
        """Puts back what is gone and says what that was. Raises Unavailable `guard_failed`: then nothing may start."""
        for _ in range(limits.FIREWALL_TRIES - 1):
            try:
                return await self._repair()
            except Unavailable:  # another server may have mended the same at the same moment
                continue
        return await self._repair()

    async def _repair(self) -> list[str]:
        families = programs(IPV6.exists())  # noqa: ASYNC240 — a look into /proc
        repaired = await asyncio.gather(*(self._repair_family(program) for program in families))
        return [line for lines in repaired for line in lines]

    async def _repair_family(self, program: str) -> list[str]:
        saved = await _run(program, "-save")
        wrong = [chain for chain in CHAINS[program] if not self._stands(program, chain, found(chain, saved))]
        for chain in wrong:
            await _run(program, "-restore", "-w", "5", "--noflush", stdin=mended(chain, found(chain, saved)))
        if wrong:
            self._learn(program, wrong, await _run(program, "-save"))
        return [f"{program}: {chain.table} {chain.jump}" for chain in wrong]

    def _learn(self, program: str, written: list[Chain], saved: str) -> None:
        """Another version prints the same rules in other words; what was emptied meanwhile is nothing to learn from."""
        for chain in written:
            printed = found(chain, saved).rules or ()
            if len(printed) == len(chain.rules):
                self._printed[program, chain] = printed

    def _stands(self, program: str, chain: Chain, now: Found) -> bool:
        wanted = self._printed.get((program, chain), chain.rules)
        return now == msgspec.structs.replace(now, rules=wanted, jumps=1, is_first=True)


async def _run(program: str, verb: str, *arguments: str, stdin: str = "") -> str:
    """What the program says. Raises Unavailable `guard_failed`."""
    ended = await processes.run([program + verb, *arguments], limits.FIREWALL_TIMEOUT_S, stdin)
    if ended.code != 0:
        raise Unavailable(
            "guard_failed", f"{program}{verb} could not close the host to containers: {ended.stderr.strip()}"
        )
    return ended.stdout
