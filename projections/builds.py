"""What we know of builds: what was to be built, and how far it came.

The queue is the rows that are `pending`, in the order of their intents: there is no other.
"""

from apsw import Connection
from msgspec import Struct

from events.builds import (
    BuildBuilt,
    BuildCancelled,
    BuildCloned,
    BuildFailed,
    BuildPlanned,
    BuildPushed,
    BuildRequested,
    BuildSucceeded,
)
from events.database import read_sql
from events.effects import EffectAttempted
from events.event import Event, Recorded
from events.services import ServiceStopRequested

TABLES = read_sql(__file__)


class BuildRow(Struct, frozen=True):
    """One row of `build`, its columns in order."""

    build_id: str
    service_id: str
    tenant_id: str
    deployment_id: str
    intent: int
    source: bytes
    url: bytes
    ref: str
    builder: str
    image: str
    commit_id: str | None
    status: str
    step: str
    attempt: int
    digest: str | None
    stopped: int
    error_code: str | None
    error: bytes | None
    created_at: int
    started_us: int | None
    finished_at: int | None
    version: int

    @property
    def is_open(self) -> bool:
        """Whether it waits or is under way."""
        return self.status in ("pending", "running")


_OPEN = "status IN ('pending', 'running')"


def find(db: Connection, build_id: str) -> BuildRow | None:
    """One build."""
    for row in db.execute("SELECT * FROM build WHERE build_id = ?", (build_id,)):
        return BuildRow(*row)
    return None


def list_of(
    db: Connection, tenant_id: str, service_id: str, limit: int = -1, offset: int = 0, before: str = ""
) -> list[BuildRow]:
    """A service's builds, newest first, or all of a tenant's where `service_id` is ""; before an id where it is given."""
    column, value = ("service_id", service_id) if service_id else ("tenant_id", tenant_id)
    rows = db.execute(
        f"SELECT * FROM build WHERE {column} = ?1 AND (?2 = '' OR build_id < ?2)"
        " ORDER BY build_id DESC LIMIT ?3 OFFSET ?4",
        (value, before, limit, offset),
    )
    return [BuildRow(*row) for row in rows]


def list_open(db: Connection) -> list[BuildRow]:
    """Everybody's builds that wait or are under way, in the order in which their present step was asked for."""
    return [BuildRow(*row) for row in db.execute(f"SELECT * FROM build WHERE {_OPEN} ORDER BY intent")]


def same_as(db: Connection, service_id: str, source: bytes) -> BuildRow | None:
    """A build of the same source that waits or clones: whoever asks for it again means that one, if it will be deployed."""
    rows = db.execute(
        f"SELECT * FROM build WHERE service_id = ? AND source = ? AND {_OPEN} AND step = 'clone' AND NOT stopped"
        " ORDER BY build_id",
        (service_id, source),
    )
    for row in rows:
        return BuildRow(*row)
    return None


def of_deployment(db: Connection, deployment_id: str) -> str | None:
    """The build that became a deployment."""
    found: str | None = db.execute("SELECT build_id FROM build WHERE deployment_id = ?", (deployment_id,)).get
    return found


def place_of(db: Connection, row: BuildRow) -> int:
    """How many builds have their turn before, and itself: 1 is the next one; 0 where it does not wait."""
    if row.status != "pending":
        return 0
    count: int = db.execute("SELECT count(*) FROM build WHERE status = 'pending' AND intent <= ?", (row.intent,)).get
    return count


def requested(db: Connection, at: Recorded, event: BuildRequested) -> None:
    db.execute(
        "INSERT INTO build (build_id, service_id, tenant_id, deployment_id, intent, source, url, ref, builder, image,"
        " status, step, attempt, stopped, created_at, version)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', 'clone', 0, 0, ?, ?)",
        (
            at.subject,
            event.service_id,
            at.tenant,
            event.deployment_id,
            at.position,
            event.source,
            event.url,
            event.ref,
            event.builder,
            event.image,
            at.at_s,
            at.version,
        ),
    )


def attempted(db: Connection, at: Recorded, event: EffectAttempted) -> None:
    if not event.subject.startswith("build-"):
        return
    db.execute(
        "UPDATE build SET status = 'running', attempt = ?, started_us = coalesce(started_us, ?)"
        f" WHERE intent = ? AND {_OPEN}",
        (event.attempt, at.at_us, event.intent),
    )


def _go_on(db: Connection, at: Recorded, step: str, more: str = "", *values: str) -> None:
    """The next step is asked for; `values` are ?5, …"""
    db.execute(
        f"UPDATE build SET intent = ?1, version = ?2, step = ?3, attempt = 0{more} WHERE build_id = ?4",
        (at.position, at.version, step, at.subject, *values),
    )


def cloned(db: Connection, at: Recorded, event: BuildCloned) -> None:
    _go_on(db, at, "plan", ", commit_id = ?5", event.commit)


def planned(db: Connection, at: Recorded, _: BuildPlanned) -> None:
    _go_on(db, at, "build")


def built(db: Connection, at: Recorded, event: BuildBuilt) -> None:
    _go_on(db, at, "push", ", digest = ?5", event.digest)


def pushed(db: Connection, at: Recorded, event: BuildPushed) -> None:
    _go_on(db, at, "deploy", ", digest = ?5", event.digest)


def _end(db: Connection, at: Recorded, status: str, code: str | None = None, error: bytes | None = None) -> None:
    db.execute(
        "UPDATE build SET status = ?, error_code = ?, error = ?, finished_at = ?, version = ? WHERE build_id = ?",
        (status, code, error, at.at_s, at.version, at.subject),
    )


def succeeded(db: Connection, at: Recorded, event: BuildSucceeded) -> None:
    _end(db, at, "succeeded", event.undeployed or None)


def failed(db: Connection, at: Recorded, event: BuildFailed) -> None:
    _end(db, at, "failed", event.code, event.detail)


def cancelled(db: Connection, at: Recorded, _: BuildCancelled) -> None:
    _end(db, at, "cancelled")


def service_stopped(db: Connection, at: Recorded, _: Event) -> None:
    """What was asked for before is built all the same, but no longer started."""
    db.execute(f"UPDATE build SET stopped = 1 WHERE service_id = ? AND {_OPEN}", (at.subject,))


APPLY = {
    BuildRequested: requested,
    EffectAttempted: attempted,
    BuildCloned: cloned,
    BuildPlanned: planned,
    BuildBuilt: built,
    BuildPushed: pushed,
    BuildSucceeded: succeeded,
    BuildFailed: failed,
    BuildCancelled: cancelled,
    ServiceStopRequested: service_stopped,
}
