"""Suspension, reactivation, erasure."""

import pytest

from ahplat import limits
from ahplat.commands.effects import Conclude
from ahplat.commands.tenants import ReactivateTenant, RequestErasure, SuspendTenant
from ahplat.errors import Rejected, Unavailable, Unreadable
from events.keys import KeyCreated
from events.tenants import TenantErased, TenantKept, TenantQuieted, TenantResumed, TenantWorkSuperseded
from tests.effects.world import TENANT, World

OTHER = "b" * 32


async def suspend(world: World) -> None:
    await world.submit(SuspendTenant(tenant_id=TENANT))


async def reactivate(world: World, key_id: str = "k2") -> None:
    key = KeyCreated(key_id=key_id, name=b"name", digest=b"digest", scopes=["admin"])
    await world.submit(ReactivateTenant(tenant_id=TENANT, key=key))


async def erase(world: World) -> None:
    await world.submit(RequestErasure(tenant_id=TENANT))


async def three_services(world: World) -> tuple[str, str, str]:
    """One that runs, one that is stopped, one that is being deployed."""
    runs = await world.create("runs")
    stopped = await world.create("stopped")
    await world.settled()
    await world.stop()
    await world.settled()
    deploying = await world.create("deploying", image="dead:1")
    await world.until(lambda: world.instances)
    return runs, stopped, deploying


async def test_a_suspension_stops_all_that_runs(world: World) -> None:
    runs, _, deploying = await three_services(world)
    await suspend(world)
    await world.settled()
    assert world.host.instances == {}
    assert set(world.last(TenantQuieted).services) == {runs, deploying}


async def test_a_reactivation_starts_what_ran_and_nothing_else(world: World) -> None:
    runs, stopped, deploying = await three_services(world)
    await suspend(world)
    await world.settled()
    world.image("dead:1")
    await reactivate(world)
    await world.settled()
    assert set(world.last(TenantResumed).services) == {runs, deploying}
    assert {one.identity.service for one in world.host.instances.values()} == {runs, deploying}
    world.service_id = stopped
    assert world.service.status == "stopped"


async def test_a_reactivation_may_follow_at_once(world: World) -> None:
    await world.create()
    await world.settled()
    await suspend(world)
    await reactivate(world)
    await world.settled()
    assert world.service.status == "running"
    assert len(world.instances) == 1


async def test_and_a_suspension_at_once_after_that(world: World) -> None:
    await world.create()
    await world.settled()
    began = world.loop.now
    for n in range(2, 5):
        await suspend(world)
        await reactivate(world, f"k{n}")
    await suspend(world)
    await world.settled()
    assert (world.service.status, world.instances) == ("stopped", [])
    assert world.loop.now - began < 10
    await reactivate(world, "k9")
    await world.settled()
    assert world.service.status == "running"


async def test_what_no_longer_fits_the_quota_stays_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.create("one", memory_mb=64)
    await world.create("two", memory_mb=64)
    await world.settled()
    await suspend(world)
    await world.settled()
    monkeypatch.setitem(limits.QUOTAS, "max_memory_mb", 100)
    await reactivate(world)
    await world.settled()
    assert len(world.host.instances) == 1
    assert len(world.last(TenantResumed).services) == 1


async def test_a_suspension_reaches_only_its_tenant(world: World) -> None:
    await world.register(OTHER)
    await world.create("theirs", tenant_id=OTHER)
    theirs = world.service_id
    await world.create("ours")
    await world.settled()
    await suspend(world)
    await world.settled()
    assert {one.identity.service for one in world.host.instances.values()} == {theirs}


async def test_an_erasure_leaves_nothing_that_can_be_read(world: World) -> None:
    await world.create(env={"SECRET": "1234"})
    await world.settled()
    sealed = world.keyring.seal(TENANT, "s", "f", b"x")
    await erase(world)
    await world.settled()
    assert world.host.instances == {}
    assert world.host.networks == {}
    assert len(world.facts(TenantErased)) == 1
    with pytest.raises(Unreadable):
        world.keyring.unseal(TENANT, "s", "f", sealed)
    await world.restart()
    with pytest.raises(Unreadable):
        world.keyring.unseal(TENANT, "s", "f", sealed)


