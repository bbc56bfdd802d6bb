"""How two files of read models differ, row by row: those of two replays, or of two moments.

Rows are found in the order of their keys, each side once, so that no file needs to fit into memory. The invariant: what
is sealed is compared, and never shown.
"""

from collections.abc import Iterator
from typing import Any

from apsw import Connection
from msgspec import Struct

from projections.views import Projections, Views

SEALED = "sealed"
Row = dict[str, Any]


class Change(Struct, frozen=True):
    """One row that is not the same: `before` is None where it came, `after` where it went.

    Of a row that changed both sides hold only the columns that did. Bytes are sealed, or hashes: they are not shown.
    """

    table: str
    key: Row
    before: Row | None
    after: Row | None


def tables_of(db: Connection) -> list[str]:
    """The tables of the projections, by name."""
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return [name for name in names if name != "checkpoint" and not name.startswith("sqlite_")]


def tables_made(projections: Projections) -> list[str]:
    """The tables that projections make, by name."""
    views = Views(None, projections)
    views.create("")
    return tables_of(views.db)


def changes(before: Connection, after: Connection, table: str) -> Iterator[tuple[Change, Row]]:
    """(each row of a table that differs, all of it as it is shown: as it was, where it went), in the order of the keys."""
    keys = _keys_of(before, table)
    one, other = _rows(before, table, keys), _rows(after, table, keys)
    left, right = next(one, None), next(other, None)
    while left or right:
        if right is None or (left is not None and left[0] < right[0]):
            assert left
            yield Change(table, _key(keys, left[1]), _shown(left[1]), None), _shown(left[1])
            left = next(one, None)
        elif left is None or right[0] < left[0]:
            yield Change(table, _key(keys, right[1]), None, _shown(right[1])), _shown(right[1])
            right = next(other, None)
        else:
            if changed := [name for name, value in right[1].items() if left[1][name] != value]:
                old, new = ({name: row[name] for name in changed} for row in (left[1], right[1]))
                yield Change(table, _key(keys, right[1]), _shown(old), _shown(new)), _shown(right[1])
            left, right = next(one, None), next(other, None)


def shown_rows(db: Connection, table: str) -> list[Row]:
    """All rows of a table, in the order of their keys, as they are shown."""
    return [_shown(row) for _, row in _rows(db, table, _keys_of(db, table))]


def _keys_of(db: Connection, table: str) -> list[str]:
    """The columns of a table's key, in their order in it."""
    return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,))]


def _rows(db: Connection, table: str, keys: list[str]) -> Iterator[tuple[tuple[Any, ...], Row]]:
    """(key, row) in the order of the keys: SQLite compares text by its bytes, which in UTF-8 is the order of Python's."""
    names = [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    for values in db.execute(f"SELECT * FROM {table} ORDER BY {', '.join(keys)}"):
        row = dict(zip(names, values, strict=True))
        yield tuple(row[name] for name in keys), row


def _key(keys: list[str], row: Row) -> Row:
    return _shown({name: row[name] for name in keys})


def _shown(row: Row) -> Row:
    return {name: SEALED if isinstance(value, bytes) else value for name, value in row.items()}
