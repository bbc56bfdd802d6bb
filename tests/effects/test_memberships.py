"""The router's container is looked at with everything else, put back where it belongs, and what was found is said."""

import logging

import pytest

from ahplat import limits
from ahplat.commands.tenants import RequestErasure
from ahplat.engines.engine import ROUTER
from events.networks import NetworkRouterRejoined
from projections.todo import open_of_all
from tests.effects.world import TENANT, World

OTHER = "b" * 32
NETWORK = f"ah-tenant-{TENANT}"
ADDRESS = "10.128.0.32"


@pytest.fixture
async def routed(world: World) -> World:
    """A service whose network the router is in."""
    world.host.router = "r1"
    await world.create()
    await world.settled()
    assert world.host.router_in == {NETWORK: ADDRESS}
    return world


async def looked(world: World) -> None:
    """Everything was looked at once more."""
    await world.later(2 * limits.RECONCILE_S)


async def test_where_it_is_as_it_should_be_nothing_is_said(routed: World) -> None:
    await looked(routed)
    assert routed.facts(NetworkRouterRejoined) == []
    assert routed.reconciler.memberships.problem == ""


async def test_one_that_was_taken_out_is_put_back_and_said_once(routed: World) -> None:
    routed.host.router_in.clear()
    await looked(routed)
    assert routed.host.router_in == {NETWORK: ADDRESS}
    await looked(routed)
    assert routed.facts(NetworkRouterRejoined) == [NetworkRouterRejoined("r1", "")]
    (at,) = [at for at in routed.recorded() if at.type == "network.router_rejoined"]
    assert (at.stream, at.tenant) == (f"network-{TENANT}", TENANT)


async def test_what_was_found_is_said_of_one_at_another_address_and_of_another_container(routed: World) -> None:
    routed.host.router_in[NETWORK] = "10.128.0.2"
    await looked(routed)
    routed.host.router, routed.host.router_in = "r2", {}
    await looked(routed)
    assert routed.facts(NetworkRouterRejoined) == [
        NetworkRouterRejoined("r1", "10.128.0.2"),
        NetworkRouterRejoined("r2", ""),
    ]


async def test_a_hint_of_the_engine_is_enough(routed: World) -> None:
    routed.host.router_in.clear()
    before_s = routed.loop.time()
    routed.engine.hint(ROUTER)
    await routed.until(lambda: routed.facts(NetworkRouterRejoined), every_s=0.01)
    assert routed.loop.time() - before_s < 0.1
    assert routed.host.router_in == {NETWORK: ADDRESS}


async def test_a_server_that_comes_back_puts_it_back(routed: World) -> None:
    await routed.end()
    routed.host.router, routed.host.router_in = "r2", {}
    routed.close()
    routed.open()
    routed.begin()
    await routed.until(lambda: routed.facts(NetworkRouterRejoined))
    assert routed.host.router_in == {NETWORK: ADDRESS}


async def test_one_that_is_away_is_said_once_and_keeps_nobody_waiting(
    routed: World, caplog: pytest.LogCaptureFixture
) -> None:
    routed.host.router, routed.host.router_in = "", {}
    with caplog.at_level(logging.WARNING, "ahplat.reconcile"):
        await looked(routed)
        await looked(routed)
    assert routed.reconciler.memberships.problem.startswith("the container router is not there")
    assert len([one for one in caplog.messages if one.startswith("the router: ")]) == 1
    await routed.register(OTHER)
    await routed.create("beside", tenant_id=OTHER)
    await routed.settled()
    assert routed.service.status == "running"
    assert routed.facts(NetworkRouterRejoined) == []
    routed.host.router = "r2"
    await looked(routed)
    assert routed.reconciler.memberships.problem == ""
    assert set(routed.host.router_in) == {NETWORK, f"ah-tenant-{OTHER}"}


async def test_it_is_not_put_back_into_networks_of_who_is_gone(routed: World) -> None:
    await routed.submit(RequestErasure(tenant_id=TENANT))
    await routed.settled()
    await looked(routed)
    assert (routed.host.router_in, routed.facts(NetworkRouterRejoined)) == ({}, [])
    assert open_of_all(routed.views) == []


async def test_where_nobody_told_of_one_nothing_is_looked_for(world: World) -> None:
    await world.create()
    await looked(world)
    assert (world.host.router_in, world.reconciler.memberships.problem) == ({}, "")
