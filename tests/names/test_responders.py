"""There is a responder wherever there is a network of ours, and what cannot be is a line that comes and goes."""

import logging
import socket
from pathlib import Path

import pytest

from ahplat.clock import SystemClock
from ahplat.names.responder import Site
from ahplat.names.responders import Responders
from ahplat.names.upstream import Upstreams
from tests.names.asking import HOST, find, said, udp

LO = Site("acme", "lo", HOST, False)
GONE = Site("acme", "ahnosuchdevice", "192.0.2.1", False)
ELSEWHERE = Site("other", "lo", "192.0.2.99", False)
WEB = ("NOERROR", ["10.0.0.1", "10.0.0.2"])


class Wanted(list[Site]):
    """The networks that there may be; a test changes them."""

    def of(self, tenant: str) -> list[Site]:
        return [site for site in self if tenant in ("", site.tenant)]


@pytest.fixture
def wanted() -> Wanted:
    return Wanted([LO, GONE])


@pytest.fixture
def port() -> int:
    """One that was free a moment ago."""
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def responders(wanted: Wanted, port: int) -> Responders:
    return Responders(wanted.of, find, Upstreams(()), SystemClock(), port)


async def test_only_what_is_there_is_answered(responders: Responders) -> None:
    await responders.look()
    assert list(responders.open) == [LO]
    assert responders.failures == {}
    assert said(await udp(responders.open[LO], "web.internal")) == WEB
    await responders.close()


async def test_a_second_look_changes_nothing(responders: Responders) -> None:
    await responders.look()
    first = responders.open
    await responders.look()
    await responders.look("acme")
    assert responders.open == first
    await responders.close()


async def test_what_is_gone_is_closed_and_what_came_back_is_opened(responders: Responders, wanted: Wanted) -> None:
    await responders.look()
    wanted.clear()
    await responders.look("other")
    assert list(responders.open) == [LO], "that was a look at another tenant"
    await responders.look()
    assert responders.open == {}
    wanted.append(LO)
    await responders.look("acme")
    assert said(await udp(responders.open[LO], "web.internal")) == WEB
    await responders.close()


async def test_a_device_that_was_made_anew_has_its_responder_opened_anew(
    responders: Responders, monkeypatch: pytest.MonkeyPatch
) -> None:
    await responders.look()
    before = responders.open[LO]
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(99, "lo")])
    await responders.look()
    assert responders.open[LO] is not before
    assert said(await udp(responders.open[LO], "web.internal")) == WEB
    await responders.close()


async def test_what_cannot_be_opened_is_said_once_and_tried_again(
    responders: Responders, wanted: Wanted, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    wanted.append(ELSEWHERE)
    with socket.create_server((HOST, port)):
        for _ in range(3):
            await responders.look()
        assert responders.failures == {
            LO: f"names are not answered on 127.0.0.1:{port} (lo): Address already in use",
            ELSEWHERE: f"names are not answered on 192.0.2.99:{port} (lo): Cannot assign requested address",
        }
        assert len(caplog.records) == 2
    wanted.remove(ELSEWHERE)
    await responders.look()
    assert (responders.failures, list(responders.open)) == ({}, [LO])
    await responders.close()


async def test_after_the_end_nothing_is_opened(responders: Responders) -> None:
    await responders.look()
    await responders.close()
    await responders.look()
    assert responders.open == {}


def test_the_hosts_resolvers_are_asked_anew_each_time(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    upstreams = Upstreams((), conf)
    assert upstreams._of_the_host() == []
    conf.write_text("nameserver 192.0.2.1\nnameserver nonsense\n")
    assert upstreams._of_the_host() == [("192.0.2.1", 53)]
    conf.write_text("".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 9)))
    assert len(upstreams._of_the_host()) == 3
