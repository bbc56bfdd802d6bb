"""The runner: one attempt at a time, numbered before it acts, tried again, given up, fenced."""

import asyncio
from collections.abc import Callable

import pytest

from ahplat import limits
from ahplat.commands.effects import BeginAttempt, Conclude, Postpone, Unpark
from ahplat.effects.catalog import EFFECTS
from ahplat.errors import EngineAway, Rejected, Unavailable
from events.catalog import CATALOG
from events.effects import EffectAttempted, EffectParked, EffectPostponed, EffectUnparked
from events.event import Intent
from events.services import ServiceDeployFailed, ServiceInstanceHealthy
from tests.effects.world import TENANT, World

BROKEN = Unavailable("engine_error", "the engine says no")
SOON_US = 20_000_000  # less than the minute after which the list is looked at whatever happens
DISK_FULL = Unavailable("disk_full", "the disk is full", 30)


def test_every_intent_has_its_effect() -> None:
    assert set(EFFECTS) == {event for event in CATALOG.values() if issubclass(event, Intent)}


# what runs at the same time


class Counting:
    """How many calls of a method are under way at once, in all and for one subject."""

    def __init__(self, world: World, method: str) -> None:
        self.now = self.most = 0
        self.of: dict[str, int] = {}
        self.clashes: list[str] = []
        call = getattr(world.engine, method)

        async def counted(subject: object, *args: object) -> object:
            key = str(subject)
            self.now += 1
            self.of[key] = self.of.get(key, 0) + 1
            self.most = max(self.most, self.now)
            self.clashes += [key] if self.of[key] > 1 else []
            try:
                return await call(subject, *args)
            finally:
                self.now -= 1
                self.of[key] -= 1

        setattr(world.engine, method, counted)


async def test_so_many_attempts_run_at_once_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKERS", 3)
    monkeypatch.setitem(limits.QUOTAS, "max_services", 10)
    counting = Counting(world, "fetch")
    world.engine.lag_s["fetch"] = 5
    for n in range(10):
        await world.create(f"web{n}")
    await world.settled()
    assert counting.most == 2  # the third place is kept for another tenant
    assert len(world.host.instances) == 10


async def test_one_attempt_at_a_time_for_one_service(world: World) -> None:
    counting = Counting(world, "list")
    world.engine.lag_s["list"] = 1
    await world.create(replicas=2)
    for n in range(30):
        await (world.stop, world.start, world.deploy)[n % 3]()
        await world.later(n % 4)
    await world.settled()
    assert counting.clashes == []


async def test_attempts_are_numbered_before_they_act(world: World) -> None:
    world.engine.fail("fetch", BROKEN, BROKEN)
    seen: list[int] = []
    fetch = world.engine.fetch

    async def noting(reference: str, cancelled: Callable[[], bool]) -> object:
        seen.append(max(row.attempt for row in world.work))
        return await fetch(reference, cancelled)

    world.engine.fetch = noting  # type: ignore[method-assign, assignment]
    await world.create()
    await world.settled()
    assert seen == [1, 2, 3]
    assert [fact.attempt for fact in world.facts(EffectAttempted)][:3] == [1, 2, 3]


# tried again


async def test_what_fails_for_now_is_tried_again_after_a_while(world: World) -> None:
    world.engine.fail("ensure_network", BROKEN)
    await world.create()
    await world.settled()
    (postponed,) = world.facts(EffectPostponed)
    assert (postponed.code, postponed.away, postponed.attempt) == ("engine_error", False, 1)
    assert world.unsealed("detail", postponed.detail) == "the engine says no"
    assert world.service.status == "running"


async def test_the_waits_grow_and_are_jittered(world: World) -> None:
    world.engine.fail("fetch", *[BROKEN] * 9)
    await world.create()
    await world.settled()
    facts = [at for at in world.recorded() if at.type == "effect.postponed"]
    waits = [(fact.due_us - at.at_us) / 1e6 for at, fact in zip(facts, world.facts(EffectPostponed), strict=True)]
    for attempt, wait_s in enumerate(waits, 1):
        assert 0 <= wait_s <= min(limits.BACKOFF_AT_MOST_S, limits.BACKOFF_S * 2**attempt)
    assert len(set(waits)) == 9


