"""What we know of services' variables: every value that was ever set, for a deployment names the version it wants."""

from apsw import Connection

from events.database import read_sql
from events.event import Recorded
from events.services import ServiceDeleted, ServiceEnvRestored, ServiceEnvSet, ServiceEnvUnset

TABLES = read_sql(__file__)

FOREVER = 2**63 - 1


def values_at(db: Connection, service_id: str, version: int) -> dict[str, bytes]:
    """The sealed variables as they were at a version of the service's stream, by name."""
    rows = db.execute(
        "SELECT key, sealed FROM env INDEXED BY env_until"
        " WHERE service_id = ?1 AND since <= ?2 AND until > ?2 ORDER BY key",
        (service_id, version),
    )
    return dict(rows)


def env_set(db: Connection, at: Recorded, event: ServiceEnvSet) -> None:
    for key, sealed in event.sealed.items():
        _close(db, at, key)
        db.execute("INSERT INTO env VALUES (?, ?, ?, ?, ?)", (at.subject, key, at.version, FOREVER, sealed))


def env_unset(db: Connection, at: Recorded, event: ServiceEnvUnset) -> None:
    _close(db, at, event.key)


def env_restored(db: Connection, at: Recorded, event: ServiceEnvRestored) -> None:
    db.execute(
        "UPDATE env INDEXED BY env_until SET until = ? WHERE service_id = ? AND until = ?",
        (at.version, at.subject, FOREVER),
    )
    db.execute(
        "INSERT INTO env SELECT service_id, key, ?1, ?2, sealed FROM env WHERE service_id = ?3 AND since <= ?4"
        " AND until > ?4",
        (at.version, FOREVER, at.subject, event.env_version),
    )


def _close(db: Connection, at: Recorded, key: str) -> None:
    db.execute(
        "UPDATE env SET until = ?1 WHERE service_id = ?2 AND key = ?3 AND until = ?4"
        " AND since = (SELECT max(since) FROM env WHERE service_id = ?2 AND key = ?3)",
        (at.version, at.subject, key, FOREVER),
    )


def deleted(db: Connection, at: Recorded, _: ServiceDeleted) -> None:
    db.execute("DELETE FROM env WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceEnvSet: env_set,
    ServiceEnvUnset: env_unset,
    ServiceEnvRestored: env_restored,
    ServiceDeleted: deleted,
}
