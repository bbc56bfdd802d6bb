"""An open circuit: tried after 30 minutes, an hour, four hours; closed after a healthy hour."""

from itertools import pairwise

import pytest

from ahplat import limits
from ahplat.commands.tenants import SuspendTenant
from events.services import ServiceCircuitClosed, ServiceCircuitHalfOpened, ServiceCircuitOpened
from tests.effects.test_reconcile import A_LOOK_S, crash, looked
from tests.effects.world import TENANT, World

MINUTE_S = 60


@pytest.fixture
async def tripped(world: World) -> World:
    """A service whose circuit has just opened; its image answers again."""
    await world.create()
    await world.settled()
    await world.later(5)
    for _ in range(limits.CRASHES):
        await crash(world)
    assert world.service.status == "circuit_open"
    return world


def tried_after_min(world: World) -> list[int]:
    """In whole minutes, how long after the circuit opened, or the try before, each try came."""
    at_us = [
        at.at_us for at in world.recorded() if at.type in ("service.circuit_opened", "service.circuit_half_opened")
    ]
    return [round((after - before) / 6e7) for before, after in pairwise(at_us)]


async def test_it_is_tried_once_after_half_an_hour_and_runs(tripped: World) -> None:
    await tripped.later(28 * MINUTE_S)
    assert tripped.facts(ServiceCircuitHalfOpened) == []
    await tripped.later(2 * MINUTE_S + A_LOOK_S)
    await tripped.settled()
    assert tripped.last(ServiceCircuitHalfOpened).trial == 1
    assert (tripped.service.status, tripped.deployments[0].trigger) == ("running", "half_open")
    assert tripped.routes() == [tripped.instances[0].id]


async def test_a_healthy_hour_closes_it_and_forgets_the_count(tripped: World) -> None:
    await tripped.later(30 * MINUTE_S + A_LOOK_S)
    await tripped.later(58 * MINUTE_S)
    assert tripped.service.circuit_open
    await tripped.later(2 * MINUTE_S + A_LOOK_S)
    assert tripped.facts(ServiceCircuitClosed) == [ServiceCircuitClosed()]
    assert (tripped.service.circuit_open, tripped.service.crash_count) == (0, 0)
    await crash(tripped)
    assert tripped.service.status == "running"


async def test_the_tries_become_rarer(tripped: World) -> None:
    tripped.silent.add(tripped.host.images["web:1"].digest())
    await tripped.later(12 * 60 * MINUTE_S)
    await tripped.settled()
    assert [tried.trial for tried in tripped.facts(ServiceCircuitHalfOpened)] == [1, 2, 3, 4]
    assert tried_after_min(tripped) == pytest.approx([30, 60, 240, 240], abs=2)
    assert (tripped.service.status, tripped.instances) == ("circuit_open", [])


async def test_one_crash_in_a_try_opens_it_at_once_and_the_next_try_keeps_its_time(tripped: World) -> None:
    await tripped.later(30 * MINUTE_S + A_LOOK_S)
    await crash(tripped)
    assert len(tripped.facts(ServiceCircuitOpened)) == 2
    assert (tripped.service.status, tripped.instances) == ("circuit_open", [])
    await tripped.later(55 * MINUTE_S)
    assert len(tripped.facts(ServiceCircuitHalfOpened)) == 1
    await tripped.later(5 * MINUTE_S + A_LOOK_S)
    assert len(tripped.facts(ServiceCircuitHalfOpened)) == 2


async def test_a_tenant_who_stops_it_ends_the_tries(tripped: World) -> None:
    await tripped.stop()
    assert (tripped.service.status, tripped.service.circuit_open) == ("stopped", 0)
    await tripped.later(5 * 60 * MINUTE_S)
    assert tripped.facts(ServiceCircuitHalfOpened) == []


async def test_a_service_of_a_suspended_tenant_is_not_tried(tripped: World) -> None:
    await tripped.submit(SuspendTenant(tenant_id=TENANT))
    await tripped.later(5 * 60 * MINUTE_S)
    assert tripped.facts(ServiceCircuitHalfOpened) == []


async def test_the_time_of_a_try_outlives_the_server(tripped: World) -> None:
    await tripped.later(20 * MINUTE_S)
    await tripped.restart()
    await tripped.later(8 * MINUTE_S)
    assert tripped.facts(ServiceCircuitHalfOpened) == []
    await tripped.later(2 * MINUTE_S + A_LOOK_S)
    assert len(tripped.facts(ServiceCircuitHalfOpened)) == 1


async def test_a_healthy_hour_forgets_crashes_that_opened_nothing(world: World) -> None:
    await world.create()
    await world.settled()
    await world.later(5)
    await crash(world)
    await world.later(60 * MINUTE_S + A_LOOK_S)
    assert (world.service.crash_count, len(world.facts(ServiceCircuitClosed))) == (0, 1)
    await looked(world)
    assert len(world.facts(ServiceCircuitClosed)) == 1
