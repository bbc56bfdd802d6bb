"""The whole control plane without HTTP, on virtual time: the platform of `tests/effects/world.py` with every loop of
`ahplat/main.py` that decides or touches something, a clock that is set, a disk that is full, and deaths.

A server that dies does so at one of the product's own crash points, or on either side of a COMMIT: from then on nothing that
it asks for happens, and nobody hears from it. The writer decides on the loop's own thread, so that a seed is one history.
"""

import asyncio
import random
from collections import namedtuple
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from ahplat import clock, limits
from ahplat.answers import Done, Request
from ahplat.commands.command import Command
from ahplat.crashpoints import POINTS
from ahplat.effects import database_health
from ahplat.effects.disks import DiskWatch
from ahplat.effects.follow import Follower
from ahplat.effects.garbage import Collector
from ahplat.effects.reconcile import Reconciler
from ahplat.effects.task import Task
from ahplat.errors import Unknown
from ahplat.metering import Metering
from ahplat.writer import Writer
from events.catalog import decode
from events.database import open_reader
from events.event import Event, Outcome, Recorded, wire_name
from events.log import head, read_all, read_stream
from events.tenants import (
    TenantErased,
    TenantErasureRequested,
    TenantReactivated,
    TenantRegistered,
    TenantSuspended,
)
from projections import tenants, todo
from projections.metering import Figures, figures_of
from projections.views import read_checkpoint
from tests.effects.database_contents import Contents
from tests.effects.world import INSTALLATION, FaultyWriter, World, listen_by
from tests.simulation.machine import Broke, Engine, Machine, SetClock

BEFORE_COMMIT = "before-commit"
BEFORE_ANSWER = "before-answer"  # before the COMMIT of what a client asked for
AT_COMMIT = (BEFORE_COMMIT, BEFORE_ANSWER, "between-commits")
DEATHS = (*POINTS, BEFORE_COMMIT, BEFORE_ANSWER)
ACTOR = "client"
STANDING = (TenantRegistered, TenantSuspended, TenantReactivated, TenantErased)
EVERY_S = (60.0, 300.0, 900.0)  # between two looks at everything, as an operator may set it
ERASURE = wire_name(TenantErasureRequested)
Usage = namedtuple("Usage", "total used free")


class Died(Unknown):
    """What a client knows of a command during which the server died."""


class Doomed:
    """The crash points of a server: it dies at the n-th time that one is reached."""

    def __init__(self) -> None:
        self.point, self.left = "", 0
        self.die: Any = None

    def reached(self, point: str, about: Iterable[str] = ()) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                self.die()
                if point in AT_COMMIT:
                    raise Died("outcome_unknown", "the server died")


class InlineWriter(FaultyWriter):
    """Decides what one turn of the loop brought as one batch, at the end of that turn and on its thread."""

    dead = False

    def _run(self) -> None:
        """Its thread has nothing to do."""

    def submit(self, command: Command, **fields: Any) -> "asyncio.Future[Done]":  # type: ignore[override]
        if self.dead:
            return self._loop.create_future()
        return Writer.submit(self, command, **fields)

    def _hand_over(self) -> None:
        if self.dead:
            self._submitted.clear()
        if self._submitted:
            super()._hand_over()
            self._queue.put(None)
            Writer._run(self)

    def _finish(self, batch: list[Request], may_retry: bool = True) -> None:
        self._asked = any(request.meta.actor == ACTOR for request in batch)
        super()._finish(batch, may_retry)

    def _commit_log(self) -> None:
        if self.log.position > self.log.committed:
            self._crash.reached(BEFORE_COMMIT)
            if self._asked:
                self._crash.reached(BEFORE_ANSWER)
        super()._commit_log()

    def _resolve(self, *told: Any) -> None:
        if not self.dead:
            super()._resolve(*told)


class Ack(Struct, frozen=True):
    """What a client was told of a command: where its events stand, or where the log ended when it changed nothing."""

    command: str
    tenant_id: str
    key: str
    first: int
    last: int


