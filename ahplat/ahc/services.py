"""Services: list, start, stop, restart, delete, roll back, open."""

import sys
import webbrowser
from typing import Any

import click

from ahplat.ahc import follow, names
from ahplat.ahc.failures import CONFLICT, FAILED, MISSING, USAGE, Failure
from ahplat.ahc.screen import time_of
from ahplat.ahc.session import Session, changes, looks_back, pass_session, reads, waits

_HEADS = ("NAME", "STATUS", "IMAGE", "URL", "CRASHES", "ID")


def rows_of(services: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Services as lines of a table."""
    return [
        (
            one["name"],
            "circuit_open" if one.get("circuit_open") else one["status"],
            one["image"],
            one["url"],
            one["crash_count"],
            one["id"],
        )
        for one in services
    ]


def show_list(session: Session, services: list[dict[str, Any]]) -> None:
    """The table."""
    session.screen.table(_HEADS, rows_of(services), "no services yet: `ahc deploy ah/hello web` makes one")


@click.command()
@click.option("--status", default="", help="Only those that are running, failed, …")
@looks_back
@reads
@pass_session
def services(session: Session, status: str) -> None:
    """List services.

    \b
      ahc services --status failed
      ahc services --as-of 120
    """
    found = session.client.pages("/v1/services", status=status)
    session.screen.result(found, lambda: show_list(session, found))


def _told(session: Session, service: dict[str, Any]) -> None:
    """A service as it is, after something was done to it."""
    found = session.client.read(f"/v1/services/{service['id']}")
    session.screen.result(found, lambda: session.screen.line(f"{found['name']} {found['status']}  {found['url']}"))


def _newest(session: Session, service: dict[str, Any]) -> str:
    """The id of the deployment that was asked for last, "" for none."""
    rows = session.client.read(f"/v1/services/{service['id']}/deployments", limit=1)
    return rows[0]["id"] if rows else ""


def _set_going(session: Session, name: str, verb: str, wait: bool) -> None:
    """start or restart: ends with a deployment that serves."""
    service = names.find(session.client, "service", name)
    before = _newest(session, service)
    session.order("POST", f"/v1/services/{service['id']}/{verb}")
    session.going_on(f"ahc status {service['name']}")
    deployment_id = _newest(session, service)
    if wait and deployment_id not in ("", before):
        follow.deployment(session, service, deployment_id)
    _told(session, service)


@click.command(name="start")
@click.argument("service")
@waits
@changes
@pass_session
def start_service(session: Session, service: str, wait: bool) -> None:
    """Run again what ran last."""
    _set_going(session, service, "start", wait)


@click.command()
@click.argument("service")
@waits
@changes
@pass_session
def restart(session: Session, service: str, wait: bool) -> None:
    """Start the same image afresh, with today's settings and variables."""
    _set_going(session, service, "restart", wait)


@click.command()
@click.argument("service")
@waits
@changes
@pass_session
def stop(session: Session, service: str, wait: bool) -> None:
    """Have nothing of a service run; `ahc start` runs it again."""
    found = names.find(session.client, "service", service)
    session.order("POST", f"/v1/services/{found['id']}/stop", fields={"Prefer": "wait=30"} if wait else {})
    _told(session, found)


@click.command()
@click.argument("service")
@click.option("--yes", is_flag=True, help="Do not ask.")
@waits
@changes
@pass_session
def delete(session: Session, service: str, yes: bool, wait: bool) -> None:
    """Delete a service: for good, with its variables and its images.

    \b
      ahc delete web --dry-run     what would be destroyed
      ahc delete web --yes
    """
    fields = {"Prefer": "wait=30"} if wait else {}
    found = deleted_before(session, "service", service, fields=fields)
    if found is None:
        found = names.find(session.client, "service", service)
        confirm(session, f"delete service {found['name']} ({found['id']})", yes)
        session.order("DELETE", f"/v1/services/{found['id']}", fields=fields)
    session.screen.result(
        {"id": found["id"], "status": "deleted"}, lambda: session.screen.line(f"{found['name']} deleted")
    )


def deleted_before(session: Session, kind: str, name: str, **options: Any) -> dict[str, Any] | None:
    """What this invocation deleted when it came first: who repeats it gets the answer of then. None where it did not.

    Only what is deleted already is asked about, so nothing is deleted here, not even what has the name by now.
    """
    for one in names.deleted(session.client, kind, name) if session.is_repeat else ():
        try:
            session.order("DELETE", f"{names.LISTS[kind]}/{one['id']}", **options)
        except Failure as failure:
            if failure.code != MISSING:
                raise
        else:
            return one
    return None


def confirm(session: Session, what: str, yes: bool) -> None:
    """Asks a person; who cannot be asked has to say --yes. Raises Failure, Abort."""
    if yes or session.dry_run:
        return
    if session.screen.as_json or not (session.screen.has_people and sys.stdin.isatty()):
        raise Failure(
            USAGE, f"this would {what}, and nobody can be asked", "say --yes; --dry-run shows what would happen"
        )
    if not click.confirm(f"Really {what}?", err=True):
        raise Failure(FAILED, "nothing was done: the answer was no")


@click.command()
@click.argument("service")
@click.option("--to", metavar="DEPLOYMENT", default="", help="Its number or id; else the one that ran before this one.")
@waits
@changes
@pass_session
def rollback(session: Session, service: str, to: str, wait: bool) -> None:
    """Deploy an earlier deployment again: its image digest, variables and limits.

    \b
      ahc rollback web
      ahc status web            lists the deployments
      ahc rollback web --to 3
    """
    found = names.find(session.client, "service", service)
    body = {"deployment_id": _deployment(session, found, to)} if to else {}
    reply = session.order("POST", f"/v1/services/{found['id']}/rollback", body)
    if wait:
        follow.deployment(session, found, reply.json["id"])
        _told(session, found)
        return
    session.screen.result(
        reply.json, lambda: session.screen.line(f"{found['name']}: deployment {reply.json['number']} begins")
    )


def _deployment(session: Session, service: dict[str, Any], wanted: str) -> str:
    for row in session.client.pages(f"/v1/services/{service['id']}/deployments"):
        if wanted in (row["id"], str(row["number"])):
            return str(row["id"])
    raise Failure(
        MISSING, f"{service['name']} has no deployment {wanted}", f"`ahc status {service['name']}` lists them"
    )


@click.command(name="open")
@click.argument("service")
@click.option("--print", "only_print", is_flag=True, help="Only print the address.")
@reads
@pass_session
def open_service(session: Session, service: str, only_print: bool) -> None:
    """Open a service in the browser; where there is no terminal, print its address."""
    found = names.find(session.client, "service", service)
    if found["status"] in ("stopped", "created"):
        raise Failure(
            CONFLICT, f"{found['name']} is {found['status']}: nothing answers there", f"`ahc start {found['name']}`"
        )
    session.screen.result({"url": found["url"]}, lambda: session.screen.line(found["url"]))
    if session.screen.has_people and not (only_print or session.screen.as_json):
        webbrowser.open(found["url"])


def deployment_rows(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Deployments as lines of a table."""
    return [
        (
            row["number"],
            row["status"],
            row["trigger"],
            row["image"],
            time_of(row["created_at"]),
            row.get("error_code", ""),
            row["id"],
        )
        for row in rows
    ]
