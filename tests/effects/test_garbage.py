"""Images that nothing comes back to go; what a service may go back to stays."""

import asyncio

import pytest

from ahplat import limits
from ahplat.effects.garbage import Collector
from ahplat.errors import Unavailable
from events.garbage import GarbageCollected
from events.services import ServiceInstanceHealthy
from tests.effects.world import World


@pytest.fixture
def collector(world: World) -> Collector:
    return Collector(world.platform)


async def deployed(world: World, *images: str) -> list[str]:
    """Deploys one after the other; what each was pinned to."""
    pinned = []
    for image in images:
        world.image(image)
        await world.deploy(image)
        await world.settled()
        pinned.append(world.last(ServiceInstanceHealthy).pinned)
    return pinned


async def collected(world: World, collector: Collector) -> list[str]:
    """What goes once it has been garbage for long enough."""
    assert await collector.sweep() == []
    await world.later(limits.GC_AGE_S)
    return [one.name for one in await collector.sweep()]


async def test_the_last_five_of_a_service_stay_and_what_is_older_goes(world: World, collector: Collector) -> None:
    await world.create(image="")
    pinned = await deployed(world, *(f"app:{n}" for n in range(7)))
    assert await collected(world, collector) == sorted(pinned[:2])
    assert await collector.sweep() == []
    (told,) = world.facts(GarbageCollected)
    assert (told.images, told.bytes) == (sorted(pinned[:2]), 2_000)
    assert [image for name, image in world.builder.calls if name == "drop"] == sorted(pinned[:2])


async def test_what_serves_stays_however_old(world: World, collector: Collector) -> None:
    await world.create(image="")
    (first,) = await deployed(world, "app:1")
    for n in range(6):
        world.image(f"bad:{n}", listens=False)
        await world.deploy(f"bad:{n}")
        await world.settled()
    assert await collected(world, collector) == []
    assert first.partition("@")[2] in world.host.kept


async def test_an_image_that_another_service_has_stays(world: World, collector: Collector) -> None:
    world.image("app:1")
    await world.create(name="one", image="app:1")
    await world.settled()
    await world.delete()
    await world.create(name="two", image="app:1")
    await world.settled()
    assert await collected(world, collector) == []


async def test_all_of_a_deleted_service_go(world: World, collector: Collector) -> None:
    await world.create(image="")
    pinned = await deployed(world, "app:1", "app:2")
    await world.delete()
    await world.settled()
    assert await collected(world, collector) == sorted(pinned)


async def test_what_comes_back_in_time_is_garbage_no_more(world: World, collector: Collector) -> None:
    await world.create(image="")
    await deployed(world, *(f"app:{n}" for n in range(6)))
    assert await collector.sweep() == []
    assert len(await collector.look()) == 1
    await deployed(world, "app:0")
    await collector.look()
    await world.later(limits.GC_AGE_S)
    assert [one.name.partition("@")[0] for one in await collector.sweep()] != ["app:0"]


async def test_nothing_of_a_repository_is_touched_from_which_something_comes(
    world: World, collector: Collector
) -> None:
    await world.create(image="")
    await deployed(world, *(f"app:{n}" for n in range(6)))
    await collector.sweep()
    await world.later(limits.GC_AGE_S)
    world.image("app:6", listens=False)
    await world.deploy("app:6")
    await world.later(1)
    assert await collector.sweep() == []
    await world.settled()
    assert len(await collector.sweep()) == 1


async def test_an_image_that_the_registry_could_not_drop_is_dropped_later(world: World, collector: Collector) -> None:
    await world.create(image="")
    pinned = await deployed(world, *(f"app:{n}" for n in range(6)))
    world.builder.fail["drop"] = [Unavailable("registry_unavailable", "not now")]
    assert await collected(world, collector) == []
    assert pinned[0].partition("@")[2] in world.host.kept
    assert [one.name for one in await collector.sweep()] == [pinned[0]]
    assert await collector.sweep() == []


async def test_what_the_registry_gave_back_is_told_in_the_log(world: World, collector: Collector) -> None:
    world.builder.waste = 7_000
    assert [(one.kind, one.bytes) for one in await collector.look()] == [("registry", 7_000)]
    assert [(one.kind, one.bytes) for one in await collector.sweep()] == [("registry", 7_000)]
    assert (world.last(GarbageCollected).registry_bytes, world.last(GarbageCollected).bytes) == (7_000, 0)
    assert await collector.sweep() == []


async def test_a_registry_that_fails_keeps_nothing_else(world: World, collector: Collector) -> None:
    await world.create(image="")
    pinned = await deployed(world, *(f"app:{n}" for n in range(6)))
    failed = Unavailable("registry_failed", "no, I will not")
    world.builder.waste, world.builder.fail["wasted"] = 7_000, [failed] * 3
    assert [one.name for one in await collector.look()] == pinned[:1]
    assert await collected(world, collector) == pinned[:1]
    assert world.last(GarbageCollected).registry_bytes == 0
    assert [one.bytes for one in await collector.sweep()] == [7_000]


async def test_an_image_that_was_never_ours_is_not_looked_at(world: World, collector: Collector) -> None:
    stranger = world.image("stranger:1")
    world.host.kept[stranger.digest()] = stranger
    assert await collected(world, collector) == []
    assert stranger.digest() in world.host.kept


async def test_a_sweep_in_which_the_server_dies_is_made_up_for_by_the_next(world: World, collector: Collector) -> None:
    await world.create(image="")
    pinned = await deployed(world, *(f"app:{n}" for n in range(8)))
    first, *others = sorted(pinned[:3])
    assert await collector.sweep() == []
    await world.later(limits.GC_AGE_S)
    world.engine.lag_s["remove_image"] = 10
    sweeping = asyncio.create_task(collector.sweep())
    await world.until(lambda: ("remove_image", others[0]) in world.engine.calls, every_s=1)
    sweeping.cancel()
    await world.restart()
    assert first.partition("@")[2] not in world.host.kept
    assert ("drop", others[0]) in world.builder.calls and others[0].partition("@")[2] in world.host.kept
    assert await collected(world, Collector(world.platform)) == others
    assert {one.partition("@")[2] for one in pinned[3:]} <= world.host.kept.keys()
