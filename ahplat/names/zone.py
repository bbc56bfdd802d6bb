"""What is called how in a tenant's network: `<service>.internal` and `<database>.db.internal`, from the views.

Nothing else exists there. A noun whose things have names adds a line to NOUNS. Invariant: what is asked for is
looked up among the tenant's own.
"""

from collections.abc import Callable

from apsw import Connection

from projections import databases, routes

Find = Callable[[str, tuple[str, ...]], list[str] | None]
"""(tenant, labels in lower case) → its addresses now, empty where it has none; None where nothing is called that."""

TOP = "internal"
NOUNS: dict[tuple[str, ...], Callable[[Connection, str, str], list[str] | None]] = {
    (TOP,): routes.addresses_of,
    ("db", TOP): databases.addresses_of,
}
"""What stands behind the first label → (views, tenant, first label) → as Find says."""


def find(views: Connection, tenant_id: str, labels: tuple[str, ...]) -> list[str] | None:
    """See Find."""
    if not labels:
        return None
    if labels in NOUNS:
        return []
    noun = NOUNS.get(labels[1:])
    return noun(views, tenant_id, labels[0]) if noun else None
