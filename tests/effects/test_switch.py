"""The route of a service moves once the router has it; what served before is untouched until then, whatever happens."""

import pytest

from ahplat import limits
from ahplat.commands.domains import AddDomain, VerifyDomain
from ahplat.commands.services import ConfigureService
from events.services import (
    ServiceConfigured,
    ServiceRepaired,
    ServiceRouted,
    ServiceRouteFailed,
    ServiceRouteRepaired,
)
from tests.effects.world import World

ROUTE_FAILED = ["deploy_requested", "attempted", "instance_healthy", "attempted", "route_failed"]


async def a_running_service(world: World) -> str:
    """Its only instance serves, and the router says so; returns where it answers."""
    await world.create()
    await world.settled()
    (server,) = world.router.servers(world.service_id)
    return server


def where(world: World, number: int) -> str:
    """Where the instance of a deployment answers."""
    (one,) = (one for one in world.instances if one.identity.number == number)
    return f"{one.host}:{one.port}"


async def moving(world: World) -> None:
    """A second deployment is healthy, and the router is being told."""
    await world.deploy("web:1")
    await world.until(lambda: "service.instance_healthy" in {work.type for work in world.work})
    await world.later(1)


async def test_the_router_has_the_new_one_before_the_old_one_ends(world: World) -> None:
    old = await a_running_service(world)
    await world.deploy("web:1")
    await world.until(lambda: world.deployments[0].status == "running")
    assert world.router.servers(world.service_id) == (where(world, 2),) != (old,)
    assert world.numbers == [1, 2]
    await world.settled()
    assert world.numbers == [2]
    assert [route.servers for route in world.router.history] == [(old,), (where(world, 2),)]


async def test_a_router_that_never_has_it_fails_the_deployment_and_the_old_one_serves(world: World) -> None:
    old = await a_running_service(world)
    began = world.loop.now
    world.router.stubborn = True
    await world.deploy("web:1")
    await world.until(lambda: world.router.told[world.service_id].servers != (old,), every_s=0.1)
    assert world.numbers == [1, 2]
    world.router.stubborn = False  # it takes what it is told from here on, but not what it was told already
    await world.settled()
    assert limits.ROUTE_CONFIRM_S <= world.loop.now - began < limits.ROUTE_CONFIRM_S + 10
    assert world.story()[-len(ROUTE_FAILED) :] == ROUTE_FAILED
    assert (world.service.status, world.service.serving, world.numbers) == ("running", 1, [1])
    assert world.statuses == ["failed", "running"]
    assert world.router.told[world.service_id].servers == world.router.servers(world.service_id) == (old,)
    failed: ServiceRouteFailed = world.last(ServiceRouteFailed)
    assert failed.code == "route_unconfirmed"
    assert "does not send requests to" in world.unsealed("detail", failed.detail)


async def test_after_a_route_that_failed_it_can_simply_be_deployed_again(world: World) -> None:
    await a_running_service(world)
    world.router.stubborn = True
    await world.deploy("web:1")
    await world.until(lambda: world.deployments[0].status == "failed")
    world.router.stubborn = False
    await world.deploy("web:1")
    await world.settled()
    assert world.statuses == ["running", "failed", "stopped"]
    assert world.router.servers(world.service_id) == (where(world, 3),)


async def test_while_the_router_is_away_the_old_one_serves_and_the_switch_waits(world: World) -> None:
    old = await a_running_service(world)
    world.router.away = True
    await moving(world)
    await world.later(30)
    assert world.router.servers(world.service_id) == (old,)
    assert (world.service.status, world.numbers, world.routes()) == ("deploying", [1, 2], [world.service.container_id])
    assert "effect.postponed" in {at.type for at in world.recorded()}
    world.router.come_back()
    await world.settled()
    assert (world.statuses, world.numbers) == (["running", "stopped"], [2])
    assert world.router.servers(world.service_id) == (where(world, 2),)


async def test_a_router_that_stays_away_fails_the_deployment_in_the_end(world: World) -> None:
    await a_running_service(world)
    began = world.loop.now
    world.router.away = True
    await world.deploy("web:1")
    await world.settled()
    assert world.loop.now - began < limits.ROUTE_DEADLINE_S + 60
    assert (world.statuses, world.service.status, world.numbers) == (["failed", "running"], "running", [1])


async def test_a_server_that_dies_in_the_middle_of_a_switch_carries_it_on(world: World) -> None:
    old = await a_running_service(world)
    world.router.away = True
    await moving(world)
    await world.restart()
    await world.later(1)
    assert world.router.told[world.service_id].servers in ((old,), (where(world, 2),))
    assert world.numbers == [1, 2]
    world.router.come_back()
    await world.settled()
    assert (world.statuses, world.numbers) == (["running", "stopped"], [2])
    assert len(world.facts(ServiceRouted)) == 2


async def test_a_switch_that_is_called_off_leaves_the_old_one_and_removes_the_new(world: World) -> None:
    old = await a_running_service(world)
    world.router.stubborn = True
    await moving(world)
    world.router.stubborn = False
    await world.cancel()
    await world.settled()
    assert (world.statuses, world.service.status, world.numbers) == (["cancelled", "running"], "running", [1])
    assert world.router.servers(world.service_id) == world.router.told[world.service_id].servers == (old,)


