"""Answers one network's questions for names, over UDP and TCP, on the address that the host has in it.

Whose questions they are is known by the socket that they come in at: it is bound to that address and to that bridge, so
the kernel hands it nothing from anywhere else, whatever a packet says of its sender. Names of the tenant's own are
answered at once; others are passed on where the network is one to the internet, and else do not exist. What is no
question is dropped. Bounded: a packet's size, questions a second (of a tenant, of all) and under way, connections.
"""

import asyncio
import logging
import socket

import apsw
import dns.exception
import dns.message
from msgspec import Struct

from ahplat import limits
from ahplat.api.throttle import Buckets
from ahplat.clock import Clock
from ahplat.names import message
from ahplat.names.message import Query
from ahplat.names.packets import Packets
from ahplat.names.upstream import Upstreams, may_leave
from ahplat.names.zone import Find

logger = logging.getLogger("ahplat.names")

EVERYBODY = ""  # no tenant's id


class Site(Struct, frozen=True):
    """Where names are answered: on `address` for what comes by `device`. `passes_on`: names outside are asked for."""

    tenant: str
    device: str
    address: str
    passes_on: bool


class Desk(Struct, frozen=True):
    """What all responders share. `rates` counts by tenant, and EVERYBODY."""

    find: Find
    upstreams: Upstreams
    rates: Buckets
    clock: Clock


class Responder:
    """One site's. `open` binds it, or raises OSError and leaves nothing behind."""

    def __init__(self, site: Site, desk: Desk) -> None:
        self.site = site
        self.port = 0
        self._desk = desk
        self._udp: Packets | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, port: int) -> None:
        """Listens; port 0 is any one that is free for UDP. Raises OSError."""
        udp, tcp = _bound(self.site, port)
        try:
            self._tcp = await asyncio.start_server(self._connected, sock=tcp, backlog=limits.NAMES_CONNECTIONS)
        except OSError:
            udp.close()
            tcp.close()
            raise
        self.port = int(udp.getsockname()[1])
        self._udp = Packets(udp, self._may, self.datagram)

    async def close(self) -> None:
        """Lets go of both sockets, and of whoever waits for an answer."""
        if self._tcp:
            self._tcp.close()
        if self._udp:
            self._udp.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # questions

    def at_once(self, packet: bytes, is_udp: bool) -> bytes | Query | None:
        """The answer to a packet, or the question that is to be passed on; None: it is dropped."""
        desk, site = self._desk, self.site
        query = message.read(packet)
        if not isinstance(query, Query):
            return query
        if site.passes_on and may_leave(query):
            return query
        try:
            addresses = desk.find(site.tenant, query.labels)
        except apsw.Error:
            logger.exception("a name could not be looked up")
            return message.written(query, message.failed(query), is_udp)
        answer = message.unknown(query) if addresses is None else message.known(query, addresses)
        return message.written(query, answer, is_udp)

    def _may(self) -> bool:
        """Whether one more question of the tenant, and of all, may be answered now."""
        rates, now = self._desk.rates, self._desk.clock.monotonic()
        return rates.take(self.site.tenant, now).allowed and rates.take(EVERYBODY, now, limits.NAMES_RATE_ALL).allowed

    async def passed_on(self, query: Query, is_udp: bool) -> bytes:
        """What others answer."""
        theirs = await self._desk.upstreams.ask(self.site.tenant, query)
        if theirs is not None:
            try:
                return message.written(query, message.passed_on(query, theirs), is_udp)
            except (dns.exception.DNSException, ValueError):
                logger.info("an answer from outside could not be passed on", exc_info=True)
        return message.written(query, message.failed(query), is_udp)

    # UDP

    def datagram(self, packet: bytes, sender: tuple[str, int]) -> None:
        """Answers one packet, now or when others have answered."""
        answer = self.at_once(packet, is_udp=True)
        if isinstance(answer, Query):
            self._begin(asyncio.create_task(self._answer_later(answer, sender), name="name passed on"))
        elif answer is not None and self._udp:
            self._udp.send(answer, sender)

    async def _answer_later(self, query: Query, sender: tuple[str, int]) -> None:
        answer = await self.passed_on(query, is_udp=True)
        if self._udp:
            self._udp.send(answer, sender)

    # TCP

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        try:
            if len(self._tasks) < limits.NAMES_CONNECTIONS:
                self._begin(task)
                await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            logger.debug("a connection for names ended early")
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question after the other, each with its length before it (RFC 7766), until it is silent or says nonsense."""
        for _ in range(limits.NAMES_TCP_QUESTIONS):
            async with asyncio.timeout(limits.NAMES_TCP_IDLE_S):
                size = int.from_bytes(await reader.readexactly(2), "big")
                if size > limits.NAMES_QUERY_BYTES:
                    return
                packet = await reader.readexactly(size)
                while not self._may():  # noqa: ASYNC110 — what a rate allows is no event
                    await asyncio.sleep(limits.NAMES_PAUSE_S)
            answer = self.at_once(packet, is_udp=False)
            if isinstance(answer, Query):
                answer = await self.passed_on(answer, is_udp=False)
            if answer is None:
                return
            writer.write(len(answer).to_bytes(2, "big") + answer)
            async with asyncio.timeout(limits.NAMES_TCP_IDLE_S):
                await writer.drain()

    def _begin(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _bound(site: Site, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets for what comes to the address by the device, and from nowhere else: both, or OSError."""
    udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for made in (udp, tcp):
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, site.device.encode() + b"\0")
            made.bind((site.address, port or (0 if made is udp else udp.getsockname()[1])))
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp
