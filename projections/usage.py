"""What was used, hour by hour, and what was stored from when to when.

A reading says how far a container's counters have come, so one that is read twice, or late, changes no sum. Where a
counter stands lower than before, the container was started again, and all that it shows is new.
"""

from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.databases import DatabaseDeleted, DatabaseStopped
from events.event import Event, Recorded
from events.services import ServiceDeleted, ServiceDrained, ServiceRepaired, ServiceStopped
from events.tenants import TenantErased, TenantRegistered
from events.usage import Reading, UsageMeasured
from projections.intervals import FOREVER

TABLES = read_sql(__file__)


class UsedRow(Struct, frozen=True):
    """One row of `used`, its columns in order."""

    tenant_id: str
    hour: int
    kind: str
    resource_id: str
    cpu_us: int
    memory_mb_s: int
    rx_bytes: int
    tx_bytes: int


class StoredRow(Struct, frozen=True):
    """One row of `stored`, its columns in order."""

    tenant_id: str
    kind: str
    begun_at: int
    ended_at: int
    bytes: int


def payers(db: Connection) -> dict[str, str]:
    """Tenant → its part of host names; of all that ever were, in the order of these."""
    rows = db.execute("SELECT tenant_id, label FROM payer ORDER BY label, tenant_id")
    return {str(tenant): str(label) for tenant, label in rows}


def used_of(db: Connection, tenant_id: str, since: int, until: int) -> list[UsedRow]:
    """What a tenant used in the hours that began in [since, until)."""
    rows = db.execute("SELECT * FROM used WHERE tenant_id = ? AND hour >= ? AND hour < ?", (tenant_id, since, until))
    return [UsedRow(*row) for row in rows]


def stored_of(db: Connection, tenant_id: str, since: int, until: int) -> list[StoredRow]:
    """What was stored of a tenant for at least a second of [since, until)."""
    rows = db.execute(
        "SELECT * FROM stored WHERE tenant_id = ? AND ended_at > ? AND begun_at < ?", (tenant_id, since, until)
    )
    return [StoredRow(*row) for row in rows]


def registered(db: Connection, at: Recorded, event: TenantRegistered) -> None:
    db.execute("INSERT INTO payer VALUES (?, ?)", (at.tenant, event.label))


def measured(db: Connection, at: Recorded, event: UsageMeasured) -> None:
    for reading in event.readings:
        _add(db, at.tenant, event.hour, reading)
    for kind, held in sorted(event.stored.items()):
        db.execute(
            "UPDATE stored SET ended_at = ? WHERE tenant_id = ? AND kind = ? AND ended_at = ?",
            (at.at_s, at.tenant, kind, FOREVER),
        )
        db.execute("REPLACE INTO stored VALUES (?, ?, ?, ?, ?)", (at.tenant, kind, at.at_s, FOREVER, held))


def _add(db: Connection, tenant_id: str, hour: int, reading: Reading) -> None:
    now = (reading.cpu_us, reading.rx_bytes, reading.tx_bytes)
    found = db.execute("SELECT cpu_us, rx_bytes, tx_bytes FROM counter WHERE instance = ?", (reading.instance,))
    before = next(found, (0, 0, 0))
    is_new = any(after < earlier for after, earlier in zip(now, before, strict=True))
    cpu_us, rx, tx = now if is_new else (after - earlier for after, earlier in zip(now, before, strict=True))
    db.execute("REPLACE INTO counter VALUES (?, ?, ?, ?)", (reading.instance, *now))
    db.execute(
        "INSERT INTO used VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET cpu_us = cpu_us + excluded.cpu_us,"
        " memory_mb_s = memory_mb_s + excluded.memory_mb_s, rx_bytes = rx_bytes + excluded.rx_bytes,"
        " tx_bytes = tx_bytes + excluded.tx_bytes",
        (tenant_id, hour, reading.kind, reading.resource_id, cpu_us, reading.memory_mb_s, rx, tx),
    )


def removed(
    db: Connection,
    _: Recorded,
    event: ServiceDrained | ServiceStopped | ServiceDeleted | ServiceRepaired | DatabaseStopped | DatabaseDeleted,
) -> None:
    """Containers that are gone are read no more."""
    db.executemany("DELETE FROM counter WHERE instance = ?", [(instance,) for instance in event.removed])


def erased(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("UPDATE stored SET ended_at = ? WHERE tenant_id = ? AND ended_at = ?", (at.at_s, at.tenant, FOREVER))


APPLY = {
    TenantRegistered: registered,
    UsageMeasured: measured,
    ServiceDrained: removed,
    ServiceStopped: removed,
    ServiceDeleted: removed,
    ServiceRepaired: removed,
    DatabaseStopped: removed,
    DatabaseDeleted: removed,
    TenantErased: erased,
}