async def test_a_stop_in_the_middle_of_a_switch_ends_both(world: World) -> None:
    await a_running_service(world)
    world.router.stubborn = True
    await moving(world)
    world.router.stubborn = False
    await world.stop()
    await world.settled()
    assert (world.statuses, world.service.status, world.instances) == (["superseded", "stopped"], "stopped", [])
    assert world.router.servers(world.service_id) == ()


async def test_a_newer_deployment_waits_for_the_switch_and_is_not_harmed_by_its_draining(world: World) -> None:
    await a_running_service(world)
    world.router.away = True
    await moving(world)
    await world.deploy("web:1")
    world.router.come_back()
    await world.settled()
    assert (world.statuses, world.numbers) == (["running", "stopped", "stopped"], [3])
    assert world.router.servers(world.service_id) == (where(world, 3),)
    assert world.facts(ServiceRouteFailed) == []


async def test_no_more_requests_come_before_a_stopped_service_ends(world: World) -> None:
    await a_running_service(world)
    (one,) = world.instances
    calls = len(world.engine.calls)
    await world.stop()
    await world.until(lambda: world.router.servers(world.service_id) == ())
    assert "stop" not in {name for name, _ in world.engine.calls[calls:]}
    await world.settled()
    assert one.id not in world.host.instances


async def test_a_stop_waits_a_moment_for_a_router_that_has_not_let_go(world: World) -> None:
    await a_running_service(world)
    (one,) = world.instances
    world.router.stubborn = True
    await world.stop()
    await world.later(limits.ROUTE_GONE_S * 0.9)
    assert world.host.instances[one.id].state == "running"
    await world.settled()
    assert one.id not in world.host.instances


async def test_what_never_came_to_serve_is_removed_after_the_router_went_back(world: World) -> None:
    old = await a_running_service(world)
    world.router.blind = True  # requests may be going to the new one
    await moving(world)
    (new,) = (one for one in world.instances if one.identity.number == 2)
    assert world.router.servers(world.service_id) == (where(world, 2),)
    await world.until(lambda: world.router.servers(world.service_id) == (old,), every_s=0.1)
    back = world.loop.now
    assert world.host.instances[new.id].state == "running"
    await world.until(lambda: new.id not in world.host.instances, every_s=0.1)
    assert world.loop.now - back >= world.drain_s
    assert world.statuses[0] in ("deploying", "failed")


async def test_a_stop_does_not_wait_for_a_router_that_is_away(world: World) -> None:
    await a_running_service(world)
    world.router.away = True
    began = world.loop.now
    await world.stop()
    await world.settled()
    assert (world.service.status, world.instances) == ("stopped", [])
    assert world.loop.now - began < 15


async def test_what_crashed_is_no_server_any_more_and_what_replaces_it_is_one(world: World) -> None:
    await world.create(replicas=2)
    await world.settled()
    first, second = world.instances
    world.host.crash(first.id)
    world.engine.hint(world.service_id)
    await world.until(lambda: len(world.router.servers(world.service_id)) == 1)
    assert world.router.servers(world.service_id) == (f"{second.host}:{second.port}",)
    await world.settled()
    assert len(set(world.router.servers(world.service_id))) == 2


async def test_what_somebody_else_told_the_router_is_said_in_the_log(world: World) -> None:
    await a_running_service(world)
    version = world.service.version
    world.router.meddled[world.service_id] = "changed"
    await world.later(limits.RECONCILE_S * 1.5)
    assert world.facts(ServiceRouteRepaired) == [ServiceRouteRepaired("changed")]
    assert world.service.version == version + 1


async def test_a_worker_has_no_route(world: World) -> None:
    await world.create(image="web:1", port=0)
    await world.settled()
    assert world.service.status == "running"
    assert world.router.servers(world.service_id) == ()


async def test_a_verified_name_is_routed_and_one_that_is_not_is_not(world: World) -> None:
    await a_running_service(world)
    await world.order(AddDomain, host="www.shop.example")
    await world.later(1)
    own = "web.acme-a.localhost"
    assert world.router.has[world.service_id].hosts == (own,)
    await world.order(VerifyDomain, host="www.shop.example", by="operator")
    await world.later(1)
    assert world.router.has[world.service_id].hosts == (own, "www.shop.example")


@pytest.mark.parametrize("drain_s", [0, 30])
async def test_a_service_may_say_how_long_its_old_instances_drain(world: World, drain_s: int) -> None:
    await a_running_service(world)
    await world.order(ConfigureService, changes=ServiceConfigured(drain_s=drain_s))
    await world.deploy("web:1")
    await world.until(lambda: world.deployments[0].status == "running")
    routed = world.loop.now
    await world.settled()
    assert drain_s <= world.loop.now - routed < drain_s + 1


@pytest.mark.parametrize("how", ["ended", "vanished"])
async def test_connections_that_were_kept_to_what_is_gone_are_not_used_again(world: World, how: str) -> None:
    """Whatever has its address now is another generation, or comes after a time without a server."""
    await a_running_service(world)
    (old,) = world.instances
    world.host.crash(old.id) if how == "ended" else world.host.vanish(old.id)
    world.engine.hint(world.service_id)
    await world.until(lambda: world.facts(ServiceRepaired))
    await world.later(1)
    generations = [route.generation for route in world.router.history]
    assert len(generations) == 3 and generations[0] and generations[1] == ""
    assert (generations[2] == generations[0]) == (how == "ended")
