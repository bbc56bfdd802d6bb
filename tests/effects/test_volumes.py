"""A service with volumes is switched by stopping what serves first; a volume outlives all of its containers."""

from ahplat import limits
from ahplat.commands.tenants import RequestErasure
from ahplat.commands.volumes import PurgeVolume
from ahplat.engines.engine import Mount, Volume
from events.services import ServiceDeployFailed, ServiceRepaired
from projections import volumes
from tests.effects.world import INSTALLATION, TENANT, World

DATA = {"data": "/var/lib/app"}
ID = volumes.volume_id(TENANT, "data")
NAME = f"ah-vol-{ID}"


async def test_a_service_is_given_its_volume(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    (instance,) = world.instances
    assert world.host.specs[instance.id].mounts == (Mount(NAME, "/var/lib/app"),)
    assert world.host.volumes == {NAME: Volume(NAME, INSTALLATION, TENANT)}


async def test_what_serves_is_gone_before_the_next_one_starts(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    (before,) = world.instances
    world.engine.calls.clear()
    await world.deploy("web:1")
    await world.settled()
    done = [call for call in world.engine.calls if call[0] in ("fetch", "remove", "find_or_start")]
    assert [name for name, _ in done] == ["fetch", "remove", "find_or_start"]
    assert done[1] == ("remove", before.id)
    assert world.statuses == ["running", "stopped"]


async def test_a_service_without_volumes_is_switched_as_ever(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.calls.clear()
    await world.deploy("web:1")
    await world.settled()
    done = [name for name, _ in world.engine.calls if name in ("remove", "find_or_start")]
    assert done == ["find_or_start", "remove"]


async def test_an_image_that_cannot_be_had_leaves_what_serves_untouched(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    before = world.instances
    await world.deploy("nobody:1")
    await world.settled()
    assert world.instances == before


async def test_when_the_next_one_does_not_come_to_serve_the_old_one_is_started_again(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    await world.later(5)
    world.image("bad:1", exit_code=1)
    await world.deploy("bad:1")
    await world.until(lambda: world.facts(ServiceDeployFailed))
    await world.until(lambda: world.facts(ServiceRepaired))
    await world.settled()
    assert (world.service.status, world.numbers, world.statuses) == ("running", [1], ["failed", "running"])


async def test_whatever_dies_in_a_switch_two_never_run_at_once(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    for step in ("fetch", "stop", "remove", "ensure_volume", "find_or_start", "inspect"):
        world.engine.lag_s = {step: 3.0}
        await world.deploy("web:1")
        await world.called(step)
        await world.restart()
        await world.until(lambda: len([one for one in world.instances if one.state == "running"]) <= 1)
        await world.settled()
        assert [one.state for one in world.instances] == ["running"], step
        assert list(world.host.volumes) == [NAME]


async def test_a_volume_survives_its_service_until_it_is_purged(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    await world.delete()
    await world.settled()
    await world.later(10 * limits.RECONCILE_S)
    assert list(world.host.volumes) == [NAME]
    await world.submit(PurgeVolume(tenant_id=TENANT, volume_id=ID))
    await world.settled()
    assert world.host.volumes == {}
    assert volumes.list_of(world.views, TENANT) == []


async def test_a_purge_waits_for_a_container_that_is_on_its_way_out(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    world.engine.lag_s["stop"] = 5.0
    await world.delete()
    await world.submit(PurgeVolume(tenant_id=TENANT, volume_id=ID))
    await world.settled()
    assert (world.instances, world.host.volumes) == ([], {})


async def test_an_erasure_takes_volumes(world: World) -> None:
    await world.create(volumes=DATA)
    await world.settled()
    await world.create("kept", volumes={"more": "/more"})
    await world.settled()
    await world.delete()
    await world.settled()
    await world.submit(RequestErasure(tenant_id=TENANT))
    await world.settled()
    assert (world.host.instances, world.host.volumes) == ({}, {})
