"""Stop, delete, and starting again."""

import pytest
from msgspec.structs import replace

from ahplat import limits
from ahplat.errors import Rejected
from events.services import ServiceDeleted, ServiceStopped
from tests.effects.facts import an_instance
from tests.effects.world import World


async def test_a_stop_ends_everything_and_keeps_the_rest(world: World) -> None:
    await world.create(replicas=2, env={"A": "b"})
    await world.settled()
    ids = {one.id for one in world.instances}
    await world.stop()
    assert world.service.desired == "stopped"
    await world.settled()
    assert (world.instances, world.service.status, world.service.serving) == ([], "stopped", 0)
    assert set(world.last(ServiceStopped).removed) == ids
    assert world.statuses == ["stopped"]


async def test_each_gets_a_sigterm_and_then_goes(world: World) -> None:
    await world.create()
    await world.settled()
    (instance,) = world.instances
    world.engine.calls.clear()
    await world.stop()
    await world.settled()
    assert [call for call in world.engine.calls if call[1] == instance.id] == [
        ("stop", instance.id),
        ("remove", instance.id),
    ]


async def test_a_second_stop_says_nothing(world: World) -> None:
    await world.create()
    await world.settled()
    await world.stop()
    await world.settled()
    before = world.story()
    await world.stop()
    await world.settled()
    assert world.story() == before


async def test_what_was_stopped_starts_again_as_it_was(world: World) -> None:
    await world.create(env={"A": "b"})
    await world.settled()
    await world.stop()
    await world.settled()
    await world.start()
    await world.settled()
    assert (world.service.status, world.numbers) == ("running", [2])
    assert world.host.env[world.instances[0].id]["A"] == "b"


async def test_delete_leaves_nothing_in_the_engine(world: World) -> None:
    await world.create(replicas=3)
    await world.settled()
    await world.delete()
    assert world.service.status == "deleted"
    await world.settled()
    assert world.instances == []
    assert len(world.last(ServiceDeleted).removed) == 3


async def test_delete_takes_what_an_earlier_life_left_too(world: World) -> None:
    await world.create()
    await world.settled()
    (instance,) = world.instances
    an_instance(world, "left", replace(instance.identity, deployment="another", number=7, epoch=9))
    await world.delete()
    await world.settled()
    assert world.instances == []


async def test_a_deleted_service_takes_no_further_orders(world: World) -> None:
    await world.create()
    await world.delete()
    for order in (world.deploy, world.stop, world.start, world.delete):
        with pytest.raises(Rejected) as refused:
            await order()
        assert refused.value.code == "service_not_found"
    await world.settled()


async def test_its_name_is_free_at_once(world: World) -> None:
    await world.create("web")
    await world.settled()
    await world.delete()
    await world.create("web")
    await world.settled()
    assert world.service.status == "running"
    assert len(world.host.instances) == 1


async def test_a_service_that_waits_for_its_first_build_is_deleted_too(world: World) -> None:
    await world.create(image="")
    assert (world.service.status, world.work) == ("created", [])
    await world.delete()
    await world.settled()
    assert world.last(ServiceDeleted).removed == []


async def test_the_grace_is_told_to_the_engine(world: World) -> None:
    graces: list[int] = []
    stop = world.engine.stop

    async def noting(instance_id: str, grace_s: int) -> None:
        graces.append(grace_s)
        await stop(instance_id, grace_s)

    world.engine.stop = noting  # type: ignore[method-assign]
    await world.create()
    await world.settled()
    await world.stop()
    await world.settled()
    assert graces == [limits.STOP_GRACE_S]
