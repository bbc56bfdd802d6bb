"""A responder over real sockets: the tenant's own names, bounded, and nothing that is sent to it breaks it."""

import asyncio
import socket
from pathlib import Path

import apsw
import dns.asyncquery
import dns.exception
import dns.message
import dns.rrset
import pytest

from ahplat import limits
from ahplat.names.responder import Responder, Site
from ahplat.names.upstream import Upstreams
from tests.names.asking import HOST, a_desk, an_upstream, framed, over_tcp, responding, said, tcp, udp

NOWHERE = Path("/nowhere/resolv.conf")
WEB = ["10.0.0.1", "10.0.0.2"]
OUTSIDE = ("NOERROR", ["203.0.113.2"])


def outside(query: dns.message.Message) -> dns.message.Message:
    """Every name is 203.0.113.2."""
    answer = dns.message.make_response(query)
    answer.answer = [dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "203.0.113.2")]
    return answer


async def test_names_are_answered_over_udp_and_tcp() -> None:
    async with responding(a_desk()) as responder:
        for ask in (udp, tcp):
            assert said(await ask(responder, "web.internal")) == ("NOERROR", WEB)
            assert said(await ask(responder, "WEB.INTERNAL")) == ("NOERROR", WEB)
            assert said(await ask(responder, "idle.internal")) == ("NOERROR", [])
            assert said(await ask(responder, "web.internal", "AAAA")) == ("NOERROR", [])
            assert said(await ask(responder, "nobody.internal")) == ("NXDOMAIN", [])
            assert said(await ask(responder, "example.org")) == ("NXDOMAIN", [])


async def test_who_asks_is_who_the_socket_belongs_to() -> None:
    async with responding(a_desk(), tenant="other") as responder:
        assert said(await udp(responder, "web.internal")) == ("NXDOMAIN", [])


async def test_only_a_network_to_the_internet_passes_names_on() -> None:
    async with an_upstream(outside) as upstream:
        desk = a_desk(upstreams=Upstreams((upstream,)))
        async with responding(desk, passes_on=True) as out, responding(desk) as shut:
            for ask in (udp, tcp):
                assert said(await ask(out, "example.org")) == OUTSIDE
                assert said(await ask(shut, "example.org")) == ("NXDOMAIN", [])
                assert said(await ask(out, "web.internal")) == ("NOERROR", WEB)
                assert said(await ask(out, "nobody.internal")) == ("NXDOMAIN", [])
                for local in ("intranet", "nas.local", "localhost", "router.lan", "."):
                    assert said(await ask(out, local)) == ("NXDOMAIN", [])


async def test_where_others_say_nothing_the_question_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES_UPSTREAM_S", 0.1)
    for answer in (lambda query: None, lambda query: b"nonsense", lambda query: query.to_wire()):
        async with (
            an_upstream(answer) as upstream,
            responding(a_desk(upstreams=Upstreams((upstream,))), passes_on=True) as responder,
        ):
            assert said(await udp(responder, "example.org")) == ("SERVFAIL", [])
            assert said(await udp(responder, "web.internal")) == ("NOERROR", WEB)
    async with responding(a_desk(upstreams=Upstreams((), resolv_conf=NOWHERE)), passes_on=True) as responder:
        assert said(await udp(responder, "example.org")) == ("SERVFAIL", [])


async def test_the_next_one_is_asked_where_one_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES_UPSTREAM_S", 0.1)
    async with (
        an_upstream(lambda query: None) as silent,
        an_upstream(outside) as upstream,
        responding(a_desk(upstreams=Upstreams((silent, upstream))), passes_on=True) as responder,
    ):
        assert said(await udp(responder, "example.org")) == OUTSIDE


async def test_one_tenant_has_only_so_many_questions_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES_FORWARDS_EACH", 2)
    monkeypatch.setattr(limits, "NAMES_FORWARD_S", 0.5)
    async with an_upstream(lambda query: None) as silent, an_upstream(outside) as upstream:
        upstreams = Upstreams((silent, upstream))
        async with responding(a_desk(upstreams=upstreams), passes_on=True) as responder:
            began = asyncio.get_running_loop().time()
            held = [asyncio.create_task(udp(responder, f"{n}.example.org")) for n in range(2)]
            while upstreams._under_way.total() < 2:
                await asyncio.sleep(0)
            assert said(await udp(responder, "third.example.org")) == ("SERVFAIL", [])
            assert asyncio.get_running_loop().time() - began < 0.4, "at once"
            assert [said(answer) for answer in await asyncio.gather(*held)] == [("SERVFAIL", [])] * 2
            assert upstreams._under_way.total() == 0


