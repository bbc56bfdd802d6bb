"""Which events of the log somebody asks for, found by what they say: type, resource, actor, time, name.

For tools that look at a whole log, beside a server or without one. The invariant: what is found is in the order of the
log, and a name is looked for in what the events themselves say, so that no view is needed.
"""

from typing import Any

from apsw import Connection
from msgspec import Struct

from events.catalog import CATALOG
from events.event import Recorded, canonical
from events.log import COLUMNS, head

_DIGITS = 18
MOST = 10**_DIGITS - 1  # that a position can be, or a number of events
_NAMED = [name for name, type_ in CATALOG.items() if {"name", "label"} & {*type_.__struct_fields__}]


class Wanted(Struct, frozen=True):
    """Which events: all that is named has to hold; "" and () leave a question open."""

    tenant: str = ""  # its id
    types: tuple[str, ...] = ()  # globs, of which one has to fit: service.*
    resources: tuple[str, ...] = ()  # ids, of which one has to be the stream's, or stand in what the event says
    actor: str = ""  # a glob

    def where(self) -> tuple[str, list[Any]]:
        """(a condition, the values in it)."""
        clauses: list[str] = []
        values: list[Any] = []
        if self.tenant:
            clauses.append("e.tenant = ?")
            values.append(self.tenant)
        if self.types:
            clauses.append(f"({' OR '.join('e.type GLOB ?' for _ in self.types)})")
            values += self.types
        if self.resources:
            either = "(substr(s.name, instr(s.name, '-') + 1) = ? OR instr(CAST(e.data AS TEXT), ?) > 0)"
            clauses.append(f"({' OR '.join(either for _ in self.resources)})")
            values += [one for one in self.resources for _ in ("stream", "data")]
        if self.actor:
            clauses.append("json_extract(CAST(e.meta AS TEXT), '$.actor') GLOB ?")
            values.append(self.actor)
        return " AND ".join(clauses) or "TRUE", values


def read_wanted(
    db: Connection, wanted: Wanted, after: int, up_to: int, limit: int, newest: bool = False
) -> list[Recorded]:
    """At most `limit` of the events after one position and up to another: the first, or the `newest`; in order."""
    where, values = wanted.where()
    rows = db.execute(
        f"SELECT {COLUMNS} FROM event e JOIN stream s ON s.id = e.stream WHERE e.position > ? AND e.position <= ?"
        f" AND {where} ORDER BY e.position {'DESC' if newest else ''} LIMIT ?",
        (after, up_to, *values, limit),
    )
    found = [Recorded(*row) for row in rows]
    return found[::-1] if newest else found


def position_in(text: str) -> int | None:
    """A position, written in digits; None for other text, and for what no log comes to.

    >>> position_in("12"), position_in("-1"), position_in("٣"), position_in("9" * 19)
    (12, None, None, None)
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def position_at(db: Connection, at_us: int) -> int:
    """The last position at a moment, 0 before the first. Times never go back in the log, so it is halved."""
    low, high = 0, head(db)
    while low < high:
        middle = (low + high + 1) // 2
        if db.execute("SELECT at_us FROM event WHERE position = ?", (middle,)).get <= at_us:
            low = middle
        else:
            high = middle - 1
    return low


def named(db: Connection, name: str) -> dict[str, str]:
    """Id → tenant of all that had a name, or a label, at any time; tenants among it."""
    rows = db.execute(
        "SELECT DISTINCT s.name, e.tenant FROM event e JOIN stream s ON s.id = e.stream"
        " WHERE e.type IN (SELECT value FROM json_each(?))"
        " AND ? IN (json_extract(CAST(e.data AS TEXT), '$.name'), json_extract(CAST(e.data AS TEXT), '$.label'))"
        " ORDER BY e.position",
        (canonical(_NAMED).decode(), name),
    )
    return {stream.partition("-")[2]: tenant for stream, tenant in rows}
