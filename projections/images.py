"""Which images the log says that we fetched, and which of them something may still come back to. It has no table of its own."""

from apsw import Connection

_WANTED = """
SELECT pinned FROM (
    SELECT deployment.pinned, row_number() OVER (PARTITION BY service_id ORDER BY max(number) DESC) AS age
    FROM deployment JOIN service USING (service_id)
    WHERE deployment.pinned IS NOT NULL AND service.desired <> 'deleted'
    GROUP BY service_id, deployment.pinned
) WHERE age <= ?
UNION SELECT deployment.pinned FROM service JOIN deployment USING (deployment_id) WHERE service.desired <> 'deleted'
UNION SELECT pinned FROM database WHERE desired <> 'purged'
"""
_FETCHED = """
SELECT pinned, image FROM deployment WHERE pinned IS NOT NULL
UNION SELECT pinned, image FROM database WHERE pinned IS NOT NULL
"""

_FETCHED_BY = """
SELECT tenant_id, pinned FROM deployment WHERE pinned IS NOT NULL
UNION SELECT tenant_id, pinned FROM database WHERE pinned IS NOT NULL
"""


def wanted(db: Connection, kept: int) -> frozenset[str]:
    """Of each service the last `kept` that ran, and what serves; of each database what it runs. Pinned."""
    return frozenset(row[0] for row in db.execute(_WANTED, (kept,)) if row[0])


def fetched(db: Connection) -> dict[str, frozenset[str]]:
    """All that ever ran: pinned → as they were asked for."""
    found: dict[str, set[str]] = {}
    for pinned, image in db.execute(_FETCHED):
        found.setdefault(pinned, set()).add(image)
    return {pinned: frozenset(images) for pinned, images in found.items()}


def fetched_by(db: Connection) -> dict[str, frozenset[str]]:
    """Tenant → all that ever ran of it, pinned."""
    found: dict[str, set[str]] = {}
    for tenant_id, pinned in db.execute(_FETCHED_BY):
        found.setdefault(tenant_id, set()).add(pinned)
    return {tenant_id: frozenset(images) for tenant_id, images in found.items()}


def coming(db: Connection) -> frozenset[str]:
    """What deployments and databases that are under way ask for: it may be fetched, and not run yet."""
    rows = db.execute(
        "SELECT image FROM deployment WHERE status IN ('pending', 'deploying')"
        " UNION SELECT image FROM database WHERE status = 'provisioning'"
    )
    return frozenset(row[0] for row in rows)
