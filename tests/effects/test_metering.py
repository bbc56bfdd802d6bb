"""What runs is looked at now and then, told once an hour and once before it goes; no reading is lost or counted twice."""

from pathlib import Path

import pytest

from ahplat.commands.tenants import RequestErasure
from ahplat.commands.usage import RecordUsage
from ahplat.effects.metering import MEGABYTE, Meter
from ahplat.engines.engine import Counters
from ahplat.errors import EngineAway
from events.usage import UsageMeasured
from projections import storage
from projections.metering import HOUR_S, Figures, figures_of, open_metering
from tests.commands.given import INSTALLATION, TENANT
from tests.effects.world import World


@pytest.fixture
def meter(world: World) -> Meter:
    return world.platform.meter


async def a_running_service(world: World, name: str = "web", **settings: int) -> str:
    """A service that serves; the engine's id of its one instance."""
    await world.create(name, **settings)
    await world.settled()
    (instance,) = await world.engine.list(world.service_id)
    return instance.id


def used(world: World, folder: Path) -> list[Figures]:
    """All that the log says of the tenant's services."""
    metering = open_metering(folder / "metering.db", world.reader, INSTALLATION, lambda done, of: None)
    end = world.clock.now_us() // 1_000_000 + HOUR_S
    found = figures_of(metering.db, TENANT, 0, end, 0)
    metering.close()
    return [one for one in found if one.kind != "storage"]


async def over_the_hour(world: World, meter: Meter) -> None:
    """The next look is in the next hour."""
    await meter.look()
    await world.later(HOUR_S)
    await meter.look()


async def test_what_ran_is_told_once_an_hour(world: World, meter: Meter, folder: Path) -> None:
    instance = await a_running_service(world)
    for cpu_us in (100, 200, 300):
        world.host.counters[instance] = Counters(cpu_us, 10 * MEGABYTE, cpu_us, 2 * cpu_us)
        await meter.look()
        await world.later(10)
    assert world.facts(UsageMeasured) == []
    await world.later(HOUR_S)
    await meter.look()
    (told,) = world.facts(UsageMeasured)
    (reading,) = told.readings
    assert (reading.instance, reading.resource_id) == (instance, world.service_id)
    assert (reading.cpu_us, reading.rx_bytes, reading.tx_bytes) == (300, 300, 600)
    assert reading.memory_mb_s == 20 * 10
    assert told.hour % HOUR_S == 0
    (one,) = used(world, folder)
    assert one.cpu_us == 300


async def test_where_nothing_was_used_nothing_is_told(world: World, meter: Meter) -> None:
    await meter.look()
    await over_the_hour(world, meter)
    assert world.facts(UsageMeasured) == []
    instance = await a_running_service(world)
    world.host.counters[instance] = Counters(5, 0)
    await over_the_hour(world, meter)
    assert len(world.facts(UsageMeasured)) == 1
    await over_the_hour(world, meter)
    assert len(world.facts(UsageMeasured)) == 1


async def test_what_is_removed_is_read_before(world: World, meter: Meter, folder: Path) -> None:
    instance = await a_running_service(world)
    await meter.look()
    world.host.counters[instance] = Counters(700, 0)
    await world.stop()
    await world.settled()
    (told,) = world.facts(UsageMeasured)
    assert [reading.cpu_us for reading in told.readings] == [700]
    await over_the_hour(world, meter)
    (one,) = used(world, folder)
    assert one.cpu_us == 700


async def test_a_look_at_what_is_about_to_go_counts_nothing_twice(world: World, meter: Meter, folder: Path) -> None:
    instance = await a_running_service(world)
    world.host.counters[instance] = Counters(700, 0)
    await meter.last_look([world.host.instances[instance]])
    await over_the_hour(world, meter)  # it is still there
    await world.stop()
    await world.settled()
    (one,) = used(world, folder)
    assert one.cpu_us == 700


async def test_what_crashed_is_told_as_it_was_last_seen(world: World, meter: Meter, folder: Path) -> None:
    instance = await a_running_service(world)
    world.host.counters[instance] = Counters(500, 0)
    await meter.look()
    world.host.crash(instance)
    await world.stop()
    await world.settled()
    (one,) = used(world, folder)
    assert one.cpu_us == 500


async def test_what_went_without_a_last_look_is_told_as_it_was_last_seen(
    world: World, meter: Meter, folder: Path
) -> None:
    instance = await a_running_service(world)
    world.host.counters[instance] = Counters(500, 0)
    await meter.look()
    await world.engine.remove(instance)
    await meter.look()
    await meter.look()
    (one,) = used(world, folder)
    assert one.cpu_us == 500


async def test_a_server_that_dies_loses_no_counter(world: World, meter: Meter, folder: Path) -> None:
    instance = await a_running_service(world)
    world.host.counters[instance] = Counters(500, 0)
    await over_the_hour(world, meter)
    world.host.counters[instance] = Counters(900, 0)
    await world.restart()
    await over_the_hour(world, world.platform.meter)
    (one,) = used(world, folder)
    assert one.cpu_us == 900


async def test_a_removal_does_not_wait_for_counters_that_cannot_be_read(world: World, meter: Meter) -> None:
    await a_running_service(world)
    world.engine.fail("counters", EngineAway("as the test wants it"))
    await world.stop()
    await world.settled()
    assert world.service.status == "stopped"
    assert world.host.instances == {}


async def test_what_is_stored_is_told_where_it_changed(world: World, meter: Meter) -> None:
    await a_running_service(world, volumes={"data": "/data"})
    await over_the_hour(world, meter)
    held = storage.held_by(world.views, TENANT)
    assert held["volumes"] == 4096
    before = len(world.facts(UsageMeasured))
    await over_the_hour(world, meter)
    assert all(not told.stored for told in world.facts(UsageMeasured)[before:])
    await world.delete()
    await world.settled()
    world.host.volumes.clear()
    await over_the_hour(world, meter)
    assert storage.held_by(world.views, TENANT)["volumes"] == 0


async def test_of_an_erased_tenant_nothing_is_measured(world: World, meter: Meter) -> None:
    await world.submit(RequestErasure(tenant_id=TENANT))
    await world.settled()
    await world.submit(RecordUsage(tenant_id=TENANT, hour=0, readings=[], stored={"volumes": 5}))
    assert storage.held_by(world.views, TENANT) == {}
