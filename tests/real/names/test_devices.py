"""A responder hears its own device only, and follows it when it goes and comes back under the same name."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ahplat.clock import SystemClock
from ahplat.names.responder import Site
from ahplat.names.responders import Responders
from ahplat.names.upstream import Upstreams
from tests.names.asking import find

pytestmark = pytest.mark.real

PORT = 5353
_ASK = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(1)
question = b"\\3web\\10internal\\0\\0\\1\\0\\1"
udp.sendto(bytes([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + question, (sys.argv[1], int(sys.argv[2])))
sys.exit(udp.recv(512)[3] & 15)
"""


class Neighbour:
    """Somebody in a namespace of their own, behind a device on which this machine is `address`, in a /29."""

    def __init__(self, address: str) -> None:
        name = secrets.token_hex(4)
        self.address = address
        self.device, self.namespace, self._inner = f"dh{name}", f"aht{name}", f"vi{name}"

    def wire(self) -> None:
        """Makes the device: each time another one of the same name."""
        there, theirs = ("-n", self.namespace), f"{self.address.rpartition('.')[0]}.{int(self.address[-1]) + 1}/29"
        _ip("link", "add", self.device, "type", "veth", "peer", "name", self._inner, "netns", self.namespace)
        _ip("addr", "add", f"{self.address}/29", "dev", self.device)
        _ip("link", "set", self.device, "up")
        _ip(*there, "addr", "add", theirs, "dev", self._inner)
        _ip(*there, "link", "set", self._inner, "up")
        _ip(*there, "route", "add", "default", "via", self.address)

    def cut(self) -> None:
        _ip("link", "del", self.device)

    async def hears(self, address: str) -> bool:
        """Whether a question of theirs for web.internal gets the answer that it is somewhere."""
        argv = ["ip", "netns", "exec", self.namespace, sys.executable, "-I", "-c", _ASK, address, str(PORT)]
        ended = await asyncio.to_thread(subprocess.run, argv, check=False, capture_output=True)
        return ended.returncode == 0


@contextmanager
def neighbours(*addresses: str) -> Iterator[list[Neighbour]]:
    made = [Neighbour(address) for address in addresses]
    try:
        for one in made:
            _ip("netns", "add", one.namespace)
            one.wire()
        yield made
    finally:
        for one in made:
            subprocess.run(["ip", "link", "del", one.device], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", one.namespace], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


async def test_each_device_has_its_own_responder_that_follows_it() -> None:
    with neighbours("198.51.100.1", "198.51.100.9") as (one, two):
        sites = [Site("acme", each.device, each.address, passes_on=False) for each in (one, two)]
        responders = Responders(lambda tenant: sites, find, Upstreams(()), SystemClock(), PORT)
        try:
            await responders.look()
            assert (len(responders.open), responders.failures) == (2, {})
            assert await one.hears(one.address)
            assert await two.hears(two.address)
            assert not await one.hears(two.address), "that is another tenant's, whatever the firewall says"
            one.cut()
            one.wire()
            assert not await one.hears(one.address), "it listens at what is gone"
            await responders.look()
            assert await one.hears(one.address)
            assert await two.hears(two.address)
            one.cut()
            await responders.look()
            assert [site.device for site in responders.open] == [two.device]
        finally:
            await responders.close()
