"""Everything at once: random orders over an engine that lags, errs, loses replies and is away, and servers that die.

Each seed is one history, on virtual time. When the faults end, the platform comes to rest by itself, and what runs is
what should run. `AH_SEED=7 bin/test --fast -k comes_to_rest` runs one history; the embedded group runs `AH_SEEDS` of them.
"""

import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.deployments import RestartService, RollBack
from ahplat.commands.effects import BeginAttempt, Conclude, Postpone, Unpark
from ahplat.effects.runner import Runner
from ahplat.effects.specs import deployment_up
from ahplat.effects.task import Effect, Task
from ahplat.engines.engine import Identity, Instance
from ahplat.errors import EngineAway, Rejected, Unavailable
from projections import instances, services
from tests.effects.facts import an_instance
from tests.effects.world import INSTALLATION, TENANT, World, do_harm, listen_by

FEW, MANY = 6, int(os.environ.get("AH_SEEDS", "40"))
SEEDS = [
    *(range(FEW) if "AH_SEED" not in os.environ else [int(os.environ["AH_SEED"])]),
    *(pytest.param(seed, marks=pytest.mark.embedded) for seed in range(FEW, MANY)),
]
STEPS = 40
SERVICES = 3
METHODS = ("fetch", "ensure_network", "find_or_start", "inspect", "list", "stop", "remove", "tail", "guard")
RECORDS: tuple[type[Command], ...] = (BeginAttempt, Conclude, Postpone)
IMAGES = ("web:1", "web:1", "web:2", "dead:1", "broken:1", "nobody:1")
AT_REST = ("running", "failed", "stopped", "crashed", "superseded", "cancelled")


