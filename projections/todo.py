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
from projections.tables import Table, Tables

TABLES = read_sql(__file__)


class TodoRow(Struct, frozen=True, gc=False):
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


TODO = Table("todo", TodoRow, "intent")


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


def opened(tables: Tables, at: Recorded, event: Intent) -> None:
    due_us = getattr(event, "due_us", 0)
    deployment_id = getattr(event, "deployment_id", "")
    subject = event.subject_in(at.stream)
    row = TodoRow(
        at.position, at.type, subject, at.tenant, deployment_id, at.at_us, due_us, 0, 0, None, None, 0, None, 0
    )
    tables.add(TODO, row)


def closed(tables: Tables, _: Recorded, event: Outcome) -> None:
    tables.put(TODO, event.intent, ())


def closed_and_opened(tables: Tables, at: Recorded, event: Outcome) -> None:
    closed(tables, at, event)
    assert isinstance(event, Intent), event
    opened(tables, at, event)


def attempted(tables: Tables, at: Recorded, event: EffectAttempted) -> None:
    row = tables.find(TODO, event.intent)
    if row is None:
        return
    first_us = at.at_us if row.first_attempt_us is None else row.first_attempt_us
    away_us = row.away_us + (0 if row.away_since_us is None else at.at_us - row.away_since_us)
    tables.change(
        TODO, event.intent, attempt=event.attempt, first_attempt_us=first_us, away_us=away_us, away_since_us=None
    )


def postponed(tables: Tables, at: Recorded, event: EffectPostponed) -> None:
    away_since_us = at.at_us if event.away else None
    tables.change(TODO, event.intent, due_us=event.due_us, code=event.code, away_since_us=away_since_us)


def parked(tables: Tables, _: Recorded, event: EffectParked) -> None:
    tables.change(TODO, event.intent, parked=1, code=event.code)


def unparked(tables: Tables, at: Recorded, event: EffectUnparked) -> None:
    row = tables.find(TODO, event.intent)
    if row:
        tables.change(
            TODO,
            event.intent,
            parked=0,
            forgiven=row.attempt,
            first_attempt_us=None,
            away_us=0,
            due_us=at.at_us,
        )


_WORK = [event for event in CATALOG.values() if issubclass(event, (Intent, Outcome))]

APPLY: dict[type[Event], Callable[[Tables, Recorded, Any], None]] = {
    **{event: opened for event in _WORK if not issubclass(event, Outcome)},
    **{event: closed for event in _WORK if not issubclass(event, Intent)},
    **{event: closed_and_opened for event in _WORK if issubclass(event, Outcome) and issubclass(event, Intent)},
    EffectAttempted: attempted,
    EffectPostponed: postponed,
    EffectParked: parked,
    EffectUnparked: unparked,
}
