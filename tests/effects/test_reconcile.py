"""What is found amiss becomes an event and a repair, by the same worker as everything else."""

import asyncio

import pytest
from msgspec.structs import replace

from ahplat import limits
from ahplat.commands.instances import ReportCrash
from ahplat.errors import Unavailable
from events.services import (
    ServiceCircuitOpened,
    ServiceCrashed,
    ServiceDrifted,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRepairRequested,
)
from tests.effects.facts import an_instance
from tests.effects.world import World, crash_backoff_s

A_LOOK_S = limits.RECONCILE_S * 1.3


@pytest.fixture
async def running(world: World) -> World:
    """One service that runs, and was looked at."""
    await world.create()
    await world.settled()
    await world.later(5)
    return world


async def crash(world: World, exit_code: int = 1) -> None:
    """The instance ends, and what follows comes to its end."""
    world.host.crash(world.instances[0].id, exit_code)
    await world.later(0.1)
    await world.settled()


async def looked(world: World) -> None:
    """Time for a look at everything, and for what follows."""
    await world.later(A_LOOK_S)
    await world.settled()


# crashes


async def test_a_crash_is_noticed_at_once_and_repaired_after_a_moment(running: World) -> None:
    (before,) = running.instances
    began = running.loop.now
    await crash(running, 3)
    (crashed,) = running.facts(ServiceCrashed)
    assert (crashed.instance, crashed.replica, crashed.exit_code, crashed.crash_count) == (before.id, 1, 3, 1)
    (after,) = running.instances
    assert (after.state, running.service.status, running.service.crash_count) == ("running", "running", 1)
    assert running.routes() == [after.id]
    assert crash_backoff_s(1) <= running.loop.now - began < crash_backoff_s(1) + 1


async def test_its_last_lines_are_kept_for_the_tenant_only(world: World) -> None:
    world.image("talks:1", output=("one", "two"))
    await world.create(image="talks:1")
    await world.settled()
    await world.later(5)
    await crash(world)
    (crashed,) = world.facts(ServiceCrashed)
    assert b"two" not in crashed.tail
    assert world.unsealed("tail", crashed.tail) == "one\ntwo\n"


async def test_it_is_down_and_says_so_until_the_repair(running: World) -> None:
    running.host.crash(running.instances[0].id, 1)
    await running.until(lambda: running.facts(ServiceCrashed))
    assert (running.service.status, running.service.serving) == ("crashed", 0)
    assert running.statuses == ["crashed"]
    assert running.routes() == []
    await running.settled()
    assert running.statuses == ["running"]


async def test_the_wait_grows_with_each_crash(running: World) -> None:
    for n in range(1, limits.CRASHES):
        await crash(running)
        (*_, asked) = (at for at in running.recorded() if at.type == "service.repair_requested")
        wait_us = running.last(ServiceRepairRequested).due_us - asked.at_us
        assert wait_us / 1e6 == pytest.approx(crash_backoff_s(n), abs=0.01)


async def test_too_many_crashes_open_the_circuit_and_stop_the_service(running: World) -> None:
    for _ in range(limits.CRASHES):
        await crash(running)
    assert running.last(ServiceCircuitOpened).crash_count == limits.CRASHES
    assert (running.service.status, running.service.circuit_open, running.instances) == ("circuit_open", 1, [])
    told = len(running.story())
    await looked(running)
    assert len(running.story()) == told


async def test_a_reset_closes_the_circuit_and_deploys_again(running: World) -> None:
    for _ in range(limits.CRASHES):
        await crash(running)
    await running.reset()
    await running.settled()
    assert (running.service.status, running.service.circuit_open, running.service.crash_count) == ("running", 0, 0)
    await crash(running)
    assert running.last(ServiceCrashed).crash_count == 1


async def test_crashes_that_are_long_ago_do_not_count(running: World) -> None:
    for _ in range(2 * limits.CRASHES):
        await crash(running)
        await running.later(limits.CRASH_WINDOW_S)
    assert running.service.status == "running"
    assert running.facts(ServiceCircuitOpened) == []


