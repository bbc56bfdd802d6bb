"""Networks of tenants that are away, volumes of scratch servers that died, and what carries our label and nobody knows."""

import pytest
from msgspec.structs import replace

from ahplat import limits
from ahplat.commands.tenants import ReactivateTenant, RequestErasure, SuspendTenant
from ahplat.effects.garbage import Collector
from ahplat.engines.engine import Belonging, Volume
from ahplat.errors import Unavailable
from events.garbage import GarbageCollected
from events.keys import KeyCreated
from tests.effects.databases_world import Databases
from tests.effects.world import INSTALLATION, TENANT, World

INNER, OUTER = f"ah-tenant-{TENANT}", f"ah-egress-{TENANT}"


@pytest.fixture
def collector(world: World) -> Collector:
    return Collector(world.platform)


async def suspend(world: World) -> None:
    await world.submit(SuspendTenant(tenant_id=TENANT))
    await world.settled()


async def reactivate(world: World) -> None:
    key = KeyCreated(key_id="k2", name=b"name", digest=b"digest", scopes=["admin"])
    await world.submit(ReactivateTenant(tenant_id=TENANT, key=key))


async def swept(world: World, collector: Collector) -> list[str]:
    """What goes once it has been garbage for long enough, without the images."""
    await collector.sweep()
    await world.later(limits.GC_AGE_S)
    return [one.name for one in await collector.sweep() if one.kind != "image"]


async def test_networks_of_a_suspended_tenant_go_and_the_log_says_so(world: World, collector: Collector) -> None:
    await world.create(egress="internet")
    await world.settled()
    await suspend(world)
    assert await swept(world, collector) == [OUTER, INNER]
    assert world.host.networks == {}
    assert world.last(GarbageCollected).networks == (OUTER, INNER)
    assert await collector.look() == []


async def test_a_network_of_an_erased_tenant_that_is_there_again_goes_too(world: World, collector: Collector) -> None:
    await world.create()
    await world.settled()
    network = world.host.networks[INNER]
    await world.submit(RequestErasure(tenant_id=TENANT))
    await world.settled()
    assert world.host.networks == {}
    world.host.networks[INNER] = network
    assert await swept(world, collector) == [INNER]
    assert collector.strangers == []


async def test_one_look_removes_no_network(world: World, collector: Collector) -> None:
    await world.create()
    await world.settled()
    await suspend(world)
    await collector.sweep()
    await world.later(limits.GC_AGE_S - 1)
    assert [one.name for one in await collector.look()] == [INNER]
    await collector.sweep()
    assert list(world.host.networks) == [INNER]


async def test_the_network_of_who_is_there_stays_though_nothing_runs_in_it(world: World, collector: Collector) -> None:
    await world.create()
    await world.settled()
    await world.stop()
    await world.settled()
    assert await swept(world, collector) == []
    assert list(world.host.networks) == [INNER]


async def test_a_network_with_a_container_in_it_stays(world: World, collector: Collector) -> None:
    await world.create()
    await world.settled()
    (ours,) = world.instances
    await suspend(world)
    world.host.instances[ours.id] = replace(ours, state="exited")
    assert await swept(world, collector) == []
    assert list(world.host.networks) == [INNER]


async def test_while_something_is_under_way_for_the_tenant_its_network_stays(
    world: World, collector: Collector
) -> None:
    await world.create()
    await world.settled()
    (ours,) = world.instances
    world.engine.fail("remove", *[Unavailable("engine_error", "not now")] * 1_000)
    await world.submit(SuspendTenant(tenant_id=TENANT))
    await world.later(5)
    world.host.vanish(ours.id)
    assert world.work
    assert [one.name for one in await collector.look()] == []
    world.engine._errors.clear()
    await world.settled()
    assert [one.name for one in await collector.look()] == [INNER]


async def test_who_comes_back_has_its_networks_made_anew_before_anything_starts(
    world: World, collector: Collector
) -> None:
    await world.create(egress="internet")
    await world.settled()
    await suspend(world)
    await swept(world, collector)
    world.engine.calls.clear()
    await reactivate(world)
    await world.settled()
    assert set(world.host.networks) == {INNER, OUTER}
    assert world.service.status == "running"
    calls = [name for name, _ in world.engine.calls if name in ("ensure_network", "find_or_start")]
    assert calls == ["ensure_network", "ensure_network", "find_or_start"]
    assert await swept(world, collector) == []


async def test_who_comes_back_in_time_keeps_them(world: World, collector: Collector) -> None:
    await world.create()
    await world.settled()
    await suspend(world)
    await collector.sweep()
    await world.later(limits.GC_AGE_S)
    await reactivate(world)
    assert await collector.sweep() == []
    await world.settled()
    assert world.service.status == "running"


async def test_a_network_that_goes_from_under_a_start_is_made_again(world: World) -> None:
    """As when the tenant is back at the very moment of the removal: Docker then starts nothing, and it is tried again."""
    await world.create()
    await world.settled()
    await suspend(world)
    world.engine.calls.clear()
    world.engine.fail("find_or_start", Unavailable("engine_error", "network not found"))
    await reactivate(world)
    await world.called("find_or_start")
    world.host.networks.clear()
    await world.settled()
    assert (world.service.status, list(world.host.networks)) == ("running", [INNER])


