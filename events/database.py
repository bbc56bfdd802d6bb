"""The one module that opens database connections, with the settings that each kind of file needs.

The log and the keys are FULL: a commit that returned is on the disk. Views are NORMAL: never torn, they may lose the
latest commits when power fails and catch up from the log. SQLite runs on apsw, whose version the log's safety rests on
(the WAL-reset fault is mended from 3.51.3 on).
"""

from pathlib import Path
from typing import Literal

import apsw

Durability = Literal["FULL", "NORMAL"]

BUSY_TIMEOUT_MS = 5_000
PAGE_BYTES: dict[Durability, int] = {"FULL": 8_192, "NORMAL": 4_096}  # of views a command changes a row here and there


def open_database(path: Path, durability: Durability) -> apsw.Connection:
    """Opens (and makes, mode 0600) a database for writing, in WAL mode."""
    if not path.exists():
        path.touch(mode=0o600)
    db = apsw.Connection(str(path), statementcachesize=256)
    _plan_once(db)
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    db.pragma("page_size", PAGE_BYTES[durability])
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", durability)
    db.pragma("foreign_keys", False)
    db.pragma("trusted_schema", False)
    db.pragma("temp_store", "memory")
    return db


def open_memory() -> apsw.Connection:
    """Makes a database in memory, which goes with its connection."""
    db = apsw.Connection(":memory:", statementcachesize=256)
    _plan_once(db)
    return db


def open_reader(path: Path) -> apsw.Connection:
    """Opens an existing database to read only."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=256)
    _plan_once(db)
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    db.pragma("query_only", True)
    return db


def copy_database(path: Path, into: Path) -> None:
    """Writes a database as it is at one moment, without what was deleted from it, to a file that is made mode 0600.

    Others may go on writing. Raises apsw errors, CorruptError where a page is not what was written.
    """
    into.touch(mode=0o600)
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        db.execute("VACUUM INTO ?", (str(into),))
    finally:
        db.close()


def _plan_once(db: apsw.Connection) -> None:
    """Keeps a statement's plan. With STAT4 in it, SQLite else makes it anew for each value bound: 5 to 20 µs a query."""
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def run_script(db: apsw.Connection, script: str) -> None:
    """Runs a whole script (apsw runs only as far as rows are fetched)."""
    for _ in db.execute(script):
        pass


def read_sql(module_file: str) -> str:
    """The SQL that stands beside a module: `services.sql` beside `services.py`."""
    return Path(module_file).with_suffix(".sql").read_text()