async def test_of_two_replicas_the_other_one_goes_on(world: World) -> None:
    await world.create(replicas=2)
    await world.settled()
    await world.later(5)
    first, second = sorted(world.instances, key=lambda one: one.identity.replica)
    world.host.crash(first.id, 1)
    await world.until(lambda: world.facts(ServiceCrashed))
    assert (world.service.status, world.service.serving) == ("running", 1)
    assert world.routes() == [second.id]
    await world.settled()
    assert world.host.instances[second.id] == second
    assert len(world.routes()) == 2


async def test_a_repair_that_does_not_help_counts_as_a_crash(running: World) -> None:
    behaviour = running.host.images["web:1"]
    running.silent.add(behaviour.digest())
    await crash(running)
    failed: ServiceRepairFailed = running.facts(ServiceRepairFailed)[0]
    assert failed.code == "unhealthy"
    assert "nobody listens" in running.unsealed("detail", failed.detail)
    await running.settled()
    assert running.service.status == "circuit_open"
    crashes = len(running.facts(ServiceCrashed)) + len(running.facts(ServiceRepairFailed))
    assert crashes == limits.CRASHES


async def test_a_repair_keeps_the_digest_that_ran(running: World) -> None:
    running.image("web:1", output=("another",))
    digest = running.service.image_digest
    await crash(running)
    (instance,) = running.instances
    assert running.host.behaviours[instance.id].digest() == digest


# drifts


async def test_what_somebody_removed_is_there_again(running: World) -> None:
    (before,) = running.instances
    running.host.vanish(before.id)
    await running.until(lambda: running.facts(ServiceDrifted))
    await running.settled()
    (drifted,) = running.facts(ServiceDrifted)
    assert (drifted.finding, drifted.instance) == ("missing", before.id)
    (after,) = running.instances
    assert after.id != before.id
    assert running.routes() == [after.id]
    assert running.last(ServiceRepaired).targets[0].instance == after.id


async def test_what_nobody_asked_for_goes(running: World) -> None:
    (ours,) = running.instances
    an_instance(running, "stray", replace(ours.identity, deployment="another", number=9))
    await looked(running)
    assert running.instances == [ours]
    assert running.last(ServiceRepaired).removed == ["stray.by-hand"]


async def test_a_stopped_service_has_strays_removed_and_nothing_started(running: World) -> None:
    (ours,) = running.instances
    await running.stop()
    await running.settled()
    an_instance(running, "stray", replace(ours.identity, number=9))
    await looked(running)
    assert running.instances == []
    assert running.service.status == "stopped"


async def test_what_was_stopped_before_a_deploy_that_failed_is_not_started_for_a_stray(running: World) -> None:
    (ours,) = running.instances
    await running.stop()
    await running.settled()
    await running.deploy("nobody:1")
    await running.settled()
    an_instance(running, "stray", replace(ours.identity, number=9))
    await looked(running)
    assert running.instances == []
    assert running.service.status == "failed"


async def test_what_is_paused_goes_on(running: World) -> None:
    (ours,) = running.instances
    running.host._change(ours.id, state="paused")
    await running.until(lambda: running.facts(ServiceDrifted))
    await running.settled()
    assert running.last(ServiceDrifted).finding == "paused"
    assert running.instances[0].state == "running"


async def test_what_moved_is_routed_to_where_it_is(running: World) -> None:
    (ours,) = running.instances
    running.host._change(ours.id, host="10.128.0.77", port=8000)
    await running.until(lambda: running.facts(ServiceRepaired))
    await running.settled()
    assert running.last(ServiceDrifted).finding == "moved"
    (target,) = running.last(ServiceRepaired).targets
    assert (target.instance, target.host) == (ours.id, "10.128.0.77")
    await looked(running)
    assert len(running.facts(ServiceDrifted)) == 1


async def test_what_was_renamed_goes_on_and_gets_its_name_back(running: World) -> None:
    (ours,) = running.instances
    running.host.rename(ours.id, "mine")
    await running.until(lambda: running.facts(ServiceRepaired))
    await running.settled()
    (drifted,) = running.facts(ServiceDrifted)
    assert (drifted.finding, drifted.instance) == ("renamed", ours.id)
    assert running.instances == [ours]
    assert running.routes() == [ours.id]


