"""`ahc db` and `ahc link`: databases, and services that know them."""

from typing import Any

import click

from ahplat.ahc import follow, names
from ahplat.ahc.failures import MISSING, Failure
from ahplat.ahc.screen import time_of
from ahplat.ahc.services import confirm, deleted_before
from ahplat.ahc.session import Session, changes, looks_back, not_empty, pass_session, reads, waits

_HEADS = ("NAME", "STATUS", "TYPE", "HOST", "ID")


def show_list(session: Session, databases: list[dict[str, Any]]) -> None:
    """The table."""
    rows = [(one["name"], one["status"], one["type"], f"{one['host']}:{one['port']}", one["id"]) for one in databases]
    session.screen.table(_HEADS, rows, "no databases yet: `ahc db create postgres data` makes one")


@click.group()
def db() -> None:
    """Databases: list, create, show, url, delete, undelete.

    \b
      ahc db create postgres data
      ahc link data web
      ahc db url data
    """


@db.command(name="list")
@click.option("--deleted", is_flag=True, help="Those that can still be undeleted.")
@looks_back
@reads
@pass_session
def list_databases(session: Session, deleted: bool) -> None:
    """List databases.

    \b
      ahc db list --deleted
      ahc db list --as-of 120
    """
    found = session.client.pages("/v1/databases", status="deleted" if deleted else "")
    session.screen.result(found, lambda: show_list(session, found))


@db.command()
@click.argument("kind", metavar="[postgres|redis]", type=click.Choice(["postgres", "redis"]))
@click.argument("name", default="", callback=not_empty)
@click.option("--memory-mb", type=int, help="Its memory.")
@click.option("--link", "service", default="", metavar="SERVICE", help="Wire it to a service, too.")
@waits
@changes
@pass_session
def create(session: Session, kind: str, name: str, memory_mb: int | None, service: str, wait: bool) -> None:
    """Make a database, and wait until it answers.

    \b
      ahc db create postgres data
      ahc db create redis cache --link web
    """
    target = names.find(session.client, "service", service) if service else None
    body: dict[str, Any] = {"name": name or kind, "type": kind} | ({"memory_mb": memory_mb} if memory_mb else {})
    then = f"link it to {target['name']}" if target else ""
    found: dict[str, Any] = session.order("POST", "/v1/databases", body, then=then).json
    session.going_on(f"ahc db show {found['name']}")
    if wait or target:
        found = follow.waited(session, "database", found["name"], f"/v1/databases/{found['id']}")
    session.settled()
    if target:
        _link(session, found, target, "", wait)
        return
    _show(session, found)


def _show(session: Session, found: dict[str, Any]) -> None:
    pairs = [
        ("name", found["name"]),
        ("status", found["status"]),
        ("type", found["type"]),
        ("host", f"{found['host']}:{found['port']}"),
        ("limits", f"{found['memory_mb']} MB, {found['cpu_count']} CPU"),
        ("last error", found.get("last_error")),
        ("gone for good", time_of(found.get("purged_at"))),
        ("id", found["id"]),
    ]
    session.screen.result(found, lambda: session.screen.facts(pairs))


@db.command()
@click.argument("database")
@looks_back
@reads
@pass_session
def show(session: Session, database: str) -> None:
    """Show one database.

    \b
      ahc db show data
      ahc db show data --as-of 120
    """
    _show(session, names.find(session.client, "database", database))


@db.command()
@click.argument("database")
@reads
@pass_session
def url(session: Session, database: str) -> None:
    """Print how to connect, password and all; who asked is in the log."""
    found = names.find(session.client, "database", database)
    told = session.client.read(f"/v1/databases/{found['id']}/connection-string")
    session.screen.result(told, lambda: session.screen.raw(f"{told['connection_string']}\n"))


@db.command(name="delete")
@click.argument("database")
@click.option("--purge", is_flag=True, help="Its data goes at once, and cannot come back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@changes
@pass_session
def delete_database(session: Session, database: str, purge: bool, yes: bool) -> None:
    """Delete a database. For a while `ahc db undelete` brings it back, unless it is purged."""
    found = None if purge else deleted_before(session, "database", database)  # a purge takes what is deleted, too
    if found is None:
        found = names.find(session.client, "database", database)
        confirm(session, f"{'purge' if purge else 'delete'} database {found['name']} ({found['id']})", yes)
        session.order("DELETE", f"/v1/databases/{found['id']}", query={"purge": "true"} if purge else {})
    back = "" if purge else f": `ahc db undelete {found['id']}` brings it back for a while"
    told = f"{found['name']} {'purged' if purge else 'deleted'}{back}"
    session.screen.result({"id": found["id"], "status": "deleted"}, lambda: session.screen.line(told))


@db.command()
@click.argument("database")
@waits
@changes
@pass_session
def undelete(session: Session, database: str, wait: bool) -> None:
    """Bring a deleted database back, with its data."""
    found = names.pick(session.client.pages("/v1/databases", status="deleted"), database)
    if found is None:
        raise Failure(MISSING, f"there is no deleted database {database!r}", "`ahc db list --deleted` lists them")
    path = f"/v1/databases/{found['id']}"
    found = session.order("POST", f"{path}/undelete").json
    assert found
    if wait:
        session.going_on(f"ahc db show {found['name']}")
        found = follow.waited(session, "database", found["name"], path)
        session.settled()
    _show(session, found)


@click.command()
@click.argument("database")
@click.argument("service")
@click.option("--as", "key", default="", metavar="KEY", help="The variable; else DATABASE_URL or REDIS_URL.")
@waits
@changes
@pass_session
def link(session: Session, database: str, service: str, key: str, wait: bool) -> None:
    """Set a database's address as a variable of a service, and deploy that with it.

    \b
      ahc link data web
      ahc link cache web --as CACHE_URL
    """
    found = names.find(session.client, "database", database)
    _link(session, found, names.find(session.client, "service", service), key, wait)


def _link(session: Session, database: dict[str, Any], service: dict[str, Any], key: str, wait: bool) -> None:
    body = {"service_id": service["id"]} | ({"key": key} if key else {})
    linked = session.order("POST", f"/v1/databases/{database['id']}/link", body).json
    if wait and linked.get("deployment_id"):
        follow.deployment(session, service, linked["deployment_id"])
    told = f"{service['name']} knows {database['name']} as {linked['key']}"
    session.screen.result(linked, lambda: session.screen.line(told))
