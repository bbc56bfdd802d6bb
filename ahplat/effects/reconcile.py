"""Level-triggered: looks at what is, compares it with what should be, and says the difference in events.

An engine's event, a timer and the start only *wake* the look at a service; what was found becomes `service.crashed` or
`service.drifted` with an intent behind it, and the same worker as always does the repair. `diff` is a function of values.
Where work on the service is open, or the engine does not answer, nothing is said: absence of proof is no proof.
"""

import asyncio
import logging
import random

from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.instances import ReportCrash, ReportDrift
from ahplat.effects.runner import Runner
from ahplat.effects.task import Platform
from ahplat.engines.engine import Instance
from ahplat.errors import EngineAway, Rejected, Unavailable, Unreadable
from events.services import ServiceDrifted
from projections import services, todo
from projections.services import InstanceRow, ServiceRow

logger = logging.getLogger("ahplat.reconcile")


class Crash(Struct, frozen=True):
    """An instance that should run has ended by itself."""

    instance: Instance


Finding = Crash | ServiceDrifted


def diff(service: ServiceRow, wanted: list[InstanceRow], actual: list[Instance], epoch: int) -> list[Finding]:
    """What is not as it should be, of one service without open work. Empty when all is well.

    `wanted` are the instances that should run, `actual` everything of the service that the engine has.
    """
    by_id = {instance.id: instance for instance in actual}
    findings: list[Finding] = []
    for row in wanted if service.desired == "running" else []:
        found = by_id.pop(row.instance, None)
        if found is None:
            findings.append(ServiceDrifted(row.deployment_id, "missing", row.replica, row.instance))
        elif found.identity.epoch != epoch:
            findings.append(ServiceDrifted(row.deployment_id, "foreign_epoch", row.replica, row.instance))
        elif found.state == "exited":
            findings.append(Crash(found))
        elif found.state != "running":
            findings.append(ServiceDrifted(row.deployment_id, found.state, row.replica, row.instance))
        elif (found.host, found.port) != (row.host, row.port):
            findings.append(ServiceDrifted(row.deployment_id, "moved", row.replica, row.instance))
    findings += [
        ServiceDrifted(one.identity.deployment, "stray", one.identity.replica, one.id) for one in by_id.values()
    ]
    return findings


class Reconciler:
    """Wakes at once on the engine's events, and over everything every RECONCILE_S with jitter."""

    def __init__(self, platform: Platform, runner: Runner) -> None:
        self.platform = platform
        self.runner = runner
        self.drifts = 0
        self._loops: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Starts to watch and to tick."""
        self._loops = [
            asyncio.create_task(self._watch(), name="engine events"),
            asyncio.create_task(self._tick(), name="reconcile"),
        ]

    async def close(self) -> None:
        """Stops both."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                async for service_id in self.platform.engine.watch():
                    await self._look_at(service_id)
            except EngineAway as away:
                logger.warning("the engine is away: %s", away.detail)
                self.runner.engine_away = True
            while not (await self.platform.engine.status()).available:  # noqa: ASYNC110 — nothing tells us
                await asyncio.sleep(limits.ENGINE_PROBE_S)
            self.runner.engine_back()
            await self.look_at_all()

    async def _tick(self) -> None:
        while True:
            await self.look_at_all()
            await asyncio.sleep(limits.RECONCILE_S * random.uniform(0.8, 1.2))  # noqa: S311 — no secret

    async def look_at_all(self) -> None:
        """Looks at every service, and at what protects the host. On an engine's error nothing is changed."""
        seen = [self._wanted(row) for row in services.list_all(self.platform.views)]
        try:
            for line in await self.platform.engine.guard():
                logger.warning("repaired: %s", line)
            actual: dict[str, list[Instance]] = {}
            for instance in await self.platform.engine.list():
                actual.setdefault(instance.identity.service, []).append(instance)
        except Unavailable:
            return
        for service, wanted in seen:
            await self._compare(service, wanted, actual.get(service.service_id, []))

    async def _look_at(self, service_id: str) -> None:
        service = services.find(self.platform.views, service_id)
        if service and service.desired != "deleted":
            await self._compare(*self._wanted(service), await self.platform.engine.list(service_id))

    def _wanted(self, service: ServiceRow) -> tuple[ServiceRow, list[InstanceRow]]:
        """What should run, read before the engine is asked: the report holds only if the service has not moved since."""
        return service, services.instances_of(self.platform.views, service.service_id)

    async def _compare(self, service: ServiceRow, wanted: list[InstanceRow], actual: list[Instance]) -> None:
        if todo.open_of(self.platform.views, f"service-{service.service_id}"):
            return
        findings = diff(service, wanted, actual, self.platform.epoch)
        if not findings:
            return
        self.drifts += 1
        try:
            report = await self._report(service, findings)
            await self.platform.writer.submit(report, actor="system", expected=service.version)
        except Rejected as refused:  # the world moved between the look and the report: the next look tells
            logger.info("service-%s: %s", service.service_id, refused.detail)
        except Unavailable as error:
            logger.warning("service-%s: %s", service.service_id, error)

    async def _report(self, service: ServiceRow, findings: list[Finding]) -> Command:
        now_us = self.platform.clock.now_us()
        for finding in findings:
            if isinstance(finding, Crash):
                return ReportCrash(
                    tenant_id=service.tenant_id,
                    service_id=service.service_id,
                    instance=finding.instance.id,
                    seen_us=now_us,
                    exit_code=finding.instance.exit_code,
                    oom_killed=finding.instance.oom_killed,
                    tail=await self._sealed_tail(service, finding.instance.id),
                )
        drifted = [finding for finding in findings if isinstance(finding, ServiceDrifted)]
        return ReportDrift(tenant_id=service.tenant_id, service_id=service.service_id, seen_us=now_us, findings=drifted)

    async def _sealed_tail(self, service: ServiceRow, instance: str) -> bytes:
        try:
            tail = await self.platform.engine.tail(instance, limits.OUTCOME_TAIL_LINES)
            stream = f"service-{service.service_id}"
            return self.platform.keyring.seal(service.tenant_id, stream, "tail", tail.encode()) if tail else b""
        except (Unavailable, Unreadable):
            return b""
