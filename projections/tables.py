"""What projections write to: rows found by their key, as structs; and SQL, for what is seldom.

`Tables` writes at once, for the writer: the next command of a batch reads what the one before did. `HeldTables` is for
folding many events: it keeps the rows that they change in memory and writes each once. Projections know no difference,
so there is one way to fold an event. The invariant: after `flush` both have left the same rows.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from apsw import Connection, Cursor
from msgspec import Struct
from msgspec.structs import astuple, replace

Row = TypeVar("Row", bound=Struct)
Value = str | int | bytes | None


class Table(Generic[Row]):
    """A table whose rows are `row`s, its columns in order, found by the column `key`, of which several may have the same."""

    def __init__(self, name: str, row: type[Row], key: str) -> None:
        self.name = name
        self.row = row
        self.key = key
        self.select = f"SELECT * FROM {name} WHERE {key} = ?"
        self.delete = f"DELETE FROM {name} WHERE {key} = ?"
        self.insert = f"INSERT INTO {name} VALUES ({', '.join('?' * len(row.__struct_fields__))})"
        self._updates: dict[tuple[str, ...], str] = {}

    def update(self, columns: tuple[str, ...]) -> str:
        """The statement that changes these columns."""
        known = self._updates.get(columns)
        if known is None:
            assigned = ", ".join(f"{name} = ?" for name in columns)
            known = self._updates[columns] = f"UPDATE {self.name} SET {assigned} WHERE {self.key} = ?"
        return known


class Tables:
    """Writes at once. `execute` and `executemany` are the connection's, for statements that no method here replaces."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.execute = db.execute
        self.executemany = db.executemany

    def of(self, table: Table[Row], key: str | int) -> Sequence[Row]:
        """The rows that have the key, in no order."""
        return [table.row(*row) for row in self._db.execute(table.select, (key,))]

    def find(self, table: Table[Row], key: str | int) -> Row | None:
        """The row that has the key; for a table in which there is one at most."""
        rows = self.of(table, key)
        return rows[0] if rows else None

    def add(self, table: Table[Row], row: Row) -> None:
        """Adds the first row that has its key."""
        self._db.execute(table.insert, astuple(row))

    def put(self, table: Table[Row], key: str | int, rows: Sequence[Row]) -> None:
        """Puts rows in the place of all that have the key; none takes them away."""
        self._db.execute(table.delete, (key,))
        self._db.executemany(table.insert, [astuple(row) for row in rows])

    def change(self, table: Table[Row], key: str | int, **columns: Value) -> None:
        """Changes columns of the rows that have the key; nothing where there are none."""
        self._db.execute(table.update(tuple(columns)), (*columns.values(), key))

    def append(self, insert: str, values: tuple[Value, ...]) -> None:
        """An INSERT into a table that no projection reads or changes."""
        self._db.execute(insert, values)


class _Held:
    """What is held of one table, by key. `changed` wins over `read`; of what is `fresh` the file has no row."""

    __slots__ = ("changed", "fresh", "read")

    def __init__(self) -> None:
        self.read: dict[str | int, Sequence[Any]] = {}
        self.changed: dict[str | int, Sequence[Any]] = {}
        self.fresh: set[str | int] = set()


class _AllHeld(dict[Table[Any], _Held]):
    """What is held, by table; `names` are theirs."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __missing__(self, table: Table[Any]) -> _Held:
        self.names.add(table.name)
        held = self[table] = _Held()
        return held


class HeldTables(Tables):
    """Holds rows until `flush`. SQL that names a table of which rows are held has them written first, and read anew."""

    def __init__(self, db: Connection) -> None:
        super().__init__(db)
        self._cursor = db.cursor()  # one, not one for each statement
        self._held = _AllHeld()
        self._appended: defaultdict[str, list[tuple[Value, ...]]] = defaultdict(list)
        self._words: dict[str, frozenset[str]] = {}  # statement → the words in it
        self.execute = self._execute  # type: ignore[assignment]
        self.executemany = self._executemany  # type: ignore[assignment]

    def _execute(self, statement: str, values: Any = None) -> Cursor:
        self._make_way(statement)
        return self._cursor.execute(statement, values)

    def _executemany(self, statement: str, values: Any) -> Cursor:
        self._make_way(statement)
        return self._cursor.executemany(statement, values)

    def _make_way(self, statement: str) -> None:
        words = self._words.get(statement)
        if words is None:
            words = self._words[statement] = frozenset(re.findall(r"\w+", statement))
        if not words.isdisjoint(self._held.names):
            self.flush()

    def of(self, table: Table[Row], key: str | int) -> Sequence[Row]:
        held = self._held[table]
        rows = held.changed.get(key)
        if rows is None:
            rows = held.read.get(key)
        if rows is None:
            rows = held.read[key] = [table.row(*row) for row in self._cursor.execute(table.select, (key,))]
        return rows

    def find(self, table: Table[Row], key: str | int) -> Row | None:
        rows = self._held[table].changed.get(key)  # where most are found; the rest is `of`'s
        if rows is None:
            rows = self.of(table, key)
        return rows[0] if rows else None

    def add(self, table: Table[Row], row: Row) -> None:
        held, key = self._held[table], getattr(row, table.key)
        if key not in held.changed:
            held.fresh.add(key)
        held.changed[key] = (row,)

    def put(self, table: Table[Row], key: str | int, rows: Sequence[Row]) -> None:
        self._held[table].changed[key] = rows

    def change(self, table: Table[Row], key: str | int, **columns: Value) -> None:
        changed = self._held[table].changed
        rows = changed.get(key)
        if rows is None:
            rows = self.of(table, key)
        if len(rows) == 1:
            changed[key] = (replace(rows[0], **columns),)
        elif rows:
            changed[key] = [replace(row, **columns) for row in rows]

    def append(self, insert: str, values: tuple[Value, ...]) -> None:
        self._appended[insert].append(values)

    def flush(self) -> None:
        """Writes what is held and forgets it. What goes, goes first: a name may have passed from one row to another."""
        for table, held in self._held.items():
            self._cursor.executemany(table.delete, [(key,) for key in held.changed if key not in held.fresh])
            rows = [astuple(row) for rows in held.changed.values() for row in rows]
            self._cursor.executemany(table.insert, rows)
        for insert, values in self._appended.items():
            self._cursor.executemany(insert, values)
        self._held = _AllHeld()
        self._appended.clear()
