"""What we know of tenants. A tenant's row stays for good, so that its label is never given again.

Of who was erased a hash of the label stays, which is enough for that. (The log has it in the clear: it was part of every
host name, and so never a secret.)
"""

from hashlib import sha256

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.event import Event, Recorded
from events.keys import KeyCreated, KeyRevoked
from events.tenants import (
    TenantErased,
    TenantErasureRequested,
    TenantKept,
    TenantProfileChanged,
    TenantQuieted,
    TenantQuotasSet,
    TenantReactivated,
    TenantRegistered,
    TenantResumed,
    TenantSuspended,
    TenantWorkSuperseded,
)

TABLES = read_sql(__file__)


class TenantRow(Struct, frozen=True):
    """One row of `tenant`, its columns in order."""

    tenant_id: str
    name: bytes | None
    email: bytes | None
    email_index: bytes | None
    label: str
    subnet: str
    status: str
    created_at: int
    updated_at: int
    suspended_at: int | None
    version: int
    egress_subnet: str


def find(db: Connection, tenant_id: str) -> TenantRow | None:
    """The tenant, in whatever status; None when there never was one."""
    for row in db.execute("SELECT * FROM tenant WHERE tenant_id = ?", (tenant_id,)):
        return TenantRow(*row)
    return None


def status_of(db: Connection, tenant_id: str) -> str:
    """active, suspended, erased; "" when there never was one."""
    return str(db.execute("SELECT status FROM tenant WHERE tenant_id = ?", (tenant_id,)).get or "")


def find_by_email(db: Connection, email_index: bytes) -> TenantRow | None:
    """The tenant that has this address."""
    for row in db.execute("SELECT * FROM tenant WHERE email_index = ?", (email_index,)):
        return TenantRow(*row)
    return None


def list_all(db: Connection, limit: int, offset: int, before: str) -> list[TenantRow]:
    """Tenants, newest first; those with an id smaller than `before` where it is given."""
    rows = db.execute(
        "SELECT * FROM tenant WHERE ?1 = '' OR tenant_id < ?1 ORDER BY tenant_id DESC LIMIT ?2 OFFSET ?3",
        (before, limit, offset),
    )
    return [TenantRow(*row) for row in rows]


def count_by_status(db: Connection) -> dict[str, int]:
    """How many tenants there are of each status; erased ones are not counted."""
    return dict(db.execute("SELECT status, count(*) FROM tenant WHERE status <> 'erased' GROUP BY status"))


def list_not_erased(db: Connection) -> list[TenantRow]:
    """Every tenant that may have networks."""
    return [TenantRow(*row) for row in db.execute("SELECT * FROM tenant WHERE status <> 'erased' ORDER BY tenant_id")]


def list_ever(db: Connection) -> list[TenantRow]:
    """Every tenant that there is or was."""
    return [TenantRow(*row) for row in db.execute("SELECT * FROM tenant ORDER BY tenant_id")]


def is_given(db: Connection, label: str) -> bool:
    """Whether some tenant has the label, or ever had it."""
    return bool(db.execute("SELECT 1 FROM tenant WHERE label IN (?, ?)", (label, _given_up(label))).get)


def _given_up(label: str) -> str:
    """What is kept of an erased tenant's label; no label has a colon in it.

    >>> _given_up("acme")[:20]
    'sha256:822b33ad87c14'
    """
    return f"sha256:{sha256(label.encode()).hexdigest()}"


def quotas_of(db: Connection, tenant_id: str) -> dict[str, int]:
    """The quotas that the operator set for this tenant."""
    return dict(db.execute("SELECT name, value FROM quota WHERE tenant_id = ?", (tenant_id,)))


def registered(db: Connection, at: Recorded, event: TenantRegistered) -> None:
    db.execute(
        "INSERT INTO tenant VALUES (?, ?, ?, ?, ?, ?, 'active', ?, ?, NULL, ?, ?)",
        (
            at.subject,
            event.name,
            event.email,
            event.email_index,
            event.label,
            event.subnet,
            at.at_s,
            at.at_s,
            at.version,
            event.egress_subnet,
        ),
    )


def profile_changed(db: Connection, at: Recorded, event: TenantProfileChanged) -> None:
    db.execute(
        "UPDATE tenant SET name = coalesce(?, name), email = coalesce(?, email),"
        " email_index = coalesce(?, email_index) WHERE tenant_id = ?",
        (event.name, event.email, event.email_index, at.subject),
    )
    touched(db, at, event)


def quotas_set(db: Connection, at: Recorded, event: TenantQuotasSet) -> None:
    db.executemany(
        "REPLACE INTO quota VALUES (?, ?, ?)", [(at.subject, *item) for item in sorted(event.quotas.items())]
    )
    touched(db, at, event)


def suspended(db: Connection, at: Recorded, event: TenantSuspended) -> None:
    db.execute("UPDATE tenant SET status = 'suspended', suspended_at = ? WHERE tenant_id = ?", (at.at_s, at.subject))
    touched(db, at, event)


def reactivated(db: Connection, at: Recorded, event: TenantReactivated) -> None:
    db.execute("UPDATE tenant SET status = 'active', suspended_at = NULL WHERE tenant_id = ?", (at.subject,))
    touched(db, at, event)


def erased(db: Connection, at: Recorded, event: TenantErased) -> None:
    row = find(db, at.subject)
    assert row, at
    db.execute(
        "UPDATE tenant SET status = 'erased', name = NULL, email = NULL, email_index = NULL, label = ?"
        " WHERE tenant_id = ?",
        (_given_up(row.label), at.subject),
    )
    touched(db, at, event)


def touched(db: Connection, at: Recorded, _: Event) -> None:
    """Every event of the stream moves the version, for the version is the tenant's ETag."""
    db.execute("UPDATE tenant SET version = ?, updated_at = ? WHERE tenant_id = ?", (at.version, at.at_s, at.subject))


APPLY = {
    TenantRegistered: registered,
    TenantProfileChanged: profile_changed,
    TenantQuotasSet: quotas_set,
    TenantSuspended: suspended,
    TenantQuieted: touched,
    TenantKept: touched,
    TenantWorkSuperseded: touched,
    TenantReactivated: reactivated,
    TenantResumed: touched,
    TenantErasureRequested: suspended,
    TenantErased: erased,
    KeyCreated: touched,
    KeyRevoked: touched,
}
