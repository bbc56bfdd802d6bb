"""A responder on loopback, and how to ask it."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode

from ahplat import limits
from ahplat.api.throttle import Buckets
from ahplat.clock import SystemClock
from ahplat.names.responder import Desk, Responder, Site
from ahplat.names.upstream import Upstreams
from ahplat.names.zone import Find

HOST = "127.0.0.1"
NAMES = {("web", "internal"): ["10.0.0.1", "10.0.0.2"], ("idle", "internal"): []}


def find(tenant: str, labels: tuple[str, ...]) -> list[str] | None:
    """NAMES, for the tenant `acme` only."""
    return NAMES.get(labels) if tenant == "acme" else None


def a_desk(find: Find = find, upstreams: Upstreams | None = None, rate: float = limits.NAMES_RATE) -> Desk:
    return Desk(find, upstreams or Upstreams(()), Buckets(rate, max(1, int(2 * rate)), 10), SystemClock())


@asynccontextmanager
async def responding(desk: Desk, tenant: str = "acme", passes_on: bool = False) -> AsyncIterator[Responder]:
    """A responder of that tenant on a free port of loopback."""
    responder = await opened(Site(tenant, "lo", HOST, passes_on), desk)
    try:
        yield responder
    finally:
        await responder.close()


async def opened(site: Site, desk: Desk) -> Responder:
    """On a port that is free for both: a few tries find one."""
    for _ in range(20):
        responder = Responder(site, desk)
        with suppress(OSError):
            await responder.open(0)
            return responder
    raise AssertionError("no port is free for UDP and TCP")


async def udp(responder: Responder, name: str, kind: str = "A") -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, kind), HOST, 5, responder.port)


async def tcp(responder: Responder, name: str, kind: str = "A") -> dns.message.Message:
    return await dns.asyncquery.tcp(dns.message.make_query(name, kind), HOST, 5, responder.port)


def addresses(answer: dns.message.Message) -> list[str]:
    return sorted(record.address for rrset in answer.answer for record in rrset)


def said(answer: dns.message.Message) -> tuple[str, list[str]]:
    """Its code and addresses."""
    return dns.rcode.to_text(answer.rcode()), addresses(answer)


async def over_tcp(responder: Responder, sent: bytes) -> bytes:
    """All that it says to some bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection(HOST, responder.port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


def framed(packet: bytes) -> bytes:
    return struct.pack(">H", len(packet)) + packet


@asynccontextmanager
async def an_upstream(answer: Callable[[dns.message.Message], Any]) -> AsyncIterator[tuple[str, int]]:
    """Somebody else's server: says what `answer` makes of each question, in bytes or as a message; None is silence."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            said = answer(dns.message.from_wire(data))
            if said is not None:
                self.transport.sendto(said if isinstance(said, bytes) else said.to_wire(), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=(HOST, 0))
    try:
        yield transport.get_extra_info("sockname")
    finally:
        transport.close()
