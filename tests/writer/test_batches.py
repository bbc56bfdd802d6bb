"""Group commit: who is decided when, with what they see, and who is told what."""

import asyncio
from typing import Any

import apsw
import pytest

from ahplat import limits
from ahplat.answers import Answer, Done
from ahplat.commands.services import CreateService, SetEnv
from ahplat.commands.tenants import SetQuotas, SuspendTenant
from ahplat.errors import PreconditionFailed, Rejected, Unavailable
from events.event import Event, Meta, Recorded
from events.tenants import TenantQuotasSet
from projections import tenants
from tests.commands.facts import a_service
from tests.commands.given import START_US, TENANT
from tests.writer.harness import Bench, breaks, outcomes, says


def done(outcome: Done | BaseException) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


async def test_a_command_answers_with_the_positions_of_its_events(bench: Bench) -> None:
    before = bench.log.position
    found = await bench.set(1, answer=says(b"body"))
    assert found == Done(before + 1, before + 1, Answer(200, b"body"))
    (at,) = bench.events(before)
    assert (at.position, at.stream, at.type) == (before + 1, f"tenant-{TENANT}", "tenant.quotas_set")


async def test_what_is_submitted_at_once_is_one_batch(bench: Bench) -> None:
    async with bench.busy():
        before = bench.writer.statistics.batches
        futures = [bench.set(n) for n in range(50)]
        assert bench.writer.waiting == 50
    await outcomes(futures)
    assert bench.writer.statistics.batches == before + 2  # the one that it was busy with, and this
    assert bench.writer.statistics.largest_batch == 50


async def test_a_batch_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH", 10)
    async with bench.busy():
        before = bench.writer.statistics.batches
        futures = [bench.set(n) for n in range(25)]
    await outcomes(futures)
    assert bench.writer.statistics.batches == before + 1 + 3
    assert bench.writer.statistics.largest_batch == 10


async def test_commands_are_decided_in_the_order_in_which_they_came(bench: Bench) -> None:
    before = bench.log.position
    async with bench.busy():
        futures = [bench.set(n) for n in range(30)]
    found = [done(outcome).first_position for outcome in await outcomes(futures)]
    assert found == list(range(before + 1, before + 31))
    assert bench.values(before) == list(range(30))


async def test_whoever_is_answered_reads_its_own_writes(bench: Bench) -> None:
    await bench.set(42)
    assert bench.value() == 42


async def test_a_command_sees_what_came_before_it_in_its_batch(bench: Bench) -> None:
    async with bench.busy():
        futures = [
            bench.submit(CreateService(tenant_id=TENANT, service_id=n, created=a_service(), env={}, deployment_id=n))
            for n in ("1" * 32, "2" * 32)
        ]
    first, second = await outcomes(futures)
    done(first)
    assert isinstance(second, Rejected)
    assert second.code == "name_taken"


async def test_an_answer_shows_what_its_command_did_and_nothing_that_came_after(bench: Bench) -> None:
    def answer(views: apsw.Connection) -> Answer:
        return Answer(body=b"%d" % tenants.quotas_of(views, TENANT)["max_services"])

    async with bench.busy():
        futures = [bench.set(n, answer=answer) for n in range(5)]
    assert [done(outcome).answer.body for outcome in await outcomes(futures)] == [b"%d" % n for n in range(5)]


async def test_a_rejection_ends_its_own_command_only(bench: Bench) -> None:
    before = bench.log.position
    async with bench.busy():
        futures = [bench.set(1), bench.submit(SetQuotas(tenant_id="x", quotas={"max_services": 2})), bench.set(3)]
    first, rejected, third = await outcomes(futures)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "tenant_not_found"
    assert (done(first).first_position, done(third).first_position) == (before + 1, before + 2)
    assert bench.values(before) == [1, 3]


async def test_a_command_that_changes_nothing_says_how_far_the_log_is(bench: Bench) -> None:
    before = bench.log.position
    found = await bench.submit(SetQuotas(tenant_id=TENANT, quotas={}))
    assert (found.first_position, found.last_position) == (before, before)
    assert bench.events(before) == []


async def test_a_fault_in_one_command_fails_that_one_only(bench: Bench) -> None:
    before = bench.log.position
    async with bench.busy():
        futures = [bench.set(1), bench.set(2, answer=breaks), bench.set(3), bench.set(4, answer=breaks), bench.set(5)]
    found = await outcomes(futures)
    assert [type(outcome) for outcome in found] == [Done, ZeroDivisionError, Done, ZeroDivisionError, Done]
    assert [done(found[n]).first_position for n in (0, 2, 4)] == [before + 1, before + 2, before + 3]
    assert bench.values(before) == [1, 3, 5]
    assert bench.value() == 5
    assert not bench.broken.done()


async def test_the_log_and_its_chain_hold_after_a_fault(bench: Bench) -> None:
    await outcomes([bench.set(1, answer=breaks)])
    await bench.set(2)
    await bench.reopen()  # verifies the chain
    assert bench.log.position == bench.views_reader.execute("SELECT position FROM checkpoint").get


async def test_a_command_that_expects_another_version_is_refused_with_both(bench: Bench) -> None:
    (stale, fresh) = await outcomes([bench.set(1, expected=1), bench.set(2, expected=2)])
    assert isinstance(stale, PreconditionFailed)
    assert (stale.expected, stale.actual) == (1, 2)
    done(fresh)


