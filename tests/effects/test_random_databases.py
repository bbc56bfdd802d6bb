"""Databases under everything at once: orders, an engine that errs and is away, servers that die. Each seed is one history;
the embedded group runs MANY of them.

When the faults end the platform comes to rest: what should run runs once, on its one volume, and nothing else is there.
"""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ahplat import limits
from ahplat.commands.databases import DeleteDatabase, StartDatabase, UndeleteDatabase
from ahplat.commands.effects import BeginAttempt, Conclude, Unpark
from ahplat.errors import EngineAway, Rejected, Unavailable
from tests.effects.databases_world import Databases
from tests.effects.world import TENANT, World, listen_by

FEW, MANY = 6, 40
SEEDS = [*range(FEW), *(pytest.param(seed, marks=pytest.mark.embedded) for seed in range(FEW, MANY))]
STEPS = 30
METHODS = (
    *("fetch", "ensure_network", "ensure_volume", "remove_volume"),
    *("find_or_start", "inspect", "list_databases", "stop", "remove", "tail"),
)


class History:
    """One run: databases, and dice."""

    def __init__(self, db: Databases, seed: int) -> None:
        self.db, self.world = db, db.world
        self.dice = random.Random(seed)
        self.ids: list[str] = []
        self.did: list[str] = []

    async def run(self) -> None:
        acts: list[Callable[[], Awaitable[None]]] = [self.order, self.order, self.harm, self.harm_the_engine, self.die]
        for _ in range(STEPS):
            await self.dice.choice(acts)()
            await self.world.later(self.dice.choice((0, 0, 0.01, 0.5, 3, 20, 150)))
        await self.heal()

    async def order(self) -> None:
        """Somebody wants something of a database."""
        db = self.db
        kept_us = self.world.clock.now_us() + self.dice.choice((0, 60, 3_600)) * 1_000_000
        purge = self.dice.random() < 0.3
        orders: list[Callable[[], Awaitable[object]]] = [
            lambda: db.order(DeleteDatabase, purge_us=kept_us, purge=purge),
            lambda: db.order(UndeleteDatabase),
            lambda: db.order(StartDatabase),
        ]
        try:
            if not self.ids or self.dice.random() < 0.4:
                self.did.append("create")
                self.ids.append(await db.create(f"db{len(self.ids)}"))
            else:
                db.database_id = self.dice.choice(self.ids)
                n = self.dice.randrange(len(orders))
                self.did.append(("delete", "undelete", "start")[n])
                await orders[n]()
        except Rejected as refused:
            self.did[-1] += f" ({refused.code})"

    async def harm(self) -> None:
        """Something happens to a server that nobody asked for, or servers do not answer for a while."""
        host = self.world.host
        self.db.silent = self.dice.random() < 0.15
        if host.instances:
            instance_id = self.dice.choice(sorted(host.instances))
            harm = self.dice.choice((lambda: host.crash(instance_id, 137), lambda: host.vanish(instance_id)))
            self.did.append(f"harm {instance_id}")
            harm()

    async def harm_the_engine(self) -> None:
        """It lags, errs, loses replies, or is away."""
        engine, method = self.world.engine, self.dice.choice(METHODS)
        harm = self.dice.choice(("lag", "fail", "lose", "away", "back"))
        self.did.append(f"{harm} {method}")
        if harm == "lag":
            engine.lag_s[method] = self.dice.choice((0.1, 2, 30))
        elif harm == "fail":
            error = self.dice.choice((Unavailable("engine_error", "500"), EngineAway("a reset connection")))
            engine.fail(method, *[error] * self.dice.randint(1, 4))
        elif harm == "lose":
            engine.lose_reply(method, self.dice.randint(1, 3))
        else:
            engine.away = harm == "away"
            engine.cut_watches()

    async def die(self) -> None:
        """The server dies and is followed by another, or its disk is full for a while."""
        if self.dice.random() < 0.5:
            self.did.append("restart")
            await self.world.restart()
        else:
            full = Unavailable("disk_full", "the disk is full", 30)
            self.world.writer.refuse(self.dice.choice((BeginAttempt, Conclude)), full)

    async def heal(self) -> None:
        """No more faults, an operator who looks at what was parked and starts what was given up, and time."""
        engine, world = self.world.engine, self.world
        engine.away, self.db.silent = False, False
        engine.lag_s.clear()
        engine._errors.clear()
        engine._lost.clear()
        world.writer.refused.clear()
        for _ in range(3):
            await world.later(4_000)
            for work in [work for work in world.work if work.parked]:
                await world.submit(Unpark(tenant_id=TENANT, intent=work.intent))
            for database_id in self.ids:
                self.db.database_id = database_id
                if self.db.row.status == "failed" and self.db.row.is_there:
                    await self.db.order(StartDatabase)
        await world.settled()


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_databases_come_to_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world = World(folder)
    listen_by(world, monkeypatch)
    for quota in ("max_databases", "max_memory_mb", "max_cpu_cores"):
        monkeypatch.setitem(limits.QUOTAS, quota, 100_000)
    await world.register()
    history = History(Databases(world, monkeypatch), seed)
    world.begin()
    before = random.getstate()
    random.seed(seed)
    try:
        await history.run()
        db, volumes = history.db, set()
        for database_id in history.ids:
            db.database_id = database_id
            assert db.row.desired in ("running", "purged")
            states = [one.state for one in db.servers]
            assert (db.row.status, states) == (("running", ["running"]) if db.row.is_there else ("deleted", []))
            volumes |= {f"ah-db-{db.database_id}"} if db.row.is_there else set()
        assert set(world.host.volumes) == volumes
        await world.end()
        world.check()
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"seed {seed}: {history.did}\nopen: {world.work}") from error
    finally:
        random.setstate(before)
        await world.end()
        world.close()
