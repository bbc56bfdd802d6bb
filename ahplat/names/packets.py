"""Reads the packets of one UDP socket as fast as its reader may, and no faster: what is above waits in the kernel.

A sender that floods it so costs the loop nothing: the kernel drops what does not fit. Invariant: at most one packet is
held here, and it is the next one that is handed on.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from ahplat import limits

Sender = tuple[str, int]


class Packets:
    """See the module. `may` is asked before each packet; `take` gets it. The socket is ours to close."""

    def __init__(self, udp: socket.socket, may: Callable[[], bool], take: Callable[[bytes, Sender], None]) -> None:
        self._udp = udp
        self._may = may
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._held: tuple[bytes, Sender] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._loop.add_reader(udp, self._readable)

    def send(self, packet: bytes, to: Sender) -> None:
        """Sends one, if it can be sent now: who asked asks again."""
        with suppress(OSError):
            self._udp.sendto(packet, to)

    def close(self) -> None:
        """Reads no more, and closes the socket."""
        if self._later:
            self._later.cancel()
        self._loop.remove_reader(self._udp)
        self._udp.close()

    def _readable(self) -> None:
        for _ in range(limits.NAMES_PACKETS_AT_ONCE):
            try:
                self._held = self._held or self._udp.recvfrom(limits.NAMES_QUERY_BYTES + 1)
            except OSError:  # there is none, or none that can be had
                return
            if not self._may():
                self._loop.remove_reader(self._udp)
                self._later = self._loop.call_later(limits.NAMES_PAUSE_S, self._go_on)
                return
            packet, self._held = self._held, None
            self._take(*packet)

    def _go_on(self) -> None:
        self._later = None
        self._loop.add_reader(self._udp, self._readable)
        self._readable()