async def test_an_erasure_waits_for_what_the_engine_still_holds(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.lag_s["stop"] = 8
    await erase(world)
    await world.called("stop")
    await world.later(5)
    assert world.facts(TenantErased) == []
    await world.settled()
    assert (world.facts(TenantErased) != [], world.host.instances) == (True, {})


async def test_an_erasure_calls_off_what_is_under_way(world: World) -> None:
    await world.create(image="dead:1")
    await world.until(lambda: world.instances)
    began = world.loop.now
    await erase(world)
    await world.settled()
    assert world.loop.now - began < 2
    assert world.facts(TenantErased)


async def test_an_erasure_does_not_wait_for_work_that_waits_for_it(world: World) -> None:
    """Two orders of the operator at once: work on the tenant itself comes after the erasure."""
    await world.create()
    await world.settled()
    began = world.loop.now
    await suspend(world)
    await erase(world)
    await suspend(world)
    await world.settled()
    assert world.loop.now - began < 2
    assert world.facts(TenantErased)


async def test_an_erasure_is_carried_on_by_the_next_server(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.lag_s["remove_network"] = 5
    await erase(world)
    await world.called("remove_network")
    await world.restart()
    await world.settled()
    assert world.facts(TenantErased)


async def test_an_erasure_that_was_cut_off_after_the_key_was_destroyed_comes_to_its_end(world: World) -> None:
    await world.create()
    await world.settled()
    await world.delete()
    await world.settled()
    world.writer.refuse(Conclude, Unavailable("disk_full", "full", 30))
    await erase(world)
    await world.settled()
    assert world.facts(TenantErased)


async def test_a_network_that_cannot_go_yet_is_tried_again(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.fail("remove_network", Rejected("network_in_use", "somebody is in it"))
    await erase(world)
    await world.settled()
    assert world.facts(TenantErased)
    assert world.host.networks == {}


async def test_another_tenant_keeps_all_it_has(world: World) -> None:
    await world.register(OTHER)
    await world.create("theirs", tenant_id=OTHER)
    theirs = world.service_id
    await world.create("ours")
    await world.settled()
    sealed = world.keyring.seal(OTHER, "s", "f", b"x")
    await erase(world)
    await world.settled()
    assert {one.identity.service for one in world.host.instances.values()} == {theirs}
    assert world.keyring.unseal(OTHER, "s", "f", sealed) == b"x"


async def test_a_tenant_that_stays_suspended_is_erased_when_its_time_has_come(world: World) -> None:
    await world.create(env={"SECRET": "1234"})
    await world.settled()
    sealed = world.keyring.seal(TENANT, "s", "f", b"x")
    await suspend(world)
    await world.settled()
    due_us = world.last(TenantKept).due_us
    assert due_us / 1e6 == pytest.approx(world.clock.now_us() / 1e6 + world.keep_suspended_s, abs=10)
    await world.later(world.keep_suspended_s - 20)
    assert world.facts(TenantErased) == []
    assert world.keyring.unseal(TENANT, "s", "f", sealed) == b"x"
    await world.later(40)
    assert len(world.facts(TenantErased)) == 1
    with pytest.raises(Unreadable):
        world.keyring.unseal(TENANT, "s", "f", sealed)


async def test_the_wait_goes_on_over_a_restart(world: World) -> None:
    await suspend(world)
    await world.settled()
    await world.later(world.keep_suspended_s * 29 / 30)
    await world.restart()
    await world.later(world.keep_suspended_s / 30 - 20)
    assert world.facts(TenantErased) == []
    await world.later(40)
    assert len(world.facts(TenantErased)) == 1


async def test_a_tenant_that_came_back_is_not_erased_and_the_next_suspension_counts_anew(world: World) -> None:
    await suspend(world)
    await world.settled()
    await world.later(world.keep_suspended_s * 2 / 3)
    await reactivate(world)
    await world.settled()
    assert len(world.facts(TenantWorkSuperseded)) == 1
    await world.later(world.keep_suspended_s * 2 / 3)
    await suspend(world)
    await world.settled()
    await world.later(world.keep_suspended_s * 2 / 3)
    assert world.facts(TenantErased) == []
    await world.later(world.keep_suspended_s / 2)
    assert len(world.facts(TenantErased)) == 1


async def test_an_erasure_that_is_asked_for_does_not_wait_for_the_time_to_come(world: World) -> None:
    await suspend(world)
    await world.settled()
    began = world.loop.now
    await erase(world)
    await world.settled()
    assert world.loop.now - began < 2
    assert len(world.facts(TenantErased)) == 1
    await world.later(world.keep_suspended_s * 2)
    assert len(world.facts(TenantErased)) == 1


async def test_an_erasure_is_noted_before_the_key_goes(world: World) -> None:
    await world.create()
    await world.settled()
    await erase(world)
    await world.settled()
    assert (world.folder / "checkpoints" / "erased").read_text() == f"{TENANT}\n"