async def test_what_is_above_a_tenants_rate_waits_its_turn() -> None:
    async with responding(a_desk(rate=40)) as responder:
        began = asyncio.get_running_loop().time()
        asked = [udp(responder, "web.internal") for _ in range(80)] + [
            tcp(responder, "web.internal") for _ in range(10)
        ]
        assert {said(answer)[0] for answer in await asyncio.gather(*asked)} == {"NOERROR"}
        assert asyncio.get_running_loop().time() - began >= (90 - 80) / 40 - 0.1


async def test_what_all_ask_together_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES_RATE_ALL", 20)
    desk = a_desk(rate=40)
    async with responding(desk) as one, responding(desk, tenant="other") as two:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(udp(each, "web.internal") for each in (one, two) for _ in range(22)))
        assert asyncio.get_running_loop().time() - began >= (44 - 40) / 20 - 0.1


async def test_of_a_flood_only_what_the_rate_allows_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest waits in the kernel: a pause begins, and until it ends the loop hears nothing of it."""
    monkeypatch.setattr(limits, "NAMES_PAUSE_S", 60)
    packet = dns.message.make_query("web.internal", "A").to_wire()
    async with responding(a_desk(rate=1)) as responder:
        heard: list[bytes] = []
        responder.at_once = lambda packet, is_udp: heard.append(packet)  # type: ignore[method-assign]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            for _ in range(5_000):
                flood.sendto(packet, (HOST, responder.port))
        async with asyncio.timeout(5):
            while len(heard) < 2:
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(heard) == 2


async def test_views_that_cannot_be_read_are_a_failure_and_no_more() -> None:
    def broken(tenant: str, labels: tuple[str, ...]) -> list[str] | None:
        raise apsw.BusyError("not now")

    async with responding(a_desk(find=broken)) as responder:
        assert said(await udp(responder, "web.internal")) == ("SERVFAIL", [])


async def test_nonsense_is_dropped_and_the_next_question_answered() -> None:
    async with responding(a_desk()) as responder:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for packet in (b"", b"x", bytes(12), b"\xff" * 5000, bytes(60_000)):
                sender.sendto(packet, (HOST, responder.port))
        for sent in (b"\xff\xff" + bytes(100), framed(b""), framed(b"x"), framed(b"\xff" * 100)):
            assert await over_tcp(responder, sent) == b""
        assert said(await udp(responder, "web.internal")) == ("NOERROR", WEB)
        assert said(await tcp(responder, "web.internal")) == ("NOERROR", WEB)


async def test_one_connection_carries_many_questions() -> None:
    packet = dns.message.make_query("web.internal", "A").to_wire()
    async with responding(a_desk()) as responder:
        reader, writer = await asyncio.open_connection(HOST, responder.port)
        writer.write(framed(packet) * 3)
        for _ in range(3):
            size = int.from_bytes(await reader.readexactly(2), "big")
            assert said(dns.message.from_wire(await reader.readexactly(size))) == ("NOERROR", WEB)
        writer.close()


async def test_a_connection_without_a_question_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES_TCP_IDLE_S", 0.05)
    async with responding(a_desk()) as responder:
        assert await over_tcp(responder, b"") == b""
        assert await over_tcp(responder, b"\0") == b""


async def test_no_more_connections_are_held_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES_CONNECTIONS", 2)
    async with responding(a_desk()) as responder:
        held = [await asyncio.open_connection(HOST, responder.port) for _ in range(2)]
        assert await over_tcp(responder, b"") == b""
        for _, writer in held:
            writer.close()
        assert said(await udp(responder, "web.internal")) == ("NOERROR", WEB)


async def test_what_is_closed_answers_nobody_and_can_be_opened_again() -> None:
    async with responding(a_desk()) as responder:
        held, _ = await asyncio.open_connection(HOST, responder.port)
        port = responder.port
    assert await asyncio.wait_for(held.read(), 5) == b""
    again = Responder(Site("acme", "lo", HOST, False), a_desk())
    await again.open(port)
    assert said(await udp(again, "web.internal")) == ("NOERROR", WEB)
    await again.close()
    with pytest.raises((dns.exception.Timeout, OSError)):
        await dns.asyncquery.udp(dns.message.make_query("web.internal", "A"), HOST, 0.05, port)


async def test_an_address_that_is_not_here_is_an_error_that_leaves_nothing_open() -> None:
    responder = Responder(Site("acme", "lo", "192.0.2.99", False), a_desk())
    with pytest.raises(OSError, match="assign"):
        await responder.open(0)
    with socket.create_server((HOST, 0)) as taken:
        responder = Responder(Site("acme", "lo", HOST, False), a_desk())
        with pytest.raises(OSError, match="in use"):
            await responder.open(taken.getsockname()[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(taken.getsockname())
