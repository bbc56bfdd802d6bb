"""What the runner of effects may record: that an attempt begins, that it has to wait, and how it ended.

The fence stands here. An outcome is taken only while its intent is open and its attempt is the last one that began: what
a superseded, cancelled or earlier attempt says is refused, whatever it did.
"""

from apsw import Connection

from ahplat.commands.command import Command, Decision
from ahplat.errors import Rejected
from events.effects import EffectAttempted, EffectParked, EffectPostponed, EffectUnparked
from events.event import Event
from projections import todo
from projections.todo import TodoRow

STREAM = "effect-{0.intent}"


class WorkCommand(Command, frozen=True, kw_only=True):
    """A command about the open work of one intent."""

    intent: int


def load_work(views: Connection, command: WorkCommand) -> TodoRow:
    return open_work(views, command.intent)


def open_work(views: Connection, intent: int) -> TodoRow:
    """The open work of an intent. Raises Rejected when it has its outcome."""
    work = todo.find(views, intent)
    if work is None:
        raise Rejected("outcome_refused", f"the work of position {intent} has its outcome")
    return work


def check_fence(work: TodoRow, attempt: int) -> None:
    """Raises Rejected when the attempt is not the last one that began."""
    if attempt != work.attempt:
        raise Rejected("outcome_refused", f"attempt {attempt} is over, attempt {work.attempt} has begun")


class BeginAttempt(WorkCommand, frozen=True, kw_only=True):
    """The next attempt begins; nothing has been touched yet."""


def begin(work: TodoRow, _: BeginAttempt) -> list[Event]:
    if work.parked:
        raise Rejected("outcome_refused", "the work is parked")
    return [EffectAttempted(work.intent, work.subject, work.attempt + 1)]


class Postpone(WorkCommand, frozen=True, kw_only=True):
    """The attempt could not be ended for now."""

    attempt: int
    code: str
    due_us: int
    away: bool
    detail: bytes


def postpone(work: TodoRow, command: Postpone) -> list[Event]:
    check_fence(work, command.attempt)
    return [
        EffectPostponed(
            intent=work.intent,
            subject=work.subject,
            attempt=command.attempt,
            code=command.code,
            due_us=command.due_us,
            away=command.away,
            detail=command.detail,
        )
    ]


class Park(WorkCommand, frozen=True, kw_only=True):
    """Tried too often: an operator has to look."""

    code: str


def park(work: TodoRow, command: Park) -> list[Event]:
    return [] if work.parked else [EffectParked(work.intent, work.subject, work.attempt, command.code)]


class Unpark(WorkCommand, frozen=True, kw_only=True):
    """An operator looked."""


def unpark(work: TodoRow, _: Unpark) -> list[Event]:
    if not work.parked:
        raise Rejected("not_parked", f"the work of position {work.intent} is not parked")
    return [EffectUnparked(work.intent, work.subject)]


class Conclude(WorkCommand, frozen=True, kw_only=True):
    """How an attempt ended, into the stream of its subject."""

    attempt: int
    stream: str
    outcome: list[Event]


def conclude(work: TodoRow, command: Conclude) -> list[Event]:
    check_fence(work, command.attempt)
    return command.outcome


COMMANDS: dict[type[Command], Decision] = {
    BeginAttempt: Decision(load_work, begin, STREAM, frees=True),
    Postpone: Decision(load_work, postpone, STREAM, frees=True),
    Park: Decision(load_work, park, STREAM, frees=True),
    Unpark: Decision(load_work, unpark, STREAM, frees=True),
    Conclude: Decision(load_work, conclude, "{0.stream}", frees=True),
}
