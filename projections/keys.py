"""What we know of API keys: which are in force, and what they may do. A suspended tenant's keys are revoked."""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.event import Event, Recorded
from events.keys import KeyCreated, KeyRevoked
from events.tenants import TenantErasureRequested, TenantSuspended

TABLES = read_sql(__file__)


class KeyRow(Struct, frozen=True):
    """One row of `key`, its columns in order."""

    key_id: str
    tenant_id: str
    name: bytes
    digest: bytes
    scopes: str
    created_at: int
    expires_at: int
    revoked_at: int | None
    service_id: str


def find(db: Connection, key_id: str) -> KeyRow | None:
    """The key, in force or not."""
    for row in db.execute("SELECT * FROM key WHERE key_id = ?", (key_id,)):
        return KeyRow(*row)
    return None


def list_of(db: Connection, tenant_id: str, limit: int, offset: int, before: str) -> list[KeyRow]:
    """A tenant's keys that are not revoked, newest first."""
    rows = db.execute(
        "SELECT * FROM key WHERE tenant_id = ?1 AND revoked_at IS NULL AND (?2 = '' OR key_id < ?2)"
        " ORDER BY key_id DESC LIMIT ?3 OFFSET ?4",
        (tenant_id, before, limit, offset),
    )
    return [KeyRow(*row) for row in rows]


def count_of(db: Connection, tenant_id: str) -> int:
    """How many keys of a tenant are not revoked."""
    return int(db.execute("SELECT count(*) FROM key WHERE tenant_id = ? AND revoked_at IS NULL", (tenant_id,)).get)


def created(db: Connection, at: Recorded, event: KeyCreated) -> None:
    db.execute(
        "INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)",
        (
            event.key_id,
            at.tenant,
            event.name,
            event.digest,
            " ".join(event.scopes),
            at.at_s,
            event.expires_at,
            event.service_id,
        ),
    )


def revoked(db: Connection, at: Recorded, event: KeyRevoked) -> None:
    db.execute("UPDATE key SET revoked_at = ? WHERE key_id = ?", (at.at_s, event.key_id))


def all_revoked(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("UPDATE key SET revoked_at = ? WHERE tenant_id = ? AND revoked_at IS NULL", (at.at_s, at.tenant))


APPLY = {
    KeyCreated: created,
    KeyRevoked: revoked,
    TenantSuspended: all_revoked,
    TenantErasureRequested: all_revoked,
}
