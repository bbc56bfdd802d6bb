"""What we know of commands that were run in an instance: whether they ended, and how. For who asks again."""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.event import Recorded
from events.execs import ExecEnded, ExecStarted

TABLES = read_sql(__file__)


class ExecRow(Struct, frozen=True):
    """One row of `exec`, its columns in order."""

    exec_id: str
    service_id: str
    outcome: str | None
    exit_code: int | None
    truncated: int
    duration_ms: int


def find(db: Connection, exec_id: str) -> ExecRow | None:
    """One command."""
    for row in db.execute("SELECT * FROM exec WHERE exec_id = ?", (exec_id,)):
        return ExecRow(*row)
    return None


def running_of(db: Connection, service_id: str) -> int:
    """How many run in a service."""
    return int(db.execute("SELECT count(*) FROM exec WHERE service_id = ? AND outcome IS NULL", (service_id,)).get)


def started(db: Connection, at: Recorded, event: ExecStarted) -> None:
    service_id = event.subject.partition("-")[2]
    db.execute("INSERT INTO exec VALUES (?, ?, NULL, NULL, 0, 0)", (at.subject, service_id))


def ended(db: Connection, at: Recorded, event: ExecEnded) -> None:
    db.execute(
        "UPDATE exec SET outcome = ?, exit_code = ?, truncated = ?, duration_ms = ? WHERE exec_id = ?",
        (event.outcome, event.exit_code, event.truncated, event.duration_ms, at.subject),
    )


APPLY = {ExecStarted: started, ExecEnded: ended}
