"""What was wanted to run when its tenant was suspended, and is to run again once that is over."""

from apsw import Connection

from events.database import read_sql
from events.event import Event, Recorded
from events.services import ServiceStopRequested
from events.tenants import TenantResumed, TenantSuspended

TABLES = read_sql(__file__)


def paused_of(db: Connection, tenant_id: str) -> list[str]:
    """The services that were wanted to run when the tenant was suspended."""
    return [row[0] for row in db.execute("SELECT service_id FROM paused WHERE tenant_id = ? ORDER BY 1", (tenant_id,))]


def stop_requested(db: Connection, at: Recorded, _: Event) -> None:
    """What is stopped while its tenant is suspended is to run again too."""
    db.execute(
        "INSERT OR IGNORE INTO paused SELECT tenant_id, ? FROM tenant WHERE tenant_id = ? AND status = 'suspended'",
        (at.subject, at.tenant),
    )


def tenant_suspended(db: Connection, at: Recorded, _: TenantSuspended) -> None:
    """What is to run by then, whatever becomes of it before it is stopped."""
    db.execute(
        "INSERT OR IGNORE INTO paused SELECT tenant_id, service_id FROM service"
        " WHERE tenant_id = ? AND desired = 'running'",
        (at.tenant,),
    )


def tenant_resumed(db: Connection, at: Recorded, event: TenantResumed) -> None:
    db.executemany(
        "DELETE FROM paused WHERE tenant_id = ? AND service_id = ?",
        [(at.tenant, service) for service in event.services],
    )


APPLY = {
    ServiceStopRequested: stop_requested,
    TenantSuspended: tenant_suspended,
    TenantResumed: tenant_resumed,
}
