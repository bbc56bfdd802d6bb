"""Names and ids: whatever names a thing is looked for in the list of them, and has to match exactly."""

from typing import Any

from ahplat.ahc.client import Client
from ahplat.ahc.failures import MISSING, Failure

LISTS = {"service": "/v1/services", "database": "/v1/databases"}
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
