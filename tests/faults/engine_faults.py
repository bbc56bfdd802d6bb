"""One story on the server in this process, whose simulated engine, builder or disk fails at one point of one intent.

A `Fault` takes the place of the crash points: where a server would die, the fault begins instead. Once somebody has felt
it, or the story was told without that, it ends, and the server is restarted. `dockerd dead` lasts until after that start.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import apsw
import pytest

from ahplat import limits
from ahplat.builders.build_logs import BuildLog
from ahplat.builders.builder import Job
from ahplat.effects.task import Task
from ahplat.engines.engine import EngineStatus
from ahplat.errors import EngineAway, Rejected, Unavailable
from ahplat.log_lines import about
from events.event import wire_name
from events.log import EventLog
from projections.views import Views
from tests.api.site import BOOTSTRAP, HTTPS, Site
from tests.builds.simulated import SimulatedBuilder
from tests.engines.simulated import Ran, SimulatedEngine
from tests.faults.agents import Agent, check_repeats, history_of
from tests.faults.harness import PATIENCE_S, Answer, Server
from tests.faults.history import faults
from tests.faults.kills import sets_variables
from tests.faults.matrix import Cell
from tests.faults.stories import STORIES, Stage

FELT = 3  # refusals of a fault that lasts, until it ends
ASKS_S = 7.0  # a server that ends in this process closes no connection that it had not looked at yet
HANGS = ("sleep", "60")
WAITS = {
    "BACKOFF_S": 0.01,
    "BACKOFF_AT_MOST_S": 0.1,
    "ENGINE_PROBE_S": 0.01,
    "CATCH_UP_S": 0.01,
    "DATABASE_POLL_S": 0.01,
    "CRASH_BACKOFF_S": (0,),
    "ERASURE_LOOK_S": 0.01,
}


class Fault:
    """As CrashPoints, for what does not kill: see the module. `felt` counts who was refused something."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.about = wire_name(cell.intent)
        self.left = STORIES[cell.intent][1]
        self.began = threading.Event()
        self.felt = 0
        self.is_on = False
        self.cuts_off = False  # the server ends and can record nothing any more, as if it were killed
        self._failed: set[str] = set()  # calls that failed once

    def reached(self, point: str, about: Iterable[str] = ()) -> None:
        """It begins where this is the place and the time."""
        if point == self.cell.point and self.about in about:
            self.left -= 1
            if self.left == 0:
                self.is_on = True
                self.began.set()

    def lasts(self, kind: str) -> bool:
        """Whether a fault that lasts is on, as somebody feels it now."""
        if self.cell.fault != kind or not self.is_on:
            return False
        self.felt += 1
        return True

    def hits(self, kind: str, call: str) -> bool:
        """Whether this call is to fail: each that the effect makes, once, as long as attempts are left."""
        task = about.get()
        is_its_own = isinstance(task, Task) and task.work.type == self.about
        if self.cell.fault != kind or not (self.is_on and is_its_own) or call in self._failed:
            return False
        if len(self._failed) == limits.ATTEMPTS - 2:  # of those that are left one was cut off by the restart
            return False
        self._failed.add(call)
        self.felt += 1
        return True

    def arrive(self, call: str) -> None:
        """Raises what a call meets before it does anything."""
        if self.lasts("dockerd dead"):
            raise EngineAway("the engine is away, as the test wants it")
        if self.hits("error", call):
            raise Unavailable("engine_error", f"{call} failed, as the test wants it")

    def leave(self, call: str) -> None:
        """Raises what a call that did what it should meets on its way back."""
        if self.hits("lost reply", call):
            raise EngineAway(f"the reply of {call} was lost, as the test wants it")

    def commit(self) -> None:
        """Raises what a COMMIT meets on a full disk."""
        if self.lasts("no space") or self.cuts_off:
            raise apsw.FullError("database or disk is full, as the test wants it")


