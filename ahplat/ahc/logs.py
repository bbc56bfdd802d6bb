"""`ahc logs`: what a service writes, or what a build said."""

from typing import Any

import click

from ahplat.ahc import follow, names
from ahplat.ahc.client import segment
from ahplat.ahc.failures import MISSING, Failure
from ahplat.ahc.session import Session, not_empty, pass_session, reads


@click.command()
@click.argument("service")
@click.argument("build", default="", callback=not_empty)
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Go on with what is written from now on.")
@click.option("--lines", "-n", type=click.IntRange(1, 10_000), default=100, show_default=True, help="From the end.")
@click.option("--since", default="", help="Unix seconds, or as in 2026-01-31T12:00:00Z.")
@click.option("--deployment", default="", help="Of one deployment, by its id.")
@reads
@pass_session
def logs(
    session: Session, service: str, build: str, is_followed: bool, lines: int, since: str, deployment: str
) -> None:
    """Show what a service writes; with BUILD (an id, or last) what that build said, to its end.

    \b
      ahc logs web -n 20
      ahc logs web -f
      ahc logs web last
    """
    found = names.find(session.client, "service", service)
    path = f"/v1/services/{found['id']}"
    if build:
        build_id = _newest_build(session, found) if build == "last" else build
        _show_build(session, f"{path}/builds/{segment(build_id)}/logs")
        return
    query = {"tail": lines, "since": since, "deployment": deployment, "follow": "true" if is_followed else "false"}
    for frame in follow.followed(session, f"{path}/logs", query, once=not is_followed):
        line = follow.data_of(frame)
        _show(session, line, line["line"])


def _newest_build(session: Session, service: dict[str, Any]) -> str:
    rows = session.client.read(f"/v1/services/{service['id']}/builds", limit=1)
    if not rows:
        raise Failure(MISSING, f"{service['name']} has no build", f"`ahc logs {service['name']}` shows what it writes")
    return str(rows[0]["id"])


def _show_build(session: Session, path: str) -> None:
    for frame in follow.followed(session, path, {}):
        _show(session, {"number": int(frame.id), "line": frame.data}, frame.data)


def _show(session: Session, data: dict[str, Any], text: str) -> None:
    if session.screen.as_json:
        session.screen.document(data)
    else:
        session.screen.raw(f"{text}\n")