async def test_of_two_that_expect_the_same_version_one_wins(bench: Bench) -> None:
    async with bench.busy():
        futures = [bench.set(1, expected=2), bench.set(2, expected=2)]
    first, second = await outcomes(futures)
    done(first)
    assert isinstance(second, PreconditionFailed)
    assert second.actual == 3


async def test_an_event_says_who_and_why(bench: Bench) -> None:
    before = bench.log.position
    await bench.set(1, actor="key k1", cause=3, correlation="r1", traceparent="00-1-2-01")
    (at,) = bench.events(before)
    assert at.decoded_meta() == Meta("key k1", "SetQuotas", 3, "r1", "00-1-2-01", "a test")


async def test_time_never_goes_back_when_the_clock_does(bench: Bench) -> None:
    before = bench.log.position
    for us in (START_US + 50, START_US + 20, START_US - 10**9, START_US + 60):
        bench.clock.us = us
        await bench.set(1)
    assert [at.at_us - START_US for at in bench.events(before)] == [50, 50, 50, 60]


async def test_time_does_not_go_back_over_a_restart_either(bench: Bench) -> None:
    bench.clock.us = START_US + 50
    await bench.set(1)
    await bench.reopen()
    bench.clock.us = START_US
    before = bench.log.position
    await bench.set(2)
    assert bench.events(before)[0].at_us == START_US + 50


# who is told


async def test_listeners_hear_of_durable_facts_before_whoever_asked_for_them(bench: Bench) -> None:
    heard: list[Any] = []
    future = bench.set(7)

    def listen(facts: list[tuple[Recorded, Event]]) -> None:
        in_file = [at.position for at in bench.events() if at.position == facts[-1][0].position]
        heard.append((future.done(), in_file == [facts[-1][0].position], [event for _, event in facts]))

    bench.writer.on_commit.append(listen)
    await future
    assert heard == [(False, True, [TenantQuotasSet({"max_services": 7})])]


async def test_listeners_hear_of_every_fact_once_and_in_order(bench: Bench) -> None:
    heard: list[int] = []
    bench.writer.on_commit.append(lambda facts: heard.extend(at.position for at, _ in facts))
    before = bench.log.position
    async with bench.busy():
        futures = [bench.set(n, answer=breaks if n == 5 else None) for n in range(10)]
    await outcomes(futures)
    await bench.set(10)
    assert heard == list(range(before + 1, before + 11))


async def test_listeners_do_not_hear_of_what_changed_nothing(bench: Bench) -> None:
    heard: list[Any] = []
    bench.writer.on_commit.append(heard.append)
    await outcomes([bench.submit(SetQuotas(tenant_id=TENANT, quotas={})), bench.set(1, expected=99)])
    assert heard == []


async def test_a_listener_with_a_fault_does_not_keep_the_answer_from_whoever_asked(bench: Bench) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))
    bench.writer.on_commit.append(lambda facts: 1 / 0)
    (found,) = await outcomes([bench.set(1)])
    done(found)
    assert [type(fault) for fault in faults] == [ZeroDivisionError]


async def test_callers_that_went_away_do_not_disturb_the_batch(bench: Bench) -> None:
    before = bench.log.position
    async with bench.busy():
        futures = [bench.set(n) for n in range(4)]
        futures[0].cancel()
        futures[2].cancel()
    found = await outcomes(futures)
    assert [isinstance(outcome, Done) for outcome in found] == [False, True, False, True]
    assert bench.values(before) == [0, 1, 2, 3]  # what was asked for stands


async def test_more_commands_than_the_queue_holds_are_turned_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUEUE", 3)
    async with bench.busy():
        futures = [bench.set(n) for n in range(5)]
        assert [future.done() for future in futures] == [False, False, False, True, True]
    found = await outcomes(futures)
    assert [type(outcome) for outcome in found] == [Done, Done, Done, Unavailable, Unavailable]
    assert getattr(found[4], "code", "") == "overloaded"
    await bench.set(6)  # and there is room again


async def test_what_is_queued_is_decided_before_the_writer_ends(bench: Bench) -> None:
    async with bench.busy():
        futures = [bench.set(n) for n in range(5)]
        closing = asyncio.create_task(bench.writer.close())
        await asyncio.sleep(0)
    await closing
    assert [type(outcome) for outcome in await outcomes(futures)] == [Done] * 5


async def test_what_comes_after_the_end_is_told_so(bench: Bench) -> None:
    await bench.writer.close()
    (found,) = await outcomes([bench.set(1)])
    assert isinstance(found, Unavailable)
    assert found.code == "stopping"


async def test_statistics_count_what_happened(bench: Bench) -> None:
    before = bench.writer.statistics.commands
    async with bench.busy():
        futures = [
            bench.set(1),
            bench.submit(SuspendTenant(tenant_id="x")),
            bench.submit(SetEnv(tenant_id=TENANT, service_id="x", sealed={})),
        ]
    await outcomes(futures)
    found = bench.writer.statistics
    assert (found.commands - before, found.rejected, found.replayed) == (4, 2, 0)
    assert sum(found.commits.within) == found.batches
