"""Level-triggered: looks at what is, compares it with what should be, and says the difference in events.

An engine's event, a timer and the start only *wake* the look at a service; what was found becomes `service.crashed` or
`service.drifted` with an intent behind it, and the same worker as always does the repair. `diff` is a function of values.
Where work on the service is open, or the engine does not answer, nothing is said: absence of proof is no proof. What was
put off for open work is looked at again when that has its outcome; parked work is open too, until an operator looked.
"""

import asyncio
import logging
import random
from contextlib import suppress

from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.instances import ReportCrash, ReportDrift
from ahplat.effects.circuits import CircuitLook
from ahplat.effects.memberships import MembershipLook
from ahplat.effects.reconcile_databases import DatabaseLook
from ahplat.effects.runner import Runner
from ahplat.effects.specs import deployment_up, name_of
from ahplat.effects.task import Platform
from ahplat.effects.turns import each_service, in_turns
from ahplat.engines.engine import ROUTER, Instance
from ahplat.errors import Rejected, Unavailable, Unreadable
from events.event import Event, Outcome, Recorded
from events.services import ServiceDrifted
from projections import instances, services, todo
from projections.instances import InstanceRow
from projections.services import ServiceRow

logger = logging.getLogger("ahplat.reconcile")


class Crash(Struct, frozen=True):
    """An instance that should run has ended by itself."""

    instance: Instance


Finding = Crash | ServiceDrifted


class Wanted(Struct, frozen=True):
    """What should be of a service: `replicas` of its deployment (0: nothing), and where those that came to answer do."""

    service: ServiceRow
    replicas: int
    placed: list[InstanceRow]


def diff(wanted: Wanted, actual: list[Instance], epoch: int, watched: bool = True) -> list[Finding]:
    """What is not as it should be, of one service without open work. Empty when all is well.

    `actual` is everything of the service that the engine has; what is being taken away is as good as gone. An end that
    nobody watched is no crash: the engine, or the whole machine, may have ended with it.
    """
    by_id = {instance.id: instance for instance in actual if instance.state != "removing"}
    placed = {row.replica: row for row in wanted.placed}
    findings: list[Finding] = []
    for replica in range(1, wanted.replicas + 1):
        row = placed.get(replica)
        found = by_id.pop(row.instance, None) if row else None
        if row is None or found is None:
            instance = row.instance if row else ""
            findings.append(ServiceDrifted(wanted.service.deployment_id or "", "missing", replica, instance))
        elif found.identity.epoch != epoch:
            findings.append(ServiceDrifted(row.deployment_id, "foreign_epoch", replica, row.instance))
        elif found.state == "exited":
            drifted = ServiceDrifted(row.deployment_id, "exited", replica, row.instance)
            findings.append(Crash(found) if watched else drifted)
        elif found.state != "running":
            findings.append(ServiceDrifted(row.deployment_id, found.state, replica, row.instance))
        elif (found.host, found.port) != (row.host, row.port):
            findings.append(ServiceDrifted(row.deployment_id, "moved", replica, row.instance))
        elif found.name != name_of(found.identity):
            findings.append(ServiceDrifted(row.deployment_id, "renamed", replica, row.instance))
    findings += [
        ServiceDrifted(one.identity.deployment, "stray", one.identity.replica, one.id) for one in by_id.values()
    ]
    return findings