class Server(World):
    """See the module. `disk_percent` is how full the disk says that it is; one without room takes no byte more."""

    writer_of = InlineWriter
    engine_of = Engine
    host_of = Machine
    engine: Engine
    host: Machine
    writer: InlineWriter
    keep_suspended_s = 6 * 3_600.0

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, dice: random.Random) -> None:
        self.dice = dice
        self.died = asyncio.Event()
        self.restarts = 0
        self.disk_percent = 50
        self.reconcile_s = dice.choice(EVERY_S)
        self.acks: list[Ack] = []
        self.told: dict[int, bytes] = {}  # position → link of each event that somebody heard of
        self.closed: set[int] = set()  # intents of which this server was told that they have their outcome
        self.mute_databases = False
        self._monkeypatch = monkeypatch
        super().__init__(folder)
        self._patch(monkeypatch)

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        listen_by(self, monkeypatch)
        uuid7 = clock._uuid7
        monkeypatch.setattr(clock, "_uuid7", lambda now_us, _: uuid7(now_us, self.dice.getrandbits(62)))
        monkeypatch.setattr(
            "shutil.disk_usage", lambda _: Usage(1_000, 10 * self.disk_percent, 1_000 - 10 * self.disk_percent)
        )
        monkeypatch.setattr(limits, "CATCH_UP_S", 1e6)
        for quota in ("max_services", "max_databases", "max_memory_mb", "max_cpu_cores", "max_disk_gb"):
            monkeypatch.setitem(limits.QUOTAS, quota, 100_000)
        for reference in ("postgres:16-alpine", "redis:7-alpine"):
            self.image(reference)
        self.contents = Contents(self.host)

        async def unready(seen: Any, plan: Any) -> str:
            await asyncio.sleep(0)
            return "nobody answers" if self.mute_databases or seen.state != "running" else ""

        monkeypatch.setattr(database_health, "unready", unready)

    # a life

    def open(self) -> None:
        self._monkeypatch.setattr(clock, "_read", self.host.read_clock)
        self.clock = SetClock(self.loop)
        self.crash = Doomed()
        self.crash.die = self.die
        super().open()
        self.clock.go_on_from(self.log.last_us)
        self.engine.witness = self
        self.follower = Follower(self.platform, [], self.reconcile_s)
        self.reconciler = Reconciler(self.platform, self.runner, self.reconcile_s)
        self.disks = DiskWatch(self.platform, self.folder, 80, 90)
        self.collector = Collector(self.platform)
        self.metering = Metering(self.folder, INSTALLATION)
        self.died.clear()
        self.closed.clear()
        self.writer.on_broken = lambda _: self.die()

    def begin(self) -> "Server":
        super().begin()
        self.writer.on_commit.append(self._committed)
        for loop in (self.disks, self.collector, self.platform.meter, self.metering):
            loop.begin()
        return self

    async def end(self) -> None:
        """All loops have ended."""
        for loop in (self.metering, self.platform.meter, self.collector, self.disks):
            await loop.close()
        await super().end()

    def die(self) -> None:
        """From now on nothing of this server happens, and nobody hears of it."""
        self.writer.dead = self.engine.dead = True
        self.died.set()

    async def restart(self) -> None:
        """What a service manager does."""
        self.restarts += 1
        self.give_room()
        await self.end()
        self.close()
        left = self._what_is_left()
        self.open()
        self.begin()
        if left:
            raise left

    def _what_is_left(self) -> Broke | None:
        """Looks at the files as a death left them."""
        with open_reader(self.folder / "events.db") as log, open_reader(self.folder / "views.db") as views:
            checkpoint = read_checkpoint(views)
            if checkpoint and checkpoint.position > head(log):
                return Broke("views follow the log", f"they are at {checkpoint.position}, the log ends at {head(log)}")
            told = max((ack.last for ack in self.acks), default=0)
            if told > head(log):
                return Broke("what was acknowledged is there", f"{told} was, the log ends at {head(log)}")
        return None

    def take_room(self) -> None:
        """Not a page more fits on the disk, of the log or of the views."""
        for db in (self.log.db, self._write_views.db):
            db.pragma("max_page_count", db.pragma("page_count"))

    def give_room(self) -> None:
        """There is room again."""
        for db in (self.log.db, self._write_views.db):
            db.pragma("max_page_count", 2**30)

    def recorded_after(self, position: int) -> list[Recorded]:
        """What the log holds beyond a position."""
        return read_all(self.reader, position, 100_000)

    # a witness of what the log says

    def _committed(self, facts: list[tuple[Recorded, Event]]) -> None:
        for at, event in facts:
            self.told[at.position] = at.link
            if isinstance(event, Outcome):
                self.closed.add(event.intent)

    def is_open(self, intent: int) -> bool:
        return intent not in self.closed

    def overdue_us(self, task: Task[Any], deadline_s: float) -> float:
        work = todo.find(self.views, task.position)
        if work is None or work.first_attempt_us is None:
            return -1
        return self.clock.now_us() - work.first_attempt_us - work.away_us - deadline_s * 1e6

    def idle_us(self, tenant_id: str) -> float:
        since = 2**63
        for at in read_stream(self.reader, f"tenant-{tenant_id}", 0, 100_000):  # what was committed when it died, too
            if isinstance(event := decode(at.type, at.data), STANDING):
                since = min(since, at.at_us) if isinstance(event, TenantSuspended | TenantErased) else 2**63
        return self.clock.now_us() - since

    def is_leaving(self, tenant_id: str) -> bool:
        """Whether the tenant is being erased, or was."""
        leaving = any(work.type == ERASURE and work.tenant_id == tenant_id for work in self.work)
        return leaving or tenants.status_of(self.views, tenant_id) in ("", "erased")

    # what a client sees

    async def figures(self, tenant_id: str, since: int, until: int, window_s: int) -> list[Figures]:
        """What the tenant used, as the API answers it."""
        return await self.metering.read(lambda db: figures_of(db, tenant_id, since, until, window_s))
