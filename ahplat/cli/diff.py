"""`ah diff`: what is not the same at two moments, by resource, from the views that the log makes of each."""

from pathlib import Path
from typing import Any

import apsw
import click
import msgspec
from msgspec import Struct

from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_UNREADABLE, UNREADABLE, failed, id_of_tenant, open_log, place
from projections.compare import Change, Row, changes, tables_of
from projections.past import views_at

_OF = ("service_id", "database_id", "volume_id", "tenant_id")  # the columns that say whose a row is, the nearest first
_NAMES = {
    "service": "SELECT name FROM service WHERE service_id = ?",
    "database": "SELECT name FROM database WHERE database_id = ?",
    "volume": "SELECT name FROM volume WHERE volume_id = ?",
    "tenant": "SELECT label FROM tenant WHERE tenant_id = ?",
}
_NO_END = 2**63 - 1  # of what is in force until further notice
_LEFT_OUT = frozenset({"activity"})  # what happened is no state: `ah log` has it


class Resource(Struct, frozen=True):
    """Of what rows changed: a service, a database, a volume, a tenant, or the platform."""

    type: str
    id: str
    name: str
    changes: list[Change]


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@data_dir_option("events.db")
@click.option("--tenant", default="", help="Of this one alone, and quicker: its id, or its part of host names.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of resources with their changes.")
def diff(before: str, after: str, data_dir: Path, tenant: str, as_json: bool) -> None:
    """Show what changed between two moments, resource by resource: before → after. A and B are positions, or times.

    \b
    ah diff 120 140
    ah diff 2026-11-30T08:00:00Z 2026-11-30T09:00:00Z --tenant acme

    What is sealed is shown as sealed. Makes the views of both moments from the log, in memory; the server need not run.
    """
    log = open_log(data_dir)
    try:
        whose = id_of_tenant(log, tenant) or None
        found = differences(*(views_at(log, whose, place(log, text)) for text in (before, after)))
    except UNREADABLE as error:
        failed(f"{data_dir / 'events.db'} cannot be read ({error})", EXIT_UNREADABLE)
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif found:
        click.echo("\n".join(line for resource in found for line in lines(resource)))


def differences(before: apsw.Connection, after: apsw.Connection) -> list[Resource]:
    """What differs between the views of two moments, by resource; tables in the order of their names."""
    grouped: dict[tuple[str, str], list[Change]] = {}
    for table in state_tables(after):
        for change, row in changes(before, after, table):
            grouped.setdefault(_whose(table, change.key | row), []).append(change)
    return [
        Resource(type_, id_, _name(after, type_, id_) or _name(before, type_, id_), found)
        for (type_, id_), found in sorted(grouped.items())
    ]


def state_tables(views: apsw.Connection) -> list[str]:
    """The tables that say how things are, by name."""
    return [table for table in tables_of(views) if table not in _LEFT_OUT]


def _whose(table: str, row: Row) -> tuple[str, str]:
    """(type, id) of the resource that a row belongs to."""
    if table == "todo":
        noun, _, id_ = row["subject"].partition("-")
        if noun in _NAMES:
            return noun, id_
    for column in _OF:
        if row.get(column):
            return column.removesuffix("_id"), row[column]
    return "platform", ""


def _name(views: apsw.Connection, type_: str, id_: str) -> str:
    query = _NAMES.get(type_)
    return (views.execute(query, (id_,)).get if query else "") or ""


def lines(resource: Resource) -> list[str]:
    """A resource on the screen: a heading, and a line for each row that came, went or changed."""
    heading = " ".join(part for part in (resource.type, resource.name, resource.id) if part)
    return [heading, *(_line(change, resource.id) for change in resource.changes)]


def _line(change: Change, resource_id: str) -> str:
    key = " ".join(str(value) for value in change.key.values() if value != resource_id)
    what = f"{change.table} {key}".rstrip()
    if change.before is None or change.after is None:
        row = change.before or change.after or {}
        told = ", ".join(
            f"{name} {_text(value)}" for name, value in row.items() if _tells(name, value, change, resource_id)
        )
        return f"  {'+' if change.before is None else '-'} {what}: {told}".rstrip(": ")
    told = ", ".join(f"{name} {_text(old)} → {_text(change.after[name])}" for name, old in change.before.items())
    return f"    {what}: {told}"


def _tells(name: str, value: Any, change: Change, resource_id: str) -> bool:
    return value not in (None, "", resource_id, _NO_END) and name not in change.key and name not in _OF


def _text(value: Any) -> str:
    """
    >>> _text("a\\nb"), _text(None), _text(""), _text(5)
    ('a�b', '–', "''", '5')
    """
    if value in (None, _NO_END):
        return "–"
    return "".join(char if char.isprintable() else "�" for char in str(value)) or "''"