class Reconciler:
    """Wakes at once on the engine's events, and over everything every `every_s` with jitter."""

    def __init__(self, platform: Platform, runner: Runner, every_s: float = limits.RECONCILE_S) -> None:
        self.platform = platform
        self.runner = runner
        self.every_s = every_s
        self.databases = DatabaseLook(platform, self._is_busy)
        self.circuits = CircuitLook(platform, self._is_busy)
        self.memberships = MembershipLook(platform)
        self.drifts = 0
        self._loops: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._everything = False
        self._watched = False  # all the time since everything was looked at
        self._hinted: dict[str, None] = {}  # services and databases to be looked at, in order
        self._put_off: set[str] = set()  # of those, who had open work when they were to be looked at

    def begin(self) -> None:
        """Starts to watch and to look."""
        self.platform.writer.on_commit.append(self._committed)
        self.platform.writer.on_caught_up.append(self.hint_at_all)
        self.runner.on_free = self._freed
        self._loops = [
            asyncio.create_task(self._watch(), name="engine events"),
            asyncio.create_task(self._look(), name="reconcile"),
        ]

    async def close(self) -> None:
        """Stops both."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    # what wakes it

    def hint(self, service_id: str) -> None:
        """Something of the service may have changed."""
        self._hinted[service_id] = None
        self._wake.set()

    def hint_at_all(self) -> None:
        """Anything may have changed."""
        self._everything = True
        self._wake.set()

    def _committed(self, facts: list[tuple[Recorded, Event]]) -> None:
        for at, event in facts:
            if isinstance(event, Outcome):
                self._freed(at.stream)

    def _freed(self, subject: str) -> None:
        service_id = subject.partition("-")[2]
        if service_id in self._put_off:
            self.hint(service_id)

    async def _watch(self) -> None:
        while True:
            # nobody says when a watch has begun: what happened before is found a little later
            soon = asyncio.get_running_loop().call_later(limits.ENGINE_PROBE_S, self.hint_at_all)
            try:
                async for service_id in self.platform.engine.watch():
                    self.hint(service_id)
            except Unavailable as error:
                logger.warning("the engine's events ended: %s", error.detail)
            except Exception:
                logger.exception("the engine's events ended")
            finally:
                soon.cancel()
                self._watched = False
                self.runner.interrupted()
            await asyncio.sleep(limits.ENGINE_PROBE_S)
            await self.runner.engine_back()

    async def _look(self) -> None:
        """Looks at what was hinted at, and at everything when that has its time; soon, where a look broke off."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._wake.clear()
            try:
                if self._everything or loop.time() >= due:
                    self._everything = False
                    due = loop.time() + self.every_s * random.uniform(0.8, 1.2)  # noqa: S311 — no secret
                    await self.look_at_all()
                while self._hinted:
                    self._hinted.pop(service_id := next(iter(self._hinted)))
                    await self._look_at(service_id)
            except Unavailable as error:
                logger.info("not looked at: %s", error)
                await self.runner.engine_back()
                due = loop.time() + limits.ENGINE_PROBE_S
            except Exception:
                logger.exception("a look broke off")
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()

    # the look

    async def look_at_all(self) -> None:
        """Looks at all services and databases, the host's protection and who answers names. Raises Unavailable."""
        await self._guard()
        await self.platform.names.look()
        await self.memberships.look_at_all()
        seen = [self._wanted(row) async for row in each_service(self.platform.views)]
        actual: dict[str, list[Instance]] = {}
        for instance in await self.platform.engine.list():
            actual.setdefault(instance.identity.service, []).append(instance)
        async for wanted in in_turns(seen):
            await self._compare(wanted, actual.get(wanted.service.service_id, []))
        await self.databases.look_at_all(self._watched)
        await self.circuits.look_at_all()
        self._watched = True

    async def _guard(self) -> None:
        try:
            for line in await self.platform.engine.guard():
                logger.warning("repaired: %s", line)
        except Unavailable as error:
            logger.warning("what protects the host was not looked at: %s", error)

    async def _look_at(self, service_id: str) -> None:
        if service_id == ROUTER:
            await self.memberships.look_at_all()
            return
        service = services.find(self.platform.views, service_id)
        if service is None:
            await self.databases.look_at(service_id, self._watched)
        elif service.desired != "deleted" and not self._is_busy(f"service-{service_id}"):
            await self._compare(self._wanted(service), await self.platform.engine.list(service_id))

    def _wanted(self, service: ServiceRow) -> Wanted:
        """What should run, read before the engine is asked: the report holds only if the service has not moved since."""
        views = self.platform.views
        up = deployment_up(views, service)
        return Wanted(service, up.replicas if up else 0, instances.list_of(views, service.service_id))

    def _is_busy(self, subject: str) -> bool:
        """Whether work on a stream is open or being cleaned up after; then it is looked at once that has ended."""
        service_id = subject.partition("-")[2]
        self._put_off.discard(service_id)
        if self.runner.is_at(subject) or todo.open_of(self.platform.views, subject):
            self._put_off.add(service_id)
            return True
        return False

    async def _compare(self, wanted: Wanted, actual: list[Instance]) -> None:
        service = wanted.service
        if self._is_busy(f"service-{service.service_id}"):
            return
        findings = diff(wanted, actual, self.platform.epoch, self._watched)
        if not findings:
            return
        self.drifts += 1
        try:
            report = await self._report(service, findings)
            await self.platform.writer.submit(report, actor="system", expected=service.version)
        except Rejected as refused:  # the world moved between the look and the report: the next look tells
            logger.info("service-%s: %s", service.service_id, refused.detail)

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
