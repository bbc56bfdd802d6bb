"""The fence: what an attempt may record, and when it is too late."""

import pytest

from ahplat.commands.command import Command
from ahplat.commands.deployments import CancelDeployment, DeployImage
from ahplat.commands.effects import BeginAttempt, Conclude, Park, Postpone, Unpark
from ahplat.commands.services import DeleteService, StopService
from events.effects import EffectAttempted, EffectParked, EffectPostponed, EffectUnparked
from events.services import ServiceDeployFailed, ServiceDeployRequested, ServiceInstanceHealthy, Target
from projections import todo
from projections.todo import TodoRow
from tests.commands.facts import a_deploy, a_service, begun, intent, work
from tests.commands.given import (
    MINE,
    SERVICE,
    TENANT,
    given,
    later,
    then,
    then_accepted,
    then_rejected,
    when,
    world,
)

SUBJECT = f"service-{SERVICE}"


@pytest.fixture(autouse=True)
def deploy(the_world: object) -> int:
    """The position of an open deployment."""
    given(a_service(), a_deploy("d1"))
    return intent(ServiceDeployRequested)


def conclude(deploy: int, attempt: int) -> Conclude:
    outcome = ServiceInstanceHealthy(deploy, "d1", "sha256:1", "web@sha256:1", [Target(0, "i", "10.0.0.2", 8000)])
    return Conclude(tenant_id=TENANT, intent=deploy, attempt=attempt, stream=SUBJECT, outcome=[outcome])


def postpone(deploy: int, attempt: int, due_us: int = 5, away: bool = False) -> Postpone:
    return Postpone(tenant_id=TENANT, intent=deploy, attempt=attempt, code="away", due_us=due_us, away=away, detail=b"")


def open_work() -> TodoRow:
    return work(ServiceDeployRequested)


def test_attempts_are_numbered_before_they_act(deploy: int) -> None:
    when(BeginAttempt(tenant_id=TENANT, intent=deploy))
    then(EffectAttempted(deploy, SUBJECT, 1))
    when(BeginAttempt(tenant_id=TENANT, intent=deploy))
    then(EffectAttempted(deploy, SUBJECT, 2))


def test_the_last_attempt_may_say_how_it_ended(deploy: int) -> None:
    begun(ServiceDeployRequested)
    when(conclude(deploy, 1))
    then_accepted(ServiceInstanceHealthy)
    assert todo.find(world().views.db, deploy) is None


def test_an_outcome_goes_to_the_stream_of_its_subject(deploy: int) -> None:
    begun(ServiceDeployRequested)
    before = world().log.version(SUBJECT)[1]
    when(conclude(deploy, 1))
    assert world().log.version(SUBJECT)[1] == before + 1


@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_an_attempt_that_is_not_the_last_says_nothing(deploy: int, attempt: int) -> None:
    begun(ServiceDeployRequested)
    begun(ServiceDeployRequested)
    when(conclude(deploy, attempt))
    then_rejected("outcome_refused", f"attempt {attempt} is over, attempt 2 has begun")


@pytest.mark.parametrize(
    "newer",
    [
        DeployImage(**MINE, deployment_id="new"),
        StopService(**MINE),
        DeleteService(**MINE),
        CancelDeployment(**MINE, deployment_id="d1"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_an_attempt_that_was_superseded_says_nothing(deploy: int, newer: Command) -> None:
    begun(ServiceDeployRequested)
    when(newer)
    when(conclude(deploy, 1))
    then_rejected("outcome_refused", "has its outcome")


def test_work_has_one_outcome(deploy: int) -> None:
    begun(ServiceDeployRequested)
    when(conclude(deploy, 1))
    when(conclude(deploy, 1))
    then_rejected("outcome_refused")


@pytest.mark.parametrize("kind", [BeginAttempt, Unpark], ids=["begin", "unpark"])
def test_work_that_has_its_outcome_does_not_begin_again(deploy: int, kind: type[BeginAttempt] | type[Unpark]) -> None:
    given(ServiceDeployFailed(deploy, "d1", "unhealthy"))
    when(kind(tenant_id=TENANT, intent=deploy))
    then_rejected("outcome_refused")


def test_an_attempt_may_be_postponed(deploy: int) -> None:
    begun(ServiceDeployRequested)
    when(postpone(deploy, 1, due_us=7))
    then(EffectPostponed(deploy, SUBJECT, 1, "away", 7))
    assert (open_work().due_us, open_work().code) == (7, "away")


def test_an_earlier_attempt_postpones_nothing(deploy: int) -> None:
    begun(ServiceDeployRequested)
    begun(ServiceDeployRequested)
    when(postpone(deploy, 1))
    then_rejected("outcome_refused")


def test_the_time_that_the_engine_was_away_is_kept_apart(deploy: int) -> None:
    begun(ServiceDeployRequested)
    when(postpone(deploy, 1, away=True))
    later(30)
    begun(ServiceDeployRequested)
    when(postpone(deploy, 2, away=True))
    later(12)
    begun(ServiceDeployRequested)
    assert (open_work().away_us, open_work().away_since_us) == (42_000_000, None)


def test_a_back_off_is_no_time_away(deploy: int) -> None:
    begun(ServiceDeployRequested)
    when(postpone(deploy, 1, away=False))
    later(30)
    begun(ServiceDeployRequested)
    assert open_work().away_us == 0


def test_deadlines_count_from_the_first_attempt(deploy: int) -> None:
    begun(ServiceDeployRequested)
    first_us = world().now_us
    later(30)
    begun(ServiceDeployRequested)
    assert open_work().first_attempt_us == first_us


def test_work_that_was_tried_too_often_is_parked(deploy: int) -> None:
    begun(ServiceDeployRequested)
    when(Park(tenant_id=TENANT, intent=deploy, code="too_many_attempts"))
    then(EffectParked(deploy, SUBJECT, 1, "too_many_attempts"))


def test_parked_work_is_not_parked_again(deploy: int) -> None:
    given(EffectParked(deploy, SUBJECT, 1, "too_many_attempts"))
    when(Park(tenant_id=TENANT, intent=deploy, code="too_many_attempts"))
    then()


def test_parked_work_is_not_tried(deploy: int) -> None:
    given(EffectParked(deploy, SUBJECT, 1, "too_many_attempts"))
    when(BeginAttempt(tenant_id=TENANT, intent=deploy))
    then_rejected("outcome_refused", "parked")


def test_parked_work_is_tried_again_once_an_operator_looked(deploy: int) -> None:
    begun(ServiceDeployRequested)
    given(EffectParked(deploy, SUBJECT, 1, "too_many_attempts"))
    when(Unpark(tenant_id=TENANT, intent=deploy))
    then(EffectUnparked(deploy, SUBJECT))
    when(BeginAttempt(tenant_id=TENANT, intent=deploy))
    then_accepted(EffectAttempted)


def test_work_that_is_not_parked_is_not_taken_back(deploy: int) -> None:
    when(Unpark(tenant_id=TENANT, intent=deploy))
    then_rejected("not_parked")


def test_parked_work_still_ends_with_what_supersedes_it(deploy: int) -> None:
    given(EffectParked(deploy, SUBJECT, 1, "too_many_attempts"))
    when(StopService(**MINE))
    assert todo.find(world().views.db, deploy) is None
