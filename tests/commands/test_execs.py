"""When a command may be run in a service, and that its end is recorded once."""

import pytest

from ahplat import limits
from ahplat.commands.effects import BeginAttempt, Conclude
from ahplat.commands.execs import StartExec
from events.execs import ExecEnded, ExecStarted
from events.services import ServiceStopped, ServiceStopRequested
from projections import execs, todo
from projections.todo import TodoRow
from tests.commands.facts import a_running_service, intent
from tests.commands.given import (
    MINE,
    OTHER_TENANT,
    SERVICE,
    TENANT,
    given,
    then,
    then_accepted,
    then_rejected,
    when,
    world,
)

SUBJECT = f"service-{SERVICE}"


@pytest.fixture(autouse=True)
def running(the_world: object) -> None:
    a_running_service()


def start(exec_id: str = "e1", instance: str = "d1-0", **changes: str) -> StartExec:
    fields = MINE | {"exec_id": exec_id, "instance": instance} | changes
    return StartExec(**fields, timeout_s=5, due_us=9, sealed=b"command")


def started() -> TodoRow:
    """The command that runs, as work without an outcome."""
    [row] = [row for row in todo.open_of_all(world().views.db) if row.type == "exec.started"]
    return row


def conclude(attempt: int = 0) -> Conclude:
    row = started()
    end = ExecEnded(row.intent, SUBJECT, "exited", 3, duration_ms=7)
    return Conclude(tenant_id=TENANT, intent=row.intent, attempt=attempt, stream=row.subject, outcome=[end])


def test_a_command_starts_in_an_instance_that_answers() -> None:
    when(start())
    then(ExecStarted(SUBJECT, "d1", "d1-0", 5, 9, b"command"))
    assert (started().subject, started().due_us) == ("exec-e1", 9)


def test_it_is_no_work_on_the_service() -> None:
    when(start())
    assert todo.open_of(world().views.db, SUBJECT) == []


def test_where_nothing_answers_no_command_starts() -> None:
    when(start(instance="d0-0"))
    then_rejected("not_running")
    given(ServiceStopRequested())
    given(ServiceStopped(intent(ServiceStopRequested), ["d1-0"]))
    when(start())
    then_rejected("not_running")


def test_a_service_that_is_not_there_or_anothers_is_not_found() -> None:
    when(start(service_id="0" * 32))
    then_rejected("service_not_found")
    when(start(tenant_id=OTHER_TENANT))
    then_rejected("service_not_found")


def test_so_many_run_at_once_in_one_service() -> None:
    for n in range(limits.EXECS_OF_ONE):
        when(start(f"e{n}"))
        then_accepted(ExecStarted)
    when(start("one more"))
    then_rejected("exec_busy")


def test_its_end_is_recorded_once() -> None:
    when(start())
    ending = conclude()
    when(ending)
    then_accepted(ExecEnded)
    found = execs.find(world().views.db, "e1")
    assert found
    assert (found.outcome, found.exit_code, found.duration_ms) == ("exited", 3, 7)
    when(ending)
    then_rejected("outcome_refused")


def test_what_was_followed_up_as_overdue_is_ended_by_that_alone() -> None:
    when(start())
    when(BeginAttempt(tenant_id=TENANT, intent=started().intent))
    when(conclude(attempt=0))
    then_rejected("outcome_refused")
    when(conclude(attempt=1))
    then_accepted(ExecEnded)