async def test_a_network_that_cannot_be_removed_now_keeps_nothing_else(world: World, collector: Collector) -> None:
    await world.create(egress="internet")
    await world.settled()
    await suspend(world)
    await collector.sweep()
    await world.later(limits.GC_AGE_S)
    world.engine.fail("remove_network", Unavailable("engine_error", "not now"))
    assert [one.name for one in await collector.sweep() if one.kind == "network"] == [INNER]
    assert [one.name for one in await collector.sweep()] == [OUTER]


# scratch servers


@pytest.fixture
async def databases(world: World, monkeypatch: pytest.MonkeyPatch) -> Databases:
    made = Databases(world, monkeypatch)
    await made.create()
    await world.settled()
    await made.back_up()
    await world.settled()
    return made


async def test_the_volume_of_a_scratch_server_that_died_between_its_removals_goes(
    databases: Databases, collector: Collector
) -> None:
    world, name = databases.world, f"ah-dbscratch-{databases.backup_id}"
    world.host.volumes[name] = Volume(name, INSTALLATION, TENANT)
    found = await collector.look()
    assert [(one.kind, one.name, one.bytes) for one in found] == [("volume", name, 4096)]
    assert collector.strangers == []
    assert await swept(world, collector) == [name]
    assert list(world.host.volumes) == [f"ah-db-{databases.database_id}"]
    assert world.last(GarbageCollected).volumes == (name,)


async def test_one_that_is_being_looked_at_keeps_its_volume(databases: Databases, collector: Collector) -> None:
    world = databases.world
    world.engine.lag_s = {"find_or_start": 2 * limits.GC_AGE_S}
    await databases.back_up()
    name = f"ah-dbscratch-{databases.backup_id}"
    await world.until(lambda: name in world.host.volumes, every_s=0.1)
    assert await swept(world, collector) == []
    assert name in world.host.volumes
    world.engine.lag_s = {}
    await world.settled()


# strangers


async def test_what_carries_our_label_and_nobody_knows_is_told_once_and_left_alone(
    databases: Databases, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    world = databases.world
    await world.create()
    await world.settled()
    (ours,) = world.instances
    network = replace(world.host.networks[INNER], name="ah-tenant-nobody")
    volume = Volume("ah-vol-nobody", INSTALLATION, "nobody")
    nobodys = replace(ours, id="x", name="nobodys", identity=replace(ours.identity, service="9" * 32))
    world.host.instances["x"], world.host.behaviours["x"] = nobodys, world.host.behaviours[ours.id]
    world.host.networks[network.name], world.host.volumes[volume.name] = network, volume
    assert await swept(world, collector) == []
    await world.later(limits.RECONCILE_S * 2)
    assert collector.strangers == [
        Belonging("container", "nobodys", TENANT, "9" * 32),
        Belonging("network", "ah-tenant-nobody", TENANT),
        Belonging("volume", "ah-vol-nobody", "nobody"),
    ]
    assert caplog.text.count("left alone: container nobodys, network ah-tenant-nobody, volume ah-vol-nobody") == 1
    assert world.host.instances["x"] == nobodys
    assert {network.name, volume.name} <= {*world.host.networks, *world.host.volumes}
    world.host.vanish("x")
    await collector.look()
    assert [one.kind for one in collector.strangers] == ["network", "volume"]


async def test_another_installations_are_not_mentioned(world: World, collector: Collector) -> None:
    await world.create()
    await world.settled()
    (ours,) = world.instances
    theirs = replace(ours, id="x", name="theirs", identity=replace(ours.identity, instance="another"))
    world.host.instances["x"], world.host.behaviours["x"] = theirs, world.host.behaviours[ours.id]
    world.host.networks["theirs"] = replace(world.host.networks[INNER], name="theirs", instance="another")
    world.host.volumes["theirs"] = Volume("theirs", "another", TENANT)
    assert await collector.look() == []
    assert collector.strangers == []


async def test_nothing_that_comes_or_goes_is_a_stranger(databases: Databases, collector: Collector) -> None:
    """At any moment of the life and the end of a service, a database and a backup."""
    world = databases.world
    for method in ("find_or_start", "remove", "remove_volume", "execute", "stop", "belongings"):
        world.engine.lag_s[method] = 0.3
    await databases.back_up()
    await world.create(volumes={"data": "/data"})
    met = []
    for act in (None, world.delete, lambda: suspend(world)):
        if act:
            await act()
        for _ in range(40):
            await collector.look()
            met += collector.strangers
            await world.later(0.1)
        await world.settled()
    assert met == []


async def test_what_comes_or_goes_while_the_engine_answers_is_none_either(
    world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = world.engine.belongings

    async def after_it_came() -> list[Belonging]:
        await world.create()
        await world.settled()
        return await listed()

    async def before_it_went() -> list[Belonging]:
        seen = await listed()
        await world.delete()
        await world.settled()
        return seen

    for answer in (after_it_came, before_it_went):
        monkeypatch.setattr(world.engine, "belongings", answer)
        await collector.look()
        assert collector.strangers == []
    assert world.host.instances == {}
