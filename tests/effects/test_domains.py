"""Looking for the record that proves a name: less and less often, beside all other work, to an outcome in the log."""

import asyncio

import pytest

from ahplat import limits
from ahplat.commands.domains import AddDomain, CheckDomain, RemoveDomain
from ahplat.names.proofs import proof_of
from events.domains import ServiceDomainCheckDropped, ServiceDomainChecked, ServiceDomainVerified
from projections import domains
from projections.domains import DomainRow
from tests.commands.given import OTHER_TENANT, TENANT
from tests.effects.world import World

HOST = "www.shop.example"
RECORD = f"_ahplat.{HOST}"
FIRST_S, MOST_S = limits.DOMAIN_CHECK_S


def the_record(world: World, tenant_id: str = TENANT) -> None:
    """The tenant sets it."""
    world.upstreams.texts[RECORD] = proof_of(world.keyring, tenant_id, HOST).value


async def claim(world: World, host: str = HOST) -> None:
    now_us = world.clock.now_us()
    until_us = now_us + int(limits.DOMAIN_CHECKED_FOR_S * 1e6)
    await world.order(AddDomain, host=host, due_us=now_us + int(FIRST_S * 1e6), until_us=until_us)


async def look_now(world: World) -> None:
    now_us = world.clock.now_us()
    await world.order(CheckDomain, host=HOST, now_us=now_us, until_us=now_us + int(limits.DOMAIN_CHECKED_FOR_S * 1e6))


def row(world: World) -> DomainRow:
    (found,) = domains.list_of(world.views, world.service_id)
    return found


def findings(world: World) -> list[str]:
    return [checked.finding for checked in world.facts(ServiceDomainChecked)]


async def test_a_record_that_comes_later_verifies_the_name(world: World) -> None:
    await world.create()
    await claim(world)
    await world.until(lambda: findings(world))
    assert (row(world).finding, row(world).verified, row(world).checked_at) == (
        "record_missing",
        0,
        row(world).check_at - 30,
    )
    the_record(world)
    await world.settled()
    assert world.facts(ServiceDomainVerified) == [ServiceDomainVerified(HOST, "dns")]
    assert (row(world).verified, row(world).check_at, findings(world)) == (1, None, ["record_missing", "found"])


async def test_it_is_looked_for_less_and_less_often_until_its_time_is_over(world: World) -> None:
    await world.create()
    await claim(world)
    world.upstreams.away = True
    await world.later(limits.DOMAIN_CHECKED_FOR_S + 1)
    assert not world.work
    looks = len(findings(world))
    assert set(findings(world)) == {"no_answer"} and looks == world.upstreams.asked
    least = limits.DOMAIN_CHECKED_FOR_S / MOST_S
    assert least <= looks < least + 10
    assert (row(world).verified, row(world).check_open) == (0, None)
    world.upstreams.away = False
    the_record(world)
    await look_now(world)
    await world.settled()
    assert row(world).verified


async def test_a_tenant_who_asks_is_not_kept_waiting_for_the_next_look(world: World) -> None:
    await world.create()
    await claim(world)
    the_record(world)
    started = world.clock.now_us()
    await look_now(world)
    await world.settled()
    assert row(world).verified and world.clock.now_us() - started < FIRST_S * 1e6 / 2
    assert [fact.host for fact in world.facts(ServiceDomainCheckDropped)] == [HOST]


async def test_a_name_that_is_given_up_is_not_looked_for(world: World) -> None:
    await world.create()
    await claim(world)
    await claim(world, "other.example")
    await world.order(RemoveDomain, host=HOST)
    await world.delete()
    await world.settled()
    assert [fact.host for fact in world.facts(ServiceDomainCheckDropped)] == [HOST, "other.example"]
    assert world.upstreams.asked == 0


async def test_of_two_who_claim_a_name_the_first_to_prove_it_has_it(world: World) -> None:
    mine = await world.create()
    await claim(world)
    await world.register(OTHER_TENANT)
    theirs = await world.create(tenant_id=OTHER_TENANT)
    now_us = world.clock.now_us()
    until_us = now_us + int(limits.DOMAIN_CHECKED_FOR_S * 1e6)
    others = {"tenant_id": OTHER_TENANT, "service_id": theirs}
    await world.submit(AddDomain(**others, host=HOST, due_us=now_us, until_us=until_us))
    the_record(world, OTHER_TENANT)
    await world.until(lambda: world.facts(ServiceDomainVerified))
    the_record(world)
    await world.settled()
    assert domains.owner_of(world.views, HOST).service_id == theirs
    (loser,) = domains.list_of(world.views, mine)
    assert (loser.verified, loser.finding, loser.check_open) == (0, "domain_taken", None)
    await world.submit(RemoveDomain(**others, host=HOST))
    world.service_id = mine
    await look_now(world)
    await world.settled()
    assert row(world).verified


async def test_a_deployment_does_not_wait_for_a_look_nor_a_look_for_it(world: World) -> None:
    await world.create()
    await claim(world)
    await world.until(lambda: world.statuses == ["running"])
    assert world.upstreams.asked == 0 and world.work


async def test_a_resolver_that_hangs_is_asked_a_few_questions_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, let_go = [0], asyncio.Event()

    async def hang(tenant: str, query: object) -> None:
        asked[0] += 1
        await let_go.wait()

    monkeypatch.setattr(world.upstreams, "ask", hang)
    await world.create()
    for number in range(limits.DOMAIN_CHECKS + 3):
        await claim(world, f"n{number}.example")
    await world.later(FIRST_S + 1)
    assert asked == [limits.DOMAIN_CHECKS]
    await world.deploy()
    await world.until(lambda: world.statuses[0] == "running")
    await world.delete()
    let_go.set()
    await world.settled()


async def test_a_server_that_dies_over_a_look_does_it_again(world: World) -> None:
    await world.create()
    await claim(world)
    await world.restart()
    the_record(world)
    await world.settled()
    assert row(world).verified