async def test_what_an_earlier_life_of_the_log_made_is_replaced(running: World) -> None:
    (ours,) = running.instances
    running.host._change(ours.id, identity=replace(ours.identity, epoch=9))
    await looked(running)
    assert running.facts(ServiceDrifted)[0].finding == "foreign_epoch"
    (after,) = running.instances
    assert (after.identity.epoch, after.id != ours.id) == (1, True)


async def test_what_belongs_to_no_service_is_left_alone(running: World) -> None:
    (ours,) = running.instances
    nobodys = an_instance(running, "nobodys", replace(ours.identity, service="9" * 32))
    await looked(running)
    await looked(running)
    assert running.host.instances[nobodys.id] == nobodys


async def test_another_installations_instances_are_not_even_seen(running: World) -> None:
    (ours,) = running.instances
    theirs = an_instance(running, "theirs", replace(ours.identity, instance="another"))
    await looked(running)
    assert running.host.instances[theirs.id] == theirs
    assert running.facts(ServiceDrifted) == []


async def test_what_protects_the_host_is_repaired(running: World, caplog: pytest.LogCaptureFixture) -> None:
    running.engine.missing_guards = ["the rule of the gateway"]
    await looked(running)
    assert "repaired: the rule of the gateway" in caplog.text


async def test_services_are_looked_at_also_where_that_cannot_be(running: World) -> None:
    running.engine.silent = True
    running.engine.fail("guard", *[Unavailable("firewall", "iptables says no")] * 10)
    running.host.vanish(running.instances[0].id)
    await looked(running)
    assert len(running.instances) == 1


# what is not said


async def test_when_the_engine_errs_nothing_is_changed(running: World) -> None:
    told = running.story()
    running.engine.silent = True
    running.engine.fail("list", *[Unavailable("engine_error", "500")] * 20)
    running.host.vanish(running.instances[0].id)
    await running.later(15)
    assert running.story() == told
    await looked(running)
    assert len(running.instances) == 1


async def test_a_clock_that_is_set_back_keeps_nothing_waiting_for_as_long(running: World) -> None:
    running.clock.ahead_s = 3_600
    running.host.crash(running.instances[0].id, 1)
    await running.until(lambda: running.facts(ServiceCrashed), every_s=0.1)
    running.clock.ahead_s = 0
    await running.later(5)
    await running.settled()
    assert running.service.status == "running"


async def test_a_finding_that_cannot_be_recorded_is_found_again_soon(running: World) -> None:
    running.writer.refuse(ReportCrash, *[Unavailable("disk_full", "the disk is full", 30)] * 3)
    running.host.crash(running.instances[0].id, 1)
    await running.later(6)
    await running.settled()
    assert len(running.facts(ServiceCrashed)) == 1
    assert running.service.status == "running"


async def test_an_engine_that_is_away_has_nothing_missing(running: World) -> None:
    told = running.story()
    running.engine.away = True
    running.engine.cut_watches()
    await running.later(10 * limits.RECONCILE_S)
    assert running.story() == told
    running.engine.away = False
    await running.later(5)
    assert running.story() == told


async def test_what_ended_with_the_engine_is_no_crash(running: World) -> None:
    running.engine.away = True
    running.engine.silent = True
    running.engine.cut_watches()
    running.host.crash(running.instances[0].id, 137)
    await running.later(5)
    running.engine.away = running.engine.silent = False
    await running.later(5)
    await running.settled()
    assert running.facts(ServiceCrashed) == []
    assert running.last(ServiceDrifted).finding == "exited"
    assert running.service.status == "running"


async def test_what_ended_while_the_server_was_down_is_no_crash_either(running: World) -> None:
    await running.end()
    running.close()
    running.host.crash(running.instances[0].id, 137)
    running.open()
    running.begin()
    await running.later(5)
    await running.settled()
    assert running.facts(ServiceCrashed) == []
    assert running.service.status == "running"


async def test_a_deploy_between_the_look_and_the_report_makes_the_report_void(running: World) -> None:
    running.engine.silent = True
    running.host.vanish(running.instances[0].id)
    running.engine.lag_s["list"] = 5
    running.engine.calls.clear()
    running.reconciler.hint(running.service_id)
    await running.called("list")
    running.engine.lag_s.clear()
    await running.deploy("web:1")
    await running.until(lambda: running.service.status == "running")
    await running.later(10)
    await running.settled()
    assert running.facts(ServiceDrifted) == []