class FaultySite(Site):
    """A site of one fault."""

    def __init__(self, fault: Fault, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.engine_type = type("Engine", (FaultyEngine,), {"fault": fault})
        self.builder = FaultyBuilder(fault)
        self.host.commands[HANGS] = Ran(None)


class FaultyEngine(SimulatedEngine):
    """An engine of a site that has a fault."""

    fault: Fault

    async def status(self) -> EngineStatus:
        self.away = self.fault.lasts("dockerd dead")
        return await super().status()

    async def _arrive(self, method: str, subject: str) -> None:
        self.fault.arrive(method)
        await super()._arrive(method, subject)

    def _leave(self, method: str) -> None:
        super()._leave(method)
        self.fault.leave(method)


class FaultyBuilder(SimulatedBuilder):
    """A builder that has it. It knows no branch `nowhere`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault

    async def _step(self, name: str, job: Job, log: BuildLog, made: str) -> str:
        self.fault.arrive(name)
        if job.ref == "nowhere":
            raise Rejected("ref_not_found", "there is no such branch")
        done = await super()._step(name, job, log, made)
        self.fault.leave(name)
        return done

    async def forget_tenant(self, tenant_id: str) -> None:
        self.fault.arrive("forget_tenant")
        await super().forget_tenant(tenant_id)
        self.fault.leave("forget_tenant")


class Inside(Server):
    """The site as agents on other threads see it."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.config.data_dir)
        self.site = site

    def ask(self, *args: Any, **fields: Any) -> Answer:
        self.port = self.site.app.port
        return super().ask(*args, timeout_s=ASKS_S, **fields)

    @property
    def running(self) -> frozenset[str]:
        return frozenset(one.id for one in self.site.host.instances.values() if one.state == "running")


def wired(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    """Puts the fault where a server looks for its crash points, and where it commits."""

    def failing(commit: Callable[..., None]) -> Callable[..., None]:
        def failing_commit(*args: Any) -> None:
            fault.commit()
            commit(*args)

        return failing_commit

    patch.setattr("ahplat.main.CrashPoints", lambda wanted: fault)
    patch.setattr(EventLog, "commit", failing(EventLog.commit))
    patch.setattr(Views, "commit", failing(Views.commit))
    for name, value in WAITS.items():
        patch.setattr(f"ahplat.limits.{name}", value)


async def stage_on(site: Site, server: Server, is_public: bool) -> Stage:
    """A tenant of its own for the story."""
    tenant = await site.register("mover")
    loop = asyncio.get_running_loop()
    https = {name.replace("-", "_"): value for name, value in HTTPS.items()} if is_public else {}
    bootstrap = {name.replace("-", "_"): value for name, value in BOOTSTRAP.items()}

    def kill(service_id: str) -> None:
        for one in site.host.instances.values():
            if one.identity.service == service_id:
                loop.call_soon_threadsafe(site.host.crash, one.id)

    return Stage(
        agent=Agent(server, "mover", tenant.key, https),
        operator=Agent(server, "operator", "", https | bootstrap),
        tenant_id=tenant.id,
        image="web:1",
        git_url="https://github.com/a/b",
        settings={"port": 0},
        hangs=HANGS,
        kill=kill,
    )


async def until(probe: Callable[[], object]) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not probe():
            await asyncio.sleep(0.002)


async def tell(site: FaultySite, fault: Fault, is_public: bool) -> None:
    """See the module; then all that must hold, does."""
    server = Inside(site)
    stage = await stage_on(site, server, is_public)
    other = await site.register("other")
    noise = Agent(server, "noise", other.key, stage.agent.headers)
    story, _ = STORIES[fault.cell.intent]
    stage.agent.begin(lambda _: story(stage))
    noise.begin(sets_variables)
    if fault.about == "exec.started":  # its effect is about commands whose server is gone
        await until(lambda: site.host.executing or stage.agent.is_done or fault.began.is_set())
        if not fault.began.is_set():
            fault.cuts_off = True
            await site.end()
            fault.cuts_off = False
            await site.begin()
    await until(lambda: fault.began.is_set() or stage.agent.is_done)
    assert fault.began.is_set(), ("it never came to the point", stage.agent.failure)
    await until(lambda: fault.felt >= FELT or stage.agent.is_done or is_single(fault))
    if fault.cell.fault == "no space":
        fault.is_on = False
    await site.restart()
    if not is_single(fault):
        fault.is_on = False
    await until(lambda: stage.agent.is_done)
    fault.is_on = False
    stage.agent.join()
    noise.give_up.set()
    await asyncio.to_thread(noise.join)
    await site.settled()
    assert fault.felt or not is_single(fault), "nothing was called that could fail"
    assert faults(history_of(server, [stage.agent, stage.operator, noise], server.running)) == []
    await asyncio.to_thread(check_repeats, server, [noise])
    await site.end()
    server.check_files()


def is_single(fault: Fault) -> bool:
    """Whether it is of single calls, and ends by itself."""
    return fault.cell.fault in ("error", "lost reply")
