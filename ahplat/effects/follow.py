"""The router follows the routes view: at once when something of it changes, and over everything every `every_s`.

What a switch led it to stands until that has its outcome. What somebody else had told the router, by whatever way, is
told again and becomes `service.route_repaired`, so that it can be seen and asked about.
"""

import asyncio
import logging
import random
from contextlib import suppress

from ahplat import limits
from ahplat.commands.routes import ReportRouteRepair
from ahplat.effects.switch import current, settled
from ahplat.effects.task import Platform
from ahplat.errors import AhError, Unavailable
from ahplat.routers.router import Finding, Route
from events.event import Event, Outcome, Recorded
from projections import routes, services

logger = logging.getLogger("ahplat.router")


class Follower:
    """See the module. `own` are routes of the platform itself: `api.<domain>`."""

    def __init__(self, platform: Platform, own: list[Route], every_s: float = limits.RECONCILE_S) -> None:
        self.platform = platform
        self.every_s = every_s
        self.repairs = 0
        self._own = own
        self._wake = asyncio.Event()
        self._everything = False
        self._changed: dict[str, None] = {}  # services, in order
        self._loop: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts to follow."""
        self.platform.writer.on_commit.append(self._committed)
        self.platform.writer.on_caught_up.append(self._anything)
        self._loop = asyncio.create_task(self._follow(), name="router follows")

    async def close(self) -> None:
        """Stops; what the router was told stays."""
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    def _committed(self, facts: list[tuple[Recorded, Event]]) -> None:
        for at, event in facts:
            if isinstance(event, Outcome):
                self.platform.router.let_go(event.intent)
            if at.stream.startswith("service-"):
                self._changed[at.subject] = None
                self._wake.set()

    def _anything(self) -> None:
        self._everything = True
        self._wake.set()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._wake.clear()
            try:
                if self._everything or loop.time() >= due:
                    self._everything = False
                    due = loop.time() + self.every_s * random.uniform(0.8, 1.2)  # noqa: S311 — no secret
                    self._changed.clear()
                    await self.follow_all()
                await self._follow_changed()
            except Unavailable as error:
                logger.warning("the router could not be told: %s", error.detail)
                due = min(due, loop.time() + limits.ENGINE_PROBE_S)
            except Exception:
                logger.exception("the router could not be told")
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()

    async def follow_all(self) -> None:
        """Tells the router of all that there is. Raises Unavailable."""
        router, domain = self.platform.router, self.platform.domain

        def read() -> list[Route]:
            return [*self._own, *(settled(row, domain) for row in routes.list_all(self.platform.views))]

        await self._report(await router.follow(read, everything=True))

    async def _follow_changed(self) -> None:
        changed = list(self._changed)
        self._changed.clear()
        if changed:
            found = await self.platform.router.follow(
                lambda: [current(self.platform, service_id) for service_id in changed], everything=False
            )
            await self._report(found)

    async def _report(self, found: list[tuple[str, Finding]]) -> None:
        for service_id, finding in found:
            self.repairs += 1
            logger.warning("the router's part of service-%s was %s: it is told again", service_id, finding)
            service = services.find(self.platform.views, service_id)
            if service is None or service.desired == "deleted":
                continue
            report = ReportRouteRepair(tenant_id=service.tenant_id, service_id=service_id, finding=finding)
            try:
                await self.platform.writer.submit(report, actor="system")
            except AhError as error:
                logger.info("service-%s: %s", service_id, error.detail)
