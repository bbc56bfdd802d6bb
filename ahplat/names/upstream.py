"""Who is asked for names outside: the host's own resolvers, or those that the operator named.

Only names of the internet are asked for: what a resolver of the host may know besides (its own network's names, the names
of private addresses) is nobody's business here. Bounded in questions under way; an answer that does not come is None.
"""

import asyncio
import ipaddress
from collections import Counter
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.reversename

from ahplat import limits
from ahplat.names.message import Query

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
_LOCAL = (("internal",), ("local",), ("localhost",), ("lan",), ("home", "arpa"))
_REVERSE = (("in-addr", "arpa"), ("ip6", "arpa"))

Address = tuple[str, int]


def address_of(text: str) -> Address:
    """Reads `9.9.9.9`, `127.0.0.1:5353`, `2620:fe::fe` or `[::1]:5353`. Raises ValueError.

    >>> address_of("[::1]:5353"), address_of("2620:fe::fe")
    (('::1', 5353), ('2620:fe::fe', 53))
    """
    host, colon, port = text.rpartition(":")
    if colon and (host.startswith("[") or ":" not in host):
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
            raise ValueError(f"{port!r} is no port")
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    return str(ipaddress.ip_address(text.strip("[]"))), PORT


def nameservers(text: str) -> list[Address]:
    """Those that a resolv.conf names, in order; what is no address is passed over.

    >>> nameservers("search x\\nnameserver 192.0.2.53  # ours\\nnameserver\\nnameserver fe80::1%eth0\\n")
    [('192.0.2.53', 53), ('fe80::1%eth0', 53)]
    """
    lines = [line.split() for line in text.splitlines()]
    found = []
    for line in lines:
        if len(line) >= 2 and line[0] == "nameserver":
            try:
                found.append((str(ipaddress.ip_address(line[1])), PORT))
            except ValueError:
                continue
    return found[: limits.NAMES_UPSTREAMS]


def may_leave(query: Query) -> bool:
    """Whether it is about a name of the internet.

    >>> from ahplat.names import message
    >>> asked = lambda name: message.read(dns.message.make_query(name, "PTR").to_wire())
    >>> [may_leave(asked(name)) for name in ("example.org", "intranet", "nas.local", "1.0.0.10.in-addr.arpa")]
    [True, False, False, False]
    """
    labels = query.labels
    if len(labels) < 2 or any(labels[-len(suffix) :] == suffix for suffix in _LOCAL):
        return False
    if labels[-2:] in _REVERSE:
        try:
            return ipaddress.ip_address(dns.reversename.to_address(query.message.question[0].name)).is_global
        except (dns.exception.DNSException, ValueError):
            return False
    return True


class Upstreams:
    """Asks for all tenants. `named` are the operator's; without any the host's resolv.conf says whom to ask."""

    def __init__(self, named: tuple[Address, ...] = (), resolv_conf: Path = RESOLV_CONF) -> None:
        self._named = list(named)
        self._resolv_conf = resolv_conf
        self._under_way: Counter[str] = Counter()  # questions, by tenant

    async def ask(self, tenant: str, query: Query) -> dns.message.Message | None:
        """What the first one that answers says; None where none does in time, or too much is under way already."""
        if self._under_way[tenant] >= limits.NAMES_FORWARDS_EACH or self._under_way.total() >= limits.NAMES_FORWARDS:
            return None
        self._under_way[tenant] += 1
        try:
            async with asyncio.timeout(limits.NAMES_FORWARD_S):
                return await self._ask(query)
        except TimeoutError:
            return None
        finally:
            self._under_way[tenant] -= 1

    async def _ask(self, query: Query) -> dns.message.Message | None:
        for host, port in self._named or self._of_the_host():
            question = query.message.question[0]
            asked = dns.message.make_query(question.name, question.rdtype, use_edns=0, payload=limits.NAMES_UDP_BYTES)
            try:
                answer, _ = await dns.asyncquery.udp_with_fallback(
                    asked, host, limits.NAMES_UPSTREAM_S, port, ignore_unexpected=True, ignore_errors=True
                )
            except (dns.exception.DNSException, OSError, EOFError, ValueError):
                continue
            return answer
        return None

    def _of_the_host(self) -> list[Address]:
        try:
            return nameservers(self._resolv_conf.read_text(errors="replace"))
        except OSError:
            return []
