"""When services crashed: the breaker's window is cut from this."""

from apsw import Connection

from events.database import read_sql
from events.event import Event, Recorded
from events.services import (
    ServiceCircuitClosed,
    ServiceCircuitReset,
    ServiceCrashed,
    ServiceDeleted,
    ServiceRepairFailed,
)

TABLES = read_sql(__file__)


def crashes_since(db: Connection, service_id: str, at_us: int) -> int:
    """How often it crashed from a moment on."""
    return int(db.execute("SELECT count(*) FROM crash WHERE service_id = ? AND at_us >= ?", (service_id, at_us)).get)


def in_words(exit_code: int | None, oom_killed: bool, memory_mb: int | None) -> str:
    """How an instance ended, "" where that is not known; `memory_mb` is what it might use.

    >>> in_words(137, True, 128), in_words(3, False, 128), in_words(None, False, None)
    ('killed for using more than its 128 MB (memory_mb)', 'ended with exit code 3', '')
    """
    if oom_killed:
        return "killed for using more than " + (f"its {memory_mb} MB (memory_mb)" if memory_mb else "memory_mb allows")
    return "" if exit_code is None else f"ended with exit code {exit_code}"


def crashed(db: Connection, at: Recorded, _: ServiceCrashed | ServiceRepairFailed) -> None:
    db.execute("INSERT INTO crash VALUES (?, ?, ?)", (at.subject, at.position, at.at_us))


def forgotten(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM crash WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceCrashed: crashed,
    ServiceRepairFailed: crashed,
    ServiceCircuitClosed: forgotten,
    ServiceCircuitReset: forgotten,
    ServiceDeleted: forgotten,
}
