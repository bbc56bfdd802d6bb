"""What a tenant has, one thing each: what a plan says would be gone is what is in here before, and not after."""

from apsw import Connection
from msgspec import Struct

from projections.env import FOREVER


class Thing(Struct, frozen=True):
    """A resource that is there. `parent` is the id of what it goes with, "" for what stands alone.

    `name` is "" where it has none that may be read.
    """

    resource_type: str
    resource_id: str
    parent: str = ""
    name: str = ""


_KINDS = (
    "SELECT 'service', service_id, '', name FROM service WHERE tenant_id = ?1 AND desired <> 'deleted'",
    "SELECT 'variable', key, service_id, key FROM service JOIN env USING (service_id)"
    f" WHERE tenant_id = ?1 AND desired <> 'deleted' AND until = {FOREVER}",
    "SELECT 'domain', host, service_id, host FROM domain WHERE tenant_id = ?1",
    "SELECT 'deployment', deployment_id, service_id, '' FROM deployment"
    " WHERE tenant_id = ?1 AND status IN ('pending', 'deploying')",
    "SELECT 'build', build_id, service_id, '' FROM build WHERE tenant_id = ?1 AND status IN ('pending', 'running')",
    "SELECT 'database', database_id, '', name FROM database WHERE tenant_id = ?1 AND desired IN ('running', 'stopped')",
    "SELECT 'backup', backup_id, database_id, '' FROM database_backup WHERE tenant_id = ?1 AND status <> 'removing'",
    "SELECT 'volume', volume_id, '', name FROM volume WHERE tenant_id = ?1",
    "SELECT 'key', key_id, '', '' FROM key WHERE tenant_id = ?1 AND revoked_at IS NULL",
    "SELECT 'tenant', tenant_id, '', '' FROM tenant WHERE tenant_id = ?1 AND status = 'active'",
)


def inventory(db: Connection, tenant_id: str) -> list[Thing]:
    """Everything that a tenant has, in a fixed order."""
    return [Thing(*row) for select in _KINDS for row in db.execute(f"{select} ORDER BY 3, 2", (tenant_id,))]


def gone(before: list[Thing], after: list[Thing]) -> list[Thing]:
    """What was there and is not any more, with what goes with it.

    >>> web, key = Thing("service", "1", "", "web"), Thing("variable", "A", "1", "A")
    >>> gone([web, key], [key]) == [web, key]
    True
    """
    left = set(after)
    lost = {one.resource_id for one in before if one not in left and not one.parent}
    return [one for one in before if one not in left or one.parent in lost]