async def test_so_does_one_that_came_and_went_in_between(running: World) -> None:
    """No work is open by then, and what was seen is long gone: only the service's version tells."""
    running.engine.silent = True
    running.engine.lag_s["tail"] = 30
    (old,) = running.instances
    running.host.crash(old.id, 1)
    running.engine.calls.clear()
    running.reconciler.hint(running.service_id)
    await running.called("tail")
    await running.deploy("web:1")
    await running.settled()
    assert running.runner.busy == 0
    await running.later(40)
    await running.settled()
    assert running.facts(ServiceCrashed) == []
    assert (running.service.status, running.numbers) == ("running", [2])


async def test_what_changes_while_work_is_open_is_found_when_it_has_ended(running: World) -> None:
    """The old one crashes while a new one is on its way, and the new one never comes."""
    (old,) = running.instances
    await running.deploy("dead:1")
    await running.later(10)
    running.host.crash(old.id, 1)
    await running.later(10)
    assert running.facts(ServiceCrashed) == []
    await running.until(lambda: running.facts(ServiceCrashed))
    at_us = {at.type: at.at_us for at in running.recorded()}
    assert at_us["service.crashed"] - at_us["service.deploy_failed"] < 1_000_000, "at once, not at the next look at all"
    await running.settled()
    assert (running.service.status, running.numbers) == ("running", [1])


async def test_a_repair_that_a_deploy_took_over_is_made_up_for_when_that_fails(running: World) -> None:
    running.host.crash(running.instances[0].id, 1)
    await running.until(lambda: running.facts(ServiceCrashed))
    await running.deploy("nobody:1")
    await looked(running)
    assert (running.service.status, running.numbers) == ("running", [1])
    assert running.statuses == ["failed", "running"]


async def test_hints_of_what_never_was_are_ignored(running: World) -> None:
    told = running.story()
    for _ in range(3):
        running.engine.hint("9" * 32)
        running.engine.hint(running.service_id)
    await running.later(5)
    assert running.story() == told


async def test_a_watch_that_is_cut_off_is_taken_up_again(running: World) -> None:
    running.engine.cut_watches()
    await running.later(5)
    await crash(running)
    assert len(running.facts(ServiceCrashed)) == 1


async def test_a_look_that_breaks_is_not_the_last(running: World, caplog: pytest.LogCaptureFixture) -> None:
    running.engine.fail("list", ZeroDivisionError("ours"))
    await looked(running)
    assert "a look broke off" in caplog.text
    await crash(running)
    assert running.service.status == "running"


async def test_a_service_that_crashes_all_the_time_does_not_fill_the_log(world: World) -> None:
    world.image("short:1", exit_code=1, listens=True)
    await world.create()
    await world.settled()
    world.host.behaviours[world.instances[0].id] = world.host.images["short:1"]
    await world.later(5)
    world.host.crash(world.instances[0].id)
    await world.later(2 * limits.CRASH_WINDOW_S)
    await world.settled()
    assert world.service.status == "circuit_open"
    assert len(world.recorded()) < 100


# many


async def test_a_look_at_many_lets_others_go_first_now_and_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three", "four"):
        await world.create(name)
    await world.settled()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going = asyncio.create_task(others())
    taken = []
    for at_once in (50, 1):
        monkeypatch.setattr(limits, "LOOKED_AT_ONCE", at_once)
        before = turns
        await world.reconciler.look_at_all()
        taken.append(turns - before)
    going.cancel()
    assert taken[1] >= taken[0] + 10, taken  # four as it reads, compares, looks at circuits; but for two all the same


async def test_a_look_in_turns_leaves_none_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOOKED_AT_ONCE", 2)
    made = [await world.create(name) for name in ("one", "two", "three", "four", "five")]
    await world.settled()
    world.engine.silent = True
    for instance in await world.engine.list():
        world.host.vanish(instance.id)
    await looked(world)
    world.engine.silent = False
    assert [len(await world.engine.list(service)) for service in made] == [1] * 5
    assert len(world.facts(ServiceDrifted)) == 5
