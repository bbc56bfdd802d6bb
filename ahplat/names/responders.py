"""One responder for each network of a tenant that is there on this machine, and none for what is gone.

Level-triggered: `look` compares the networks that tenants may have with the devices that the kernel has, and opens or
closes what differs. A bridge that came back under its old name is another device, so its responder is opened anew. What
cannot be opened is kept as a line for health and tried again at the next look: services run without it.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable

from ahplat import limits
from ahplat.api.throttle import Buckets
from ahplat.clock import Clock
from ahplat.log_lines import nobodys
from ahplat.names.responder import Desk, Responder, Site
from ahplat.names.upstream import Upstreams
from ahplat.names.zone import Find

logger = logging.getLogger("ahplat.names")

PORT = 53  # a resolv.conf can name no other

Sites = Callable[[str], Iterable[Site]]
"""Every network of one tenant, or of all for "", whether it is there now or not."""


class Responders:
    """See the module. `look` where a network was made, and now and then."""

    def __init__(self, sites: Sites, find: Find, upstreams: Upstreams, clock: Clock, port: int = PORT) -> None:
        rates = Buckets(limits.NAMES_RATE, limits.NAMES_BURST, 2 * limits.TENANTS)
        self.failures: dict[Site, str] = {}  # what could not be opened, and why
        self._desk = Desk(find, upstreams, rates, clock)
        self._sites = sites
        self._port = port
        self._open: dict[Site, tuple[int, Responder]] = {}  # with the number of the device
        self._looking = asyncio.Lock()
        self._closed = False

    @property
    def open(self) -> dict[Site, Responder]:
        """Those that answer now."""
        return {site: responder for site, (_, responder) in self._open.items()}

    async def look(self, tenant: str = "") -> None:
        """Has what is there of one tenant, or of all, answered, and nothing else. What cannot be is in `failures`."""
        async with self._looking:
            if self._closed:
                return
            devices = {name: number for number, name in socket.if_nameindex()}
            wanted = {site: devices[site.device] for site in self._sites(tenant) if site.device in devices}
            for site in [*self._open, *self.failures]:
                if tenant in ("", site.tenant):
                    await self._end(site, unless_on=wanted.get(site))
            for site, number in wanted.items():
                if site not in self._open:
                    await self._begin(site, number)

    async def close(self) -> None:
        """Lets go of all sockets."""
        async with self._looking:
            self._closed = True
            for _, responder in self._open.values():
                await responder.close()
            self._open.clear()

    async def _end(self, site: Site, unless_on: int | None) -> None:
        if unless_on is None:
            self.failures.pop(site, None)
        if site in self._open and self._open[site][0] != unless_on:
            _, responder = self._open.pop(site)
            await responder.close()

    async def _begin(self, site: Site, number: int) -> None:
        responder = Responder(site, self._desk)
        try:
            with nobodys():
                await responder.open(self._port)
        except OSError as error:
            why = f"names are not answered on {site.address}:{self._port} ({site.device}): {error.strerror}"
            if self.failures.get(site) != why:
                logger.warning("%s", why)
            self.failures[site] = why
            return
        self.failures.pop(site, None)
        self._open[site] = number, responder
