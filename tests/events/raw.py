"""A hand that may do to a log what nobody may: a connection without the triggers that guard it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw


@contextmanager
def raw(path: Path) -> Iterator[apsw.Connection]:
    """A connection to a database that nobody has open, its triggers dropped; what it wrote is in the file afterwards."""
    db = apsw.Connection(str(path))
    try:
        for (name,) in list(db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")):
            db.execute(f"DROP TRIGGER {name}")
        yield db
    finally:
        db.close()
