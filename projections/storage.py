"""How much is kept for a tenant: what a quota is held against. How much it was when, `usage.py` knows."""

from apsw import Connection

from events.database import read_sql
from events.event import Event, Recorded
from events.tenants import TenantErased
from events.usage import UsageMeasured

TABLES = read_sql(__file__)


def held_by(db: Connection, tenant_id: str) -> dict[str, int]:
    """Bytes by kind, as they were measured last."""
    rows = db.execute("SELECT kind, bytes FROM storage WHERE tenant_id = ?", (tenant_id,))
    return {kind: size for kind, size in rows}  # noqa: C416 — of a cursor, whose rows mypy does not know


def tenants(db: Connection) -> list[str]:
    """Who was ever measured to store anything, and is not erased."""
    return [row[0] for row in db.execute("SELECT DISTINCT tenant_id FROM storage ORDER BY tenant_id")]


def measured(db: Connection, at: Recorded, event: UsageMeasured) -> None:
    db.executemany(
        "REPLACE INTO storage VALUES (?, ?, ?)",
        [(at.tenant, kind, size) for kind, size in sorted(event.stored.items())],
    )


def erased(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM storage WHERE tenant_id = ?", (at.tenant,))


APPLY = {UsageMeasured: measured, TenantErased: erased}
