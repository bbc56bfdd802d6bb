"""How full the disks are, in levels: what was last told of each."""

from apsw import Connection

from events.database import read_sql
from events.disks import DiskLevelChanged
from events.event import Recorded

TABLES = read_sql(__file__)


def level_of(db: Connection, name: str) -> str:
    """The level of a disk; one that was never told of is ok."""
    return str(db.execute("SELECT level FROM disk WHERE name = ?", (name,)).get or "ok")


def level_changed(db: Connection, at: Recorded, event: DiskLevelChanged) -> None:
    db.execute("REPLACE INTO disk VALUES (?, ?, ?, ?)", (at.subject, event.level, event.used_percent, at.at_s))


APPLY = {DiskLevelChanged: level_changed}
