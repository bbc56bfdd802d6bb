"""What ran is counted to the second, what was used to the hour, and however a time is split, its parts add up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from apsw import Connection
from hypothesis import given as examples
from hypothesis import settings, strategies
from msgspec import structs

from events.builds import BuildFailed
from events.catalog import decode
from events.databases import (
    DatabaseCrashed,
    DatabaseDeleteRequested,
    DatabaseGivenUp,
    DatabaseStartRequested,
    DatabaseStopRequested,
)
from events.effects import EffectAttempted
from events.event import Event
from events.log import read_all
from events.services import (
    ServiceCircuitOpened,
    ServiceCrashed,
    ServiceDeleteRequested,
    ServiceDeployFailed,
    ServiceDrained,
    ServiceRepaired,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceStopRequested,
    Target,
)
from events.tenants import TenantErased
from events.usage import Reading, UsageMeasured
from projections import todo
from projections.metering import HOUR_S, Figures, figures_of, open_metering
from projections.views import digests
from tests.commands.facts import (
    a_build,
    a_database,
    a_deploy,
    a_running_service,
    a_service,
    a_tenant,
    comes_to_serve,
    database_started,
    healthy,
    intent,
    routed,
    step_of,
)
from tests.commands.given import (
    BUILD,
    DATABASE,
    INSTALLATION,
    OTHER_TENANT,
    SERVICE,
    START_US,
    TENANT,
    World,
    a_world,
    given,
    later,
    of,
    world,
)
from tests.projections.story import tell

START = START_US // 1_000_000
HOUR = START - START % HOUR_S


@contextmanager
def metering(world: World) -> Iterator[Connection]:
    """The file, as the log is now."""
    made = open_metering(world.folder / "metering.db", world.log.db, INSTALLATION, lambda done, of: None)
    try:
        yield made.db
    finally:
        made.close()


def figures(world: World, window_s: int = 0, since: int = START, until: int = 0, tenant: str = TENANT) -> list[Figures]:
    """Of a tenant, from the beginning of the story to this moment."""
    with metering(world) as db:
        return figures_of(db, tenant, since, until or world.now_us // 1_000_000, window_s)


def measured(*readings: Reading, hour: int = HOUR, **stored: int) -> UsageMeasured:
    return UsageMeasured(hour, list(readings), stored)


def reading(cpu_us: int, rx: int = 0, tx: int = 0, memory_mb_s: int = 0, instance: str = "d1-0") -> Reading:
    return Reading(instance, "service", SERVICE, cpu_us, memory_mb_s, rx, tx)


# what is reserved


def test_what_serves_is_reserved_from_its_route_to_its_stop(world: World) -> None:
    given(a_tenant(), a_service(), a_deploy())
    later(5)  # nothing serves yet
    comes_to_serve()
    later(100)
    given(ServiceStopRequested())
    later(1000)
    (one,) = figures(world)
    assert (one.kind, one.resource_id, one.running_s) == ("service", SERVICE, 100)
    assert (one.reserved_mb_s, one.reserved_milli_s) == (100 * 256, 100 * 500)


def test_all_replicas_are_reserved(world: World) -> None:
    given(a_tenant())
    a_running_service(replicas=3)
    later(10)
    (one,) = figures(world)
    assert (one.running_s, one.reserved_mb_s) == (10, 10 * 3 * 256)


def test_what_lasts_counts_up_to_now(world: World) -> None:
    given(a_tenant())
    a_running_service()
    later(7)
    assert [one.running_s for one in figures(world)] == [7]
    later(3)
    assert [one.running_s for one in figures(world)] == [10]


def test_the_overlap_of_a_switch_does_not_count(world: World) -> None:
    given(a_tenant())
    a_running_service()
    later(10)
    given(a_deploy("d2", 2, memory_mb=1024))
    healthy()
    later(10)  # both run, the old one serves
    routed()
    later(10)
    (one,) = figures(world)
    assert (one.running_s, one.reserved_mb_s) == (30, 20 * 256 + 10 * 1024)


def test_a_deployment_that_came_to_nothing_is_not_reserved(world: World) -> None:
    given(a_tenant())
    a_running_service()
    given(a_deploy("d2", 2, memory_mb=1024), ServiceDeployFailed(world.log.position + 1, "d2", "unhealthy"))
    later(10)
    assert [one.reserved_mb_s for one in figures(world)] == [10 * 256]


def test_what_crashes_and_is_brought_back_was_reserved_all_the_time(world: World) -> None:
    given(a_tenant())
    a_running_service()
    later(10)
    given(ServiceCrashed("d1", 0, "d1-0", 1), ServiceRepairRequested("d1"))
    later(10)
    given(ServiceRepaired(intent(ServiceRepairRequested), "d1", [Target(0, "d1-1", "10.0.0.3", 8000)], ["d1-0"]))
    later(10)
    assert [one.running_s for one in figures(world)] == [30]


def test_an_open_circuit_reserves_nothing_until_it_is_tried_again(world: World) -> None:
    given(a_tenant())
    a_running_service()
    later(10)
    given(ServiceCircuitOpened(5))
    later(1800)
    given(ServiceRepairRequested("d1"))
    given(ServiceRepaired(intent(ServiceRepairRequested), "d1", [Target(0, "d1-1", "10.0.0.3", 8000)], []))
    later(5)
    assert [one.running_s for one in figures(world)] == [15]


def test_a_deleted_service_is_reserved_no_longer(world: World) -> None:
    given(a_tenant())
    a_running_service()
    later(10)
    given(ServiceDeleteRequested())
    later(10)
    assert [one.running_s for one in figures(world)] == [10]


@pytest.mark.parametrize("end", [DatabaseStopRequested(), DatabaseDeleteRequested(99), DatabaseGivenUp(5)])
def test_a_database_is_reserved_from_its_first_answer_to_its_end(world: World, end: Event) -> None:
    given(a_tenant(), a_database())
    later(5)
    given(database_started(world.log.position))
    later(10)
    given(DatabaseCrashed("server-1", 1), DatabaseStartRequested())
    given(database_started(world.log.position))
    later(10)
    given(end)
    later(10)
    (one,) = figures(world)
    assert (one.kind, one.resource_id, one.running_s, one.reserved_mb_s) == ("database", DATABASE, 20, 20 * 512)


def test_a_build_counts_for_its_service_from_its_first_attempt_to_its_end(world: World) -> None:
    given(a_tenant(), a_service(image=""), a_build())
    later(60)  # others have their turn
    given(EffectAttempted(step_of(), f"build-{BUILD}", 1))
    later(20)
    given(EffectAttempted(step_of(), f"build-{BUILD}", 2))
    later(10)
    given(BuildFailed(step_of(), "clone", "clone_failed"))
    given(EffectAttempted(step_of(), f"build-{BUILD}", 1))  # at what follows of it
    later(10)
    (one,) = figures(world)
    assert (one.kind, one.resource_id, one.build_s, one.running_s) == ("service", SERVICE, 30, 0)


# what is used


def test_what_is_used_is_by_how_much_the_counters_went_on(world: World) -> None:
    given(a_tenant(), measured(reading(100, 10, 20, 5)), measured(reading(250, 10, 30, 7), hour=HOUR + HOUR_S))
    later(2 * HOUR_S)
    one, other = figures(world, HOUR_S, since=HOUR)
    assert (one.at, one.cpu_us, one.rx_bytes, one.tx_bytes, one.memory_mb_s) == (HOUR, 100, 10, 20, 5)
    assert (other.at, other.cpu_us, other.rx_bytes, other.tx_bytes, other.memory_mb_s) == (HOUR + HOUR_S, 150, 0, 10, 7)


def test_a_reading_that_is_told_twice_counts_once(world: World) -> None:
    given(a_tenant(), measured(reading(100, 10)), measured(reading(100, 10)))
    later(HOUR_S)
    assert [one.cpu_us for one in figures(world, since=HOUR)] == [100]


def test_the_counters_of_a_container_that_was_started_again_begin_at_nothing(world: World) -> None:
    given(a_tenant(), measured(reading(100, 50)), measured(reading(30, 60)))
    later(HOUR_S)
    assert [(one.cpu_us, one.rx_bytes) for one in figures(world, since=HOUR)] == [(130, 110)]


def test_what_is_gone_is_read_no_more(world: World) -> None:
    given(a_tenant())
    a_running_service()
    given(measured(reading(100)), a_deploy("d2", 2))
    healthy()
    routed()
    given(ServiceDrained(intent(ServiceRouted), "d2", ["d1-0"]))
    with metering(world) as db:
        assert db.execute("SELECT count(*) FROM counter").get == 0


def test_what_is_stored_counts_for_as_long_as_it_is(world: World) -> None:
    given(a_tenant(), measured(volumes=1000, images=500))
    later(10)
    given(measured(volumes=2000))
    later(10)
    given(TenantErased(0))
    later(10)
    (one,) = figures(world)
    assert (one.kind, one.resource_id) == ("storage", "")
    assert one.stored_byte_s == {"images": 20 * 500, "volumes": 10 * 1000 + 10 * 2000}


def test_a_tenant_has_its_own_figures_only(world: World) -> None:
    given(a_tenant())
    a_running_service()
    given(of(measured(reading(9, instance="x"), volumes=1), tenant=OTHER_TENANT))
    later(HOUR_S)
    assert {one.resource_id for one in figures(world, since=HOUR)} == {SERVICE}
    assert {(one.kind, one.cpu_us) for one in figures(world, since=HOUR, tenant=OTHER_TENANT)} == {
        ("service", 9),
        ("storage", 0),
    }


# the whole and its parts


def serve() -> None:
    if [row for row in todo.open_of(world().views.db, f"service-{SERVICE}") if row.deployment_id]:
        return
    given(a_deploy(f"d{world().log.position}", 2, memory_mb=world().log.position))
    comes_to_serve()


def measure() -> None:
    now = world().now_us // 1_000_000
    given(measured(reading(world().log.position % 7, now), hour=now - now % HOUR_S, volumes=now % 1000))


STEPS: dict[str, Callable[[], None]] = {
    "serve": serve,
    "stop": lambda: given(ServiceCircuitOpened(5)),
    "measure": measure,
}


@settings(max_examples=20, deadline=None)
@examples(
    steps=strategies.lists(strategies.tuples(strategies.sampled_from(sorted(STEPS)), strategies.integers(0, 5000))),
    cuts=strategies.lists(
        strategies.integers(0, 60_000) | strategies.integers(1, 16).map(lambda hour: hour * HOUR_S - START % HOUR_S),
        max_size=5,
    ),
)
def test_however_a_time_is_split_its_parts_add_up_to_the_whole(steps: list[tuple[str, int]], cuts: list[int]) -> None:
    with a_world() as made:
        given(a_tenant(), a_service())
        for name, seconds in steps:
            STEPS[name]()
            later(seconds)
        end = made.now_us // 1_000_000
        inner = sorted({min(START + cut, end) for cut in cuts} - {START, end})
        with metering(made) as db:
            whole = figures_of(db, TENANT, START, end, 0)
            for window_s in (0, HOUR_S, 24 * HOUR_S):
                parts = [
                    one
                    for since, until in pairwise([START, *inner, end])
                    for one in figures_of(db, TENANT, since, until, window_s)
                ]
                assert totals(parts) == totals(whole)


def totals(all_of: list[Figures]) -> dict[tuple[str, str], Figures]:
    """Of each resource all that there is, as if it were of one time."""
    found: dict[tuple[str, str], Figures] = {}
    for one in all_of:
        key = (one.kind, one.resource_id)
        timeless = structs.replace(one, at=0, until=0)
        found[key] = found[key] + timeless if key in found else timeless
    return found


def test_what_follows_the_log_event_by_event_is_what_is_made_of_it_at_once(world: World) -> None:
    slow = open_metering(world.folder / "slow.db", world.log.db, INSTALLATION, lambda done, of: None)
    tell()
    for at in read_all(world.log.db, 0, world.log.position):
        slow.begin()
        slow.apply(at, decode(at.type, at.data))
        slow.commit(at.position, at.link)
    with metering(world) as db:
        assert digests(slow.db) == digests(db)
        assert db.execute("SELECT count(*) FROM interval").get
    slow.close()
