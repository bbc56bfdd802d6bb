"""What Traefik is told, as values: its dynamic configuration for one service, written from structs.

The invariants: what is written reads back as exactly what was meant, every name in it is the service's own, and every
host and address is one: one file that Traefik cannot read blocks the changes of all others. Each generation of instances
has connections of its own (a `serversTransport`): Docker gives the address of a container that went to the next one at
once, and on a connection that was kept to the old one a POST would be lost.
"""

import ipaddress
import re
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from ahplat import limits
from ahplat.hosts import is_canonical
from ahplat.routers.router import Route

_SERVER = re.compile(r"([0-9a-fA-F.:\[\]]+):([0-9]{1,5})")


class _Tls(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    cert_resolver: str


class _Router(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    entry_points: list[str]
    rule: str
    service: str
    tls: _Tls | UnsetType = UNSET


class _Server(Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class _LoadBalancer(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass_host_header: bool
    servers: list[_Server]
    servers_transport: str | UnsetType = UNSET


class _Service(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    load_balancer: _LoadBalancer


class _Timeouts(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    idle_conn_timeout: str


class _Transport(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    forwarding_timeouts: _Timeouts


class _Http(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    routers: dict[str, _Router]
    services: dict[str, _Service]
    servers_transports: dict[str, _Transport] | UnsetType = UNSET


class _Dynamic(Struct, frozen=True, forbid_unknown_fields=True):
    http: _Http


class Entry(Struct, frozen=True):
    """Through which of Traefik's entry points services are reached, and who gets the certificates; "" is plain http."""

    point: str = "web"
    resolver: str = ""


def name_of(service_id: str) -> str:
    """What Traefik knows a service by.

    >>> name_of("01a2")
    'ah-01a2'
    """
    return f"ah-{service_id}"


def rule_of(hosts: tuple[str, ...]) -> str:
    """The rule that these hosts match and no others.

    >>> rule_of(("a.example", "b.example"))
    'Host(`a.example`) || Host(`b.example`)'
    """
    return " || ".join(f"Host(`{host}`)" for host in hosts)


def transport_of(route: Route) -> str:
    """Whose connections requests go over: those of this generation; "" for Traefik's own.

    >>> transport_of(Route("01a2", generation="c0ffee"))
    'ah-01a2-c0ffee'
    """
    return f"{name_of(route.service_id)}-{route.generation}" if route.generation else ""


def urls_of(route: Route) -> frozenset[str]:
    """The servers as Traefik has them."""
    return frozenset(f"http://{server}" for server in route.servers)


def written(route: Route, entry: Entry) -> bytes:
    """The file of one service: JSON, which is YAML. Raises ValueError for a host or an address that is none."""
    for host in route.hosts:
        if not is_canonical(host):
            raise ValueError(f"{host!r} is no host name as they are kept here")
    for server in route.servers:
        check_server(server)
    name = name_of(route.service_id)
    tls = _Tls(entry.resolver) if entry.resolver else UNSET
    transport = transport_of(route)
    servers = [_Server(f"http://{server}") for server in route.servers]
    kept = _Transport(_Timeouts(f"{limits.FORWARD_KEEPALIVE_S:g}s"))
    dynamic = _Dynamic(
        _Http(
            routers={name: _Router([entry.point], rule_of(route.hosts), name, tls)},
            services={name: _Service(_LoadBalancer(True, servers, transport or UNSET))},
            servers_transports={transport: kept} if transport else UNSET,
        )
    )
    data = msgspec.json.format(msgspec.json.encode(dynamic), indent=1)
    if msgspec.json.decode(data, type=_Dynamic) != dynamic:
        raise ValueError(f"what was written for {route.service_id} does not read back")
    return data + b"\n"


def check_server(server: str) -> None:
    """Raises ValueError where it is not an address and a port."""
    found = _SERVER.fullmatch(server)
    if found is None or not 0 < int(found[2]) < 65_536:
        raise ValueError(f"{server!r} is not an address and a port")
    ipaddress.ip_address(found[1].strip("[]"))


def without_a_host_twice(routes: list[Route]) -> tuple[list[Route], list[str]]:
    """(the routes with each host in the first of them only, the hosts that were taken from others).

    Traefik would let one of two take it, without a word.
    """
    seen: set[str] = set()
    kept, twice = [], []
    for route in routes:
        own = tuple(host for host in route.hosts if host not in seen)
        twice += [host for host in route.hosts if host in seen]
        seen.update(own)
        kept.append(structs.replace(route, hosts=own) if own != route.hosts else route)
    return kept, twice


class Shown(Struct, frozen=True):
    """What is in force of a service: where its requests go, and over whose connections."""

    servers: frozenset[str]
    transport: str = ""


def shown(answer: Any) -> Shown | None:
    """A service as Traefik's API has it; None where it is not in force.

    >>> shown({"status": "enabled", "loadBalancer": {"servers": [{"url": "http://a:1"}], "serversTransport": "t@file"}})
    Shown(servers=frozenset({'http://a:1'}), transport='t')
    """
    if not isinstance(answer, dict) or answer.get("status") != "enabled":
        return None
    balancer = answer.get("loadBalancer") or {}
    servers = frozenset(str(server.get("url")) for server in balancer.get("servers") or ())
    return Shown(servers, str(balancer.get("serversTransport") or "").partition("@")[0])
