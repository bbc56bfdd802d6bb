"""A name server on loopback, which knows TXT records and CNAMEs, and can misbehave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

HOST = "127.0.0.1"


class Nameserver:
    """`texts` are its TXT records by name, `aliases` its CNAMEs; what is in neither does not exist."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.aliases: dict[str, str] = {}
        self.fails = False
        self.is_silent = False
        self.lies = False  # a datagram with another id comes before the answer
        self.asked: list[tuple[str, str]] = []  # (udp or tcp, name)
        self.port = 0

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """What it says to a question."""
        answer = dns.message.make_response(query)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        if self.fails:
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer
        while name in self.aliases:
            answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{self.aliases[name]}."))
            name = self.aliases[name]
        if name in self.texts:
            quoted = [" ".join(f'"{part}"' for part in text.split("|")) for text in self.texts[name]]
            answer.answer.append(dns.rrset.from_text_list(f"{name}.", 60, "IN", "TXT", quoted))
        elif not answer.answer:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self.server = server

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, packet: bytes, address: Any) -> None:
        query = dns.message.from_wire(packet)
        self.server.asked.append(("udp", query.question[0].name.to_text(omit_final_dot=True)))
        if self.server.is_silent:
            return
        if self.server.lies:
            forged = dns.message.make_response(query)
            forged.id = query.id ^ 1
            forged.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", '"forged"'))
            self.transport.sendto(forged.to_wire(), address)
        answer = self.server.answer(query)
        self.transport.sendto(answer.to_wire(max_size=512, prefer_truncation=True), address)


@asynccontextmanager
async def a_nameserver() -> AsyncIterator[Nameserver]:
    """One that answers over UDP, cut at 512 bytes, and over TCP, on one port."""
    server = Nameserver()

    async def answer_over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        query = dns.message.from_wire(packet)
        server.asked.append(("tcp", query.question[0].name.to_text(omit_final_dot=True)))
        wire = server.answer(query).to_wire(max_size=65_535)
        writer.write(len(wire).to_bytes(2, "big") + wire)
        await writer.drain()
        writer.close()

    tcp = await asyncio.start_server(answer_over_tcp, HOST, 0)
    server.port = tcp.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(server), (HOST, server.port))
    try:
        yield server
    finally:
        udp.close()
        tcp.close()
        await tcp.wait_closed()
