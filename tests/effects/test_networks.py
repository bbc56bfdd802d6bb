"""A tenant's networks are there before its instances, the one to the internet only for who may reach it."""

from typing import Any

import pytest

from ahplat.commands.tenants import RequestErasure
from ahplat.effects import networks
from ahplat.effects.networks import sites
from ahplat.names.responder import Site
from events.services import ServiceDeployFailed, ServiceDeployRequested
from tests.effects.world import INSTALLATION, TENANT, World

INNER, OUTER = f"ah-tenant-{TENANT}", f"ah-egress-{TENANT}"


async def test_without_egress_there_is_no_network_to_the_internet(world: World) -> None:
    await world.create()
    await world.settled()
    assert list(world.host.networks) == [INNER]


async def test_with_egress_there_is_one_and_the_log_says_who_asked_for_it(world: World) -> None:
    await world.create(egress="internet")
    await world.settled()
    inner, outer = world.host.networks[INNER], world.host.networks[OUTER]
    assert (inner.internal, outer.internal) == (True, False)
    assert (inner.subnet, outer.subnet) == ("10.128.0.0/26", "10.128.0.64/26")
    assert world.last(ServiceDeployRequested).egress == "internet"


async def test_names_are_answered_in_its_networks_before_an_instance_starts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    async def look(tenant: str = "") -> None:
        looked.append((tenant, list(world.host.networks), len(world.host.instances)))

    monkeypatch.setattr(world.platform.names, "look", look)
    await world.create(egress="internet")
    await world.settled()
    assert (TENANT, [INNER, OUTER], 0) in looked


async def test_a_tenant_that_never_was_given_one_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "egress_of", lambda tenant, installation: None)
    await world.create(egress="internet")
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "egress_unsupported"
    assert world.host.instances == {}


async def test_both_go_with_their_tenant(world: World) -> None:
    await world.create(egress="internet")
    await world.settled()
    await world.submit(RequestErasure(tenant_id=TENANT))
    await world.settled()
    assert world.host.networks == {}
    assert sites(world.views, INSTALLATION) == []


async def test_names_outside_are_asked_for_on_the_network_to_the_internet_alone(world: World) -> None:
    wanted = [
        Site(TENANT, "ah" + TENANT[-12:], "10.128.0.1", passes_on=False),
        Site(TENANT, "aho" + TENANT[-12:], "10.128.0.65", passes_on=True),
    ]
    assert sites(world.views, INSTALLATION) == sites(world.views, INSTALLATION, TENANT) == wanted
    assert sites(world.views, INSTALLATION, "b" * 32) == []


async def test_every_look_at_everything_looks_at_who_answers_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []

    async def look(tenant: str = "") -> None:
        looked.append(tenant)

    monkeypatch.setattr(world.platform.names, "look", look)
    await world.later(200)
    assert looked and set(looked) == {""}
