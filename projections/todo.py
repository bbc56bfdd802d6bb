"""The to-do list: every intent without an outcome. There is no other queue, so a crash loses no work.

The table follows from the types alone: an `Intent` opens a row, an `Outcome` closes the one that it names, a fact that
is both does both.
"""

from collections.abc import Callable
from typing import Any

from apsw import Connection
from msgspec import Struct

from events.catalog import CATALOG
from events.database import read_sql
from events.effects import EffectAttempted, EffectParked, EffectPostponed, EffectUnparked
from events.event import Event, Intent, Outcome, Recorded

TABLES = read_sql(__file__)


class TodoRow(Struct, frozen=True):
    """One row of `todo`, its columns in order."""

    intent: int
    type: str
    subject: str
    tenant_id: str
    deployment_id: str
    opened_us: int
    due_us: int
    attempt: int
    forgiven: int
    first_attempt_us: int | None
    away_since_us: int | None
    away_us: int
    code: str | None
    parked: int

    @property
    def tries(self) -> int:
        """Attempts that count: those since an operator last looked."""
        return self.attempt - self.forgiven

    @property
    def since_us(self) -> int:
        """From when on somebody waits for it: work that was put off when it was asked for is nobody's until then."""
        return self.opened_us if self.attempt else max(self.opened_us, self.due_us)


def find(db: Connection, intent: int) -> TodoRow | None:
    """The open work of one intent; None when it has its outcome."""
    for row in db.execute("SELECT * FROM todo WHERE intent = ?", (intent,)):
        return TodoRow(*row)
    return None


def open_of(db: Connection, subject: str) -> list[TodoRow]:
    """All open work about one subject, oldest first."""
    return [TodoRow(*row) for row in db.execute("SELECT * FROM todo WHERE subject = ? ORDER BY intent", (subject,))]


def open_of_all(db: Connection) -> list[TodoRow]:
    """All open work, oldest first."""
    return [TodoRow(*row) for row in db.execute("SELECT * FROM todo ORDER BY intent")]


def opened(db: Connection, at: Recorded, event: Intent) -> None:
    due_us = getattr(event, "due_us", 0)
    db.execute(
        "INSERT INTO todo VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, NULL, NULL, 0, NULL, 0)",
        (
            at.position,
            at.type,
            event.subject_in(at.stream),
            at.tenant,
            getattr(event, "deployment_id", ""),
            at.at_us,
            due_us,
        ),
    )


def closed(db: Connection, _: Recorded, event: Outcome) -> None:
    db.execute("DELETE FROM todo WHERE intent = ?", (event.intent,))


def closed_and_opened(db: Connection, at: Recorded, event: Outcome) -> None:
    closed(db, at, event)
    assert isinstance(event, Intent), event
    opened(db, at, event)


def attempted(db: Connection, at: Recorded, event: EffectAttempted) -> None:
    db.execute(
        "UPDATE todo SET attempt = ?2, first_attempt_us = coalesce(first_attempt_us, ?3),"
        " away_us = away_us + ?3 - coalesce(away_since_us, ?3), away_since_us = NULL WHERE intent = ?1",
        (event.intent, event.attempt, at.at_us),
    )


def postponed(db: Connection, at: Recorded, event: EffectPostponed) -> None:
    db.execute(
        "UPDATE todo SET due_us = ?, code = ?, away_since_us = ? WHERE intent = ?",
        (event.due_us, event.code, at.at_us if event.away else None, event.intent),
    )


def parked(db: Connection, _: Recorded, event: EffectParked) -> None:
    db.execute("UPDATE todo SET parked = 1, code = ? WHERE intent = ?", (event.code, event.intent))


def unparked(db: Connection, at: Recorded, event: EffectUnparked) -> None:
    db.execute(
        "UPDATE todo SET parked = 0, forgiven = attempt, first_attempt_us = NULL, away_us = 0, due_us = ? WHERE intent = ?",
        (at.at_us, event.intent),
    )


def apply_all(db: Connection, facts: list[tuple[Recorded, Event]]) -> None:
    """Folds many events. Of an intent that was opened and closed among them nothing is left, so it is left out."""
    opened_here = {at.position for at, event in facts if isinstance(event, Intent)}
    gone = opened_here & {event.intent for _, event in facts if isinstance(event, Outcome)}
    for at, event in facts:
        if isinstance(event, Outcome) and event.intent not in gone:
            closed(db, at, event)
        if isinstance(event, Intent) and at.position not in gone:
            opened(db, at, event)
        if isinstance(event, _ATTEMPTS) and event.intent not in gone:
            APPLY[type(event)](db, at, event)


_ATTEMPTS = (EffectAttempted, EffectPostponed, EffectParked, EffectUnparked)
_WORK = [event for event in CATALOG.values() if issubclass(event, (Intent, Outcome))]

APPLY: dict[type[Event], Callable[[Connection, Recorded, Any], None]] = {
    **{event: opened for event in _WORK if not issubclass(event, Outcome)},
    **{event: closed for event in _WORK if not issubclass(event, Intent)},
    **{event: closed_and_opened for event in _WORK if issubclass(event, Outcome) and issubclass(event, Intent)},
    EffectAttempted: attempted,
    EffectPostponed: postponed,
    EffectParked: parked,
    EffectUnparked: unparked,
}
