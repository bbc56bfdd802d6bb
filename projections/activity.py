"""What happened, as a tenant sees it: one line for each event about a resource of its own, deleted ones included."""

from collections.abc import Callable
from typing import Any

from apsw import Connection
from msgspec import Struct

from events import builds, database_backups, databases, domains, execs, keys, services, tenants, volumes
from events.database import read_sql
from events.event import Event, Recorded
from events.execs import ExecEnded, ExecStarted
from events.keys import KeyCreated, KeyRevoked
from projections.tables import Tables

TABLES = read_sql(__file__)


class ActivityRow(Struct, frozen=True):
    """One row of `activity`, its columns in order, the name of the service or database that it is about, and whose it is."""

    tenant_id: str
    position: int
    resource_type: str
    resource_id: str
    action: str
    created_at: int
    name: str | None
    service_id: str | None  # of the service, also where it is about a build of it


class Wanted(Struct, frozen=True):
    """Which activity; "" and 0 leave a question open."""

    resource_type: str = ""
    service_id: str = ""  # of the service itself, and of its builds
    action: str = ""
    since: int = 0
    before: int = 0


def list_of(db: Connection, tenant_id: str, wanted: Wanted, limit: int, offset: int) -> list[ActivityRow]:
    """What happened to a tenant's resources, newest first."""
    rows = db.execute(
        "SELECT activity.*, coalesce(service.name, database.name), coalesce(service.service_id, build.service_id)"
        " FROM activity LEFT JOIN service ON service.service_id = resource_id"
        " LEFT JOIN database ON database_id = resource_id LEFT JOIN build ON build_id = resource_id"
        " WHERE activity.tenant_id = ?1 AND (?2 = '' OR resource_type = ?2)"
        " AND (?3 = '' OR ?3 IN (service.service_id, build.service_id))"
        " AND (?4 = '' OR action = ?4) AND activity.created_at >= ?5 AND (?6 = 0 OR position < ?6)"
        " ORDER BY position DESC LIMIT ?7 OFFSET ?8",
        (
            tenant_id,
            wanted.resource_type,
            wanted.service_id,
            wanted.action,
            wanted.since,
            wanted.before,
            limit,
            offset,
        ),
    )
    return [ActivityRow(*row) for row in rows]


_INSERT = "INSERT INTO activity VALUES (?, ?, ?, ?, ?, ?)"


def happened(tables: Tables, at: Recorded, _event: Event) -> None:
    noun, _, action = at.type.partition(".")
    tables.append(_INSERT, (at.tenant, at.position, noun, at.subject, action, at.at_s))


def key_happened(tables: Tables, at: Recorded, event: KeyCreated | KeyRevoked) -> None:
    noun, _, action = at.type.partition(".")
    tables.append(_INSERT, (at.tenant, at.position, noun, event.key_id, action, at.at_s))


def exec_happened(tables: Tables, at: Recorded, event: ExecStarted | ExecEnded) -> None:
    """It happened to the service."""
    noun, _, about = event.subject.partition("-")
    tables.append(_INSERT, (at.tenant, at.position, noun, about, at.type.replace(".", "_"), at.at_s))


APPLY: dict[type[Event], Callable[[Tables, Recorded, Any], None]] = {
    **dict.fromkeys(
        (
            *tenants.EVENTS,
            *services.EVENTS,
            *domains.EVENTS,
            *builds.EVENTS,
            *databases.EVENTS,
            *database_backups.EVENTS,
            *volumes.EVENTS,
        ),
        happened,
    ),
    **dict.fromkeys(keys.EVENTS, key_happened),
    **dict.fromkeys(execs.EVENTS, exec_happened),
}
