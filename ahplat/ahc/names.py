"""Names and ids: whatever names a thing is looked for in the list of them, and has to match exactly."""

from typing import Any

from ahplat.ahc.client import Client
from ahplat.ahc.failures import MISSING, UNAUTHORISED, Failure

LISTS = {"service": "/v1/services", "database": "/v1/databases"}
_LIMIT = 50  # deletions looked through for the one that is repeated
COMMANDS = {"service": "ahc services", "database": "ahc db list"}


def find(client: Client, kind: str, name: str) -> dict[str, Any]:
    """The one of that name or id. Raises Failure."""
    found = find_or_none(client, kind, name)
    if found is None:
        raise Failure(MISSING, f"there is no {kind} {name!r}", f"`{COMMANDS[kind]}` lists yours")
    return found


def find_or_none(client: Client, kind: str, name: str) -> dict[str, Any] | None:
    """The same, or None."""
    rows: list[dict[str, Any]] = client.pages(LISTS[kind])
    return pick(rows, name)


def deleted(client: Client, kind: str, name: str) -> list[dict[str, Any]]:
    """What had that name or id and was deleted, the last one first. A key that is for one service may not know."""
    try:
        rows = client.read("/v1/activity", resource_type=kind, action="delete_requested", limit=_LIMIT)
    except Failure as failure:
        if failure.code != UNAUTHORISED:
            raise
        return []
    found = [{"id": row["resource_id"], "name": row.get("resource_name", name)} for row in rows]
    return [one for one in found if name in one.values()]


def pick(rows: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """A name wins over an id.

    >>> pick([{"id": "1", "name": "web"}, {"id": "2", "name": "1"}], "1")
    {'id': '2', 'name': '1'}
    """
    for field in ("name", "id"):
        for row in rows:
            if row.get(field) == name:
                return row
    return None
