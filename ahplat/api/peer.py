"""Where a request comes from. Only a known proxy is believed about it; what anybody else forwards is dropped.

The invariant: an address is only ever something to count by. It grants nothing but the health route without https.
"""

from functools import lru_cache
from ipaddress import ip_address
from socket import AF_UNIX

from aiohttp import web
from msgspec import Struct

from ahplat import limits
from ahplat.api import throttle


class Peer(Struct, frozen=True):
    """Who is at the other end. `address` is what to count failures under."""

    address: str
    is_secure: bool = False  # came over https, as a known proxy says
    is_local: bool = False  # from this machine, and through no proxy
    is_operator: bool = False  # over the operator's socket


_NOBODY = Peer("")
_UNIX = Peer("unix", is_secure=True, is_local=True, is_operator=True)


def peer_of(request: web.BaseRequest, proxies: frozenset[str]) -> Peer:
    """Who sends the request. `proxies` are the addresses that are believed."""
    transport = request.transport
    if transport is None:
        return _NOBODY
    found = transport.get_extra_info("peername")
    if not isinstance(found, tuple):
        is_unix = transport.get_extra_info("socket").family == AF_UNIX
        return _UNIX if is_unix else _NOBODY
    address, is_loopback = _plain(found[0])
    if address not in proxies:
        return Peer(throttle.network(address), is_local=is_loopback)
    proto, client = _last(request, "X-Forwarded-Proto"), _last(request, "X-Forwarded-For")
    is_secure = proto.lower() == "https"
    if client:
        return Peer(throttle.network(without_port(client)[: limits.ADDRESS_CHARS]), is_secure)
    return Peer(address, is_secure, is_local=is_loopback)


def _last(request: web.BaseRequest, name: str) -> str:
    """What the nearest proxy added: the last element of the last field, for those before it are the client's to choose."""
    values = request.headers.getall(name, ())
    return values[-1].rpartition(",")[2].strip() if values else ""


def without_port(address: str) -> str:
    """An address as some proxies give it, with the port that it came from.

    >>> without_port("192.0.2.7:4711"), without_port("[2001:db8::7]:4711"), without_port("2001:db8::7")
    ('192.0.2.7', '2001:db8::7', '2001:db8::7')
    """
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


@lru_cache(limits.ADDRESSES_CACHED)
def _plain(address: str) -> tuple[str, bool]:
    """(the address, IPv4 where it is mapped into IPv6; whether it is this machine's own)

    >>> _plain("::ffff:127.0.0.1"), _plain("192.0.2.7")
    (('127.0.0.1', True), ('192.0.2.7', False))
    """
    known = ip_address(address.partition("%")[0])
    mapped = getattr(known, "ipv4_mapped", None) or known
    return str(mapped), mapped.is_loopback
