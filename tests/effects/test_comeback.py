"""The host was rebooted: everything runs again, tenants in turn, and nobody is held up by one who has much."""

from collections import Counter

import pytest

from ahplat import limits
from ahplat.engines.engine import Image, Instance, Spec
from tests.effects.world import TENANT, World

TENANTS = (TENANT, "b" * 32, "c" * 32)
NEW = "d" * 32
EACH = 12
PLACES = 8


class Starts:
    """Who has instances being started, each for so long, and in which order they began."""

    def __init__(self, world: World, seconds: float) -> None:
        self.under_way = Counter[str]()
        self.most = 0
        self.began: list[str] = []
        self._start = world.engine.find_or_start
        world.engine.find_or_start = self._counted  # type: ignore[method-assign]
        world.engine.lag_s["find_or_start"] = seconds

    async def _counted(self, spec: Spec, image: Image) -> Instance:
        tenant = spec.identity.tenant
        self.began.append(tenant)
        self.under_way[tenant] += 1
        self.most = max(self.most, self.under_way.total())
        try:
            return await self._start(spec, image)
        finally:
            self.under_way[tenant] -= 1


@pytest.fixture
async def many(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """So many services of each tenant that run."""
    monkeypatch.setattr(limits, "WORKERS", PLACES)
    monkeypatch.setitem(limits.QUOTAS, "max_services", EACH)
    for tenant_id in TENANTS[1:]:
        await world.register(tenant_id)
    for tenant_id in TENANTS:
        for n in range(EACH):
            await world.create(f"web{n}", tenant_id=tenant_id)
    await world.settled()
    assert runs(world) == dict.fromkeys(TENANTS, EACH)
    return world


def runs(world: World) -> Counter[str]:
    """How many instances of each tenant run."""
    return Counter(one.identity.tenant for one in world.host.instances.values() if one.state == "running")


async def reboot(world: World, start_takes_s: float) -> Starts:
    """All instances end at once and the server with them; then it starts again."""
    await world.end()
    world.close()
    for instance_id in world.host.instances:
        world.host.crash(instance_id, 255)
    world.open()
    starts = Starts(world, start_takes_s)
    world.begin()
    return starts


async def test_after_a_reboot_everything_runs_again_by_tenant_in_turn_and_not_at_once(many: World) -> None:
    starts = await reboot(many, 2)
    await many.until(lambda: runs(many).total() == EACH * len(TENANTS))
    await many.settled()
    assert len(starts.began) == EACH * len(TENANTS)
    assert PLACES / 2 < starts.most <= PLACES
    first_done = min(_last(starts.began, tenant_id) for tenant_id in TENANTS)
    turns = starts.began[starts.most : first_done]  # while each has something to be started
    assert len(turns) > PLACES
    for n in range(len(turns) - 2):
        assert len({*turns[n : n + 3]}) == len(TENANTS), turns
    assert set(many.views.execute("SELECT status, crash_count FROM service")) == {("running", 0)}


def _last(began: list[str], tenant_id: str) -> int:
    return len(began) - 1 - began[::-1].index(tenant_id)


async def test_whoever_comes_then_does_not_wait_for_those_who_have_much(many: World) -> None:
    """Not even where nothing of theirs comes to its end."""
    starts = await reboot(many, 600)
    await many.later(60)  # in which they take all that they get
    assert starts.under_way.total() > PLACES / 2
    await many.register(NEW)
    many.engine.lag_s.clear()
    began = many.loop.now
    await many.create(tenant_id=NEW)
    await many.until(lambda: many.service.status == "running", every_s=1)
    assert many.loop.now - began < 10
    await many.settled()