class History:
    """One run: a world, and dice."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.did: list[str] = []
        self.nobodys: dict[str, Instance] = {}  # of another installation, and of a service that never was

    async def run(self) -> None:
        for n in range(SERVICES):
            await self.world.create(f"web{n}", replicas=1 + n % 2)
        for name, instance in (("theirs", "another"), ("nobodys", INSTALLATION)):
            made = an_instance(self.world, name, Identity(instance, 1, TENANT, "9" * 32, "d", 1, 1, 1, "x", 1))
            self.nobodys[made.id] = made
        acts = [self.order, self.order, self.order, self.harm_an_instance, self.harm_the_engine, self.harm_the_server]
        for _ in range(STEPS):
            await self.dice.choice(acts)()
            await self.world.later(self.dice.choice((0, 0, 0.01, 0.5, 3, 20)))
        await self.heal()

    async def order(self) -> None:
        """Somebody wants something of a service."""
        world = self.world
        world.service_id = self.dice.choice([row.service_id for row in services.list_all(world.views)])
        orders: list[Callable[[], Awaitable[object]]] = [
            lambda: world.deploy(self.dice.choice(IMAGES)),
            lambda: world.deploy("web:2"),
            world.stop,
            world.start,
            world.reset,
            world.cancel,
            lambda: world.order(RestartService),
            lambda: world.order(RollBack),
            self.replace,
        ]
        order = self.dice.choice(orders)
        self.did.append(getattr(order, "__name__", "deploy"))
        try:
            await order()
        except Rejected as refused:
            self.did[-1] += f" ({refused.code})"

    async def replace(self) -> None:
        """A service goes, and another one comes."""
        await self.world.delete()
        await self.world.create(f"web{self.world.made}", image=self.dice.choice(IMAGES))

    async def harm_an_instance(self) -> None:
        """Something happens to an instance that nobody asked for."""
        host = self.world.host
        if len(host.instances) == len(self.nobodys):
            return
        instance_id = self.dice.choice(sorted({*host.instances} - {*self.nobodys}))
        harm = self.dice.choice(("crash", "vanish", "pause", "move", "rename"))
        self.did.append(f"{harm} {instance_id}")
        do_harm(host, instance_id, harm, self.dice)

    async def harm_the_engine(self) -> None:
        """It lags, errs, loses replies, is away, or says things twice."""
        engine = self.world.engine
        method = self.dice.choice(METHODS)
        harm = self.dice.choice(("lag", "fail", "fail", "lose", "away", "back", "cut", "hint", "silent"))
        self.did.append(f"{harm} {method}")
        if harm == "lag":
            engine.lag_s[method] = self.dice.choice((0.1, 2, 30))
        elif harm == "fail":
            error = self.dice.choice((Unavailable("engine_error", "500"), EngineAway("a reset connection")))
            engine.fail(method, *[error] * self.dice.randint(1, 4))
        elif harm == "lose":
            engine.lose_reply(method, self.dice.randint(1, 3))
        elif harm in ("away", "back"):
            engine.away = harm == "away"
            engine.cut_watches()
        elif harm == "cut":
            engine.cut_watches()
        elif harm == "silent":
            engine.silent = not engine.silent
        else:
            for row in services.list_all(self.world.views):
                engine.hint(row.service_id)
                engine.hint(row.service_id)

    async def harm_the_server(self) -> None:
        """It dies and is followed by another, or its disk is full for a while."""
        if self.dice.random() < 0.5:
            self.did.append("restart")
            await self.world.restart()
        else:
            self.did.append("disk full")
            full = Unavailable("disk_full", "the disk is full", 30)
            self.world.writer.refuse(self.dice.choice(RECORDS), *[full] * self.dice.randint(1, 4))

    async def heal(self) -> None:
        """No more faults, an operator who looks at what was parked, and time."""
        engine = self.world.engine
        engine.away = engine.silent = False
        engine.lag_s.clear()
        engine._errors.clear()
        engine._lost.clear()
        self.world.writer.refused.clear()
        for _ in range(2):
            await self.world.until(lambda: all(work.parked for work in self.world.work) and not self.world.runner.busy)
            for work in self.world.work:
                await self.world.submit(Unpark(tenant_id=TENANT, intent=work.intent))
            await self.world.settled()
            await self.world.later(2 * limits.RECONCILE_S)
            await self.world.settled()


def check_at_rest(world: World) -> None:
    """What runs is what should run, of every service there ever was."""
    for (service_id,) in list(world.views.execute("SELECT service_id FROM service")):
        world.service_id = service_id
        service, up = world.service, deployment_up(world.views, world.service)
        assert set(world.statuses) <= set(AT_REST), world.statuses
        assert world.statuses.count("running") == (1 if up else 0), world.statuses
        placed = {row.instance for row in instances.list_of(world.views, service_id)}
        assert {one.id for one in world.instances} == placed
        assert [one.state for one in world.instances] == ["running"] * (up.replicas if up else 0)
        assert {one.identity.deployment for one in world.instances} == ({up.deployment_id} if up else set())
        assert (service.status == "running") == (up is not None)
        assert set(world.routes() if service.desired != "deleted" else ()) == placed


def watch_attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """On which subjects an attempt began while another was under way."""
    under_way: set[str] = set()
    clashes: list[str] = []
    attempt = Runner._attempt

    async def watched(runner: Runner, task: Task[Any], effect: Effect) -> None:
        subject = task.work.subject
        clashes.extend([subject] if subject in under_way else [])
        under_way.add(subject)
        try:
            await attempt(runner, task, effect)
        finally:
            under_way.discard(subject)

    monkeypatch.setattr(Runner, "_attempt", watched)
    return clashes


@pytest.fixture
def fixed_jitter() -> Iterator[None]:
    """The runner's own dice are the same in each run."""
    before = random.getstate()
    random.seed(0)
    yield
    random.setstate(before)


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_the_platform_comes_to_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fixed_jitter: None, seed: int
) -> None:
    world = World(folder)
    listen_by(world, monkeypatch)
    monkeypatch.setitem(limits.QUOTAS, "max_services", 1000)
    monkeypatch.setitem(limits.QUOTAS, "max_cpu_cores", 1000)
    world.image("web:2")
    world.image("broken:1", exit_code=1, output=("no",))
    await world.register()
    clashes = watch_attempts(monkeypatch)
    history = History(world.begin(), seed)
    try:
        await history.run()
        check_at_rest(world)
        assert clashes == []
        assert {one: world.host.instances.get(one) for one in history.nobodys} == history.nobodys
        await world.end()
        world.check()
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"seed {seed}: {history.did}\nopen: {world.work}") from error
    finally:
        await world.end()
        world.close()