async def test_a_reply_that_was_lost_costs_a_second_attempt_and_never_a_second_instance(world: World) -> None:
    world.engine.lose_reply("find_or_start", 2)
    await world.create(replicas=2)
    await world.settled()
    assert sorted(one.identity.replica for one in world.instances) == [1, 2]
    assert world.service.status == "running"


async def test_too_many_attempts_have_failed_and_the_last_reason_is_told(world: World) -> None:
    world.engine.fail("fetch", *[BROKEN] * 100)
    await world.create()
    await world.settled()
    failed: ServiceDeployFailed = world.last(ServiceDeployFailed)
    assert failed.code == "too_many_attempts"
    assert "10 times, the last time it was engine_error: " in world.unsealed("detail", failed.detail)
    assert len([fact for fact in world.facts(EffectAttempted) if fact.attempt]) == limits.ATTEMPTS


async def test_a_failure_is_recorded_also_where_nothing_can_be_cleaned_up(world: World) -> None:
    world.engine.fail("list", *[BROKEN] * 1000)
    await world.create(image="dead:1")
    await world.settled()
    assert len(world.facts(ServiceDeployFailed)) == 1


async def test_a_fault_of_ours_in_an_effect_is_a_failure_not_a_loop(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.engine.fail("find_or_start", ZeroDivisionError("ours"))
    await world.create()
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "internal"
    assert "ZeroDivisionError" in world.unsealed("detail", world.last(ServiceDeployFailed).detail)
    assert "attempt 1 of service.deploy_requested broke" in caplog.text


async def test_a_fault_of_ours_in_the_cleaning_does_not_keep_the_failure_back(world: World) -> None:
    world.engine.fail("list", *[ZeroDivisionError("ours")] * 100)
    await world.create(image="nobody:1")
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "image_not_found"


async def test_a_fault_of_ours_where_the_outcome_is_recorded_is_tried_again_with_a_rest(world: World) -> None:
    world.writer.refuse(Conclude, ZeroDivisionError("ours"), ZeroDivisionError("ours"))  # type: ignore[arg-type]
    began = world.loop.now
    await world.create()
    await world.until(lambda: world.service.status == "running")
    assert world.loop.now - began >= 2 * limits.BACKOFF_AT_MOST_S
    assert len(world.instances) == 1


# the engine is away


async def test_work_waits_while_the_engine_is_away(world: World) -> None:
    await world.later(5)
    world.engine.away = True
    await world.create()
    await world.later(3_000)
    assert world.runner.engine_away
    (postponed,) = world.facts(EffectPostponed)
    assert (postponed.code, postponed.away) == ("engine_unavailable", True)
    world.engine.away = False
    began = world.loop.now
    await world.until(lambda: world.service.status == "running")
    assert world.loop.now - began <= 2 * limits.ENGINE_PROBE_S
    assert not world.runner.engine_away
    await world.settled()


async def test_nothing_else_is_attempted_meanwhile(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.away = True
    await world.deploy("web:1")
    await world.until(lambda: world.runner.engine_away)
    attempts = world.runner.attempts
    await world.create("other")
    await world.later(600)
    assert world.runner.attempts == attempts
    world.engine.away = False
    await world.settled()
    assert world.service.status == "running"


async def test_one_call_that_failed_is_no_engine_that_is_away(world: World) -> None:
    """Its status decides: else a full disk under one instance would stop all work for good."""
    world.engine.fail("find_or_start", EngineAway("no space left"))
    await world.create()
    await world.settled()
    (postponed,) = world.facts(EffectPostponed)
    assert not postponed.away
    assert world.service.status == "running"


async def test_the_deadline_rests_while_the_engine_is_away(world: World) -> None:
    world.engine.away = True
    await world.create()
    await world.later(3 * limits.DEPLOY_DEADLINE_S)
    world.engine.away = False
    await world.settled()
    assert world.service.status == "running"
    assert world.facts(ServiceDeployFailed) == []


async def test_it_rests_also_over_a_restart(world: World) -> None:
    world.engine.away = True
    await world.create()
    await world.later(limits.DEPLOY_DEADLINE_S)
    await world.restart()
    world.engine.away = True
    await world.later(limits.DEPLOY_DEADLINE_S)
    world.engine.away = False
    await world.settled()
    assert world.service.status == "running"


async def test_a_command_that_comes_while_the_engine_is_away_takes_the_place_of_what_waits(world: World) -> None:
    world.engine.away = True
    await world.create(image="dead:1")
    await world.later(60)
    await world.deploy("web:1")
    await world.later(60)
    world.engine.away = False
    await world.settled()
    assert (world.numbers, world.statuses) == ([2], ["running", "superseded"])


# deadlines


async def test_work_that_does_not_end_within_its_deadline_has_failed(world: World) -> None:
    world.engine.lag_s["fetch"] = limits.DEPLOY_DEADLINE_S + 1
    await world.create()
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "deadline"
    assert world.instances == []


async def test_the_deadline_counts_from_the_first_attempt(world: World) -> None:
    world.engine.fail("fetch", BROKEN, BROKEN)
    world.engine.lag_s["fetch"] = limits.DEPLOY_DEADLINE_S / 2.5
    await world.create()
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "deadline"
    assert len(world.facts(EffectAttempted)) == 3


async def test_a_deadline_that_passes_while_the_server_is_down_is_noticed_by_the_next(world: World) -> None:
    world.engine.lag_s["fetch"] = 50
    await world.create()
    await world.called("fetch")
    await world.end()
    world.close()
    await world.later(limits.DEPLOY_DEADLINE_S)
    world.open()
    world.begin()
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "deadline"


# what cannot fail


async def test_a_stop_is_never_given_up_but_parked(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.fail("stop", *[BROKEN] * 1000)
    await world.stop()
    await world.until(lambda: world.facts(EffectParked))
    (work,) = world.work
    assert (work.parked, work.attempt) == (1, limits.ATTEMPTS_AT_MOST)
    attempts = world.runner.attempts
    await world.later(10_000)
    assert world.runner.attempts == attempts
    assert world.runner.outcomes["parked"] == 1


async def test_what_was_parked_is_tried_again_when_an_operator_looked(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.fail("stop", *[BROKEN] * limits.ATTEMPTS_AT_MOST)
    await world.stop()
    await world.until(lambda: world.facts(EffectParked))
    (work,) = world.work
    await world.later(130)
    asked_us = world.clock.now_us()
    await world.submit(Unpark(tenant_id=TENANT, intent=work.intent))
    await world.settled()
    assert (world.service.status, world.instances) == ("stopped", [])
    assert world.clock.now_us() - asked_us < SOON_US
    assert len(world.facts(EffectUnparked)) == 1


async def test_newer_work_does_not_wait_for_what_is_parked(world: World) -> None:
    await world.create()
    await world.settled()
    world.engine.fail("stop", *[BROKEN] * limits.ATTEMPTS_AT_MOST)
    await world.stop()
    await world.until(lambda: world.facts(EffectParked))
    await world.deploy("web:1")
    await world.settled()
    assert (world.service.status, world.numbers) == ("running", [2])


# the fence


async def test_an_attempt_that_is_over_cannot_say_the_outcome(world: World) -> None:
    world.engine.fail("fetch", BROKEN)
    await world.create(image="dead:1")
    await world.until(lambda: world.instances)
    (work,) = (row for row in world.work if row.type == "service.deploy_requested")
    assert work.attempt == 2
    outcome = ServiceDeployFailed(work.intent, work.deployment_id, "late")
    late = Conclude(tenant_id=TENANT, intent=work.intent, attempt=1, stream=work.subject, outcome=[outcome])
    with pytest.raises(Rejected) as refused:
        await world.submit(late)
    assert refused.value.code == "outcome_refused"
    with pytest.raises(Rejected):
        await world.submit(
            Postpone(tenant_id=TENANT, intent=work.intent, attempt=1, code="x", due_us=0, away=False, detail=b"")
        )
    await world.cancel()
    await world.settled()


async def test_an_outcome_that_comes_after_the_end_is_refused(world: World) -> None:
    """Superseded between its last step and its outcome: what it did is undone, what it says is not heard."""
    put_off = asyncio.Event()
    submit = world.writer.submit

    def slowly(command: object, **fields: object) -> "asyncio.Future[object]":
        if isinstance(command, Conclude) and isinstance(command.outcome[0], ServiceInstanceHealthy):
            return asyncio.ensure_future(later(command, fields))
        return submit(command, **fields)  # type: ignore[arg-type, return-value]

    async def later(command: Conclude, fields: dict[str, object]) -> object:
        await put_off.wait()
        return await submit(command, **fields)  # type: ignore[arg-type]

    world.writer.submit = slowly  # type: ignore[method-assign, assignment]
    await world.create()
    await world.until(lambda: world.instances)
    await world.later(1)
    await world.stop()
    put_off.set()
    await world.settled()
    assert world.facts(ServiceInstanceHealthy) == []
    assert (world.service.status, world.instances) == ("stopped", [])


# the writer cannot take it


@pytest.mark.parametrize("kind", [BeginAttempt, Conclude])
async def test_a_full_disk_under_the_log_costs_time_and_never_a_second_instance(
    world: World, kind: type[BeginAttempt] | type[Conclude]
) -> None:
    world.writer.refuse(kind, *[DISK_FULL] * 5)
    await world.create()
    await world.until(lambda: world.service.status == "running")
    await world.settled()
    assert len(world.instances) == 1
    started = [call for call in world.engine.calls if call[0] == "find_or_start"]
    assert len(started) == (6 if kind is Conclude else 1)


async def test_a_full_disk_while_a_failure_is_recorded(world: World) -> None:
    world.writer.refuse(Conclude, DISK_FULL)
    await world.create(image="nobody:1")
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "image_not_found"


async def test_a_full_disk_keeps_nobody_from_calling_the_work_off(world: World) -> None:
    world.writer.refuse(Conclude, *[DISK_FULL] * 3)
    await world.create()
    await world.until(lambda: not world.writer.refused[Conclude])
    await world.stop()
    await world.settled()
    assert (world.service.status, world.instances) == ("stopped", [])


# restarts


@pytest.mark.parametrize("step", ["fetch", "ensure_network", "find_or_start", "inspect"])
async def test_a_server_that_dies_in_a_step_is_followed_by_one_that_goes_on(world: World, step: str) -> None:
    world.engine.lag_s[step] = 10
    await world.create()
    await world.called(step)
    await world.restart()
    await world.settled()
    assert (world.service.status, len(world.instances)) == ("running", 1)
    assert world.facts(EffectAttempted)[1].attempt == 2


async def test_what_was_started_before_the_server_died_is_adopted(world: World) -> None:
    world.engine.lag_s["inspect"] = 10
    await world.create()
    await world.called("inspect")
    (before,) = world.instances
    await world.restart()
    await world.settled()
    assert world.instances == [before]
    assert before.identity.attempt == 1


async def test_a_handler_that_kills_the_server_each_time_does_not_do_so_for_ever(world: World) -> None:
    world.engine.lag_s["find_or_start"] = 10
    await world.create()
    for _ in range(limits.ATTEMPTS):
        world.engine.calls.clear()
        await world.called("find_or_start")
        await world.restart()
        world.engine.lag_s["find_or_start"] = 10
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "too_many_attempts"


async def test_a_server_that_closes_leaves_no_attempt_behind(world: World) -> None:
    await world.create(image="dead:1")
    await world.until(lambda: world.instances)
    await world.runner.close()
    assert world.runner.busy == 0
    await world.restart()
    await world.cancel()
    await world.settled()


async def test_many_open_intents_are_all_carried_on_by_the_next_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.QUOTAS, "max_services", 100)
    monkeypatch.setitem(limits.QUOTAS, "max_cpu_cores", 100)
    world.engine.away = True
    for n in range(60):
        await world.create(f"web{n}")
    await world.restart()
    await world.settled()
    assert len([one for one in world.host.instances.values() if one.state == "running"]) == 60


async def test_the_outcome_names_its_cause(world: World) -> None:
    await world.create()
    await world.settled()
    by_type = {at.type: at for at in world.recorded()}
    asked = by_type["service.deploy_requested"]
    healthy = by_type["service.instance_healthy"]
    assert healthy.decoded_meta().cause == asked.position
    assert by_type["service.routed"].decoded_meta().cause == healthy.position
    assert healthy.decoded_meta().actor == "system"
