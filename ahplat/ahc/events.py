"""`ahc events`: what happened, and what happens."""

from typing import Any

import click

from ahplat.ahc import follow, names
from ahplat.ahc.screen import time_of
from ahplat.ahc.session import Session, looks_back, pass_session, reads


@click.command()
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Go on with what happens from now on.")
@click.option("--lines", "-n", type=click.IntRange(0, 200), default=20, show_default=True, help="From the end.")
@click.option("--after", default="", metavar="POSITION", help="From a place in the log on, oldest first.")
@click.option("--type", "type_", default="", help="As in service.deploy_requested.")
@click.option("--of", "resource", default="", metavar="SERVICE", help="Of one service or database, by name or id.")
@looks_back
@reads
@pass_session
def events(session: Session, is_followed: bool, lines: int, after: str, type_: str, resource: str) -> None:
    """Show the last events; with -f also those to come, without a gap through restarts of the server.

    \b
      ahc events
      ahc events -f --of web
      ahc events --json --after 120
      ahc events --as-of 2026-01-31T12:00:00Z
    """
    if is_followed and session.as_of:
        raise click.UsageError("-f goes on from now on, --as-of looks back: one of them")
    query = {"type": type_, "resource": _id_of(session, resource)}
    position = after
    if lines:
        found = session.client.read("/v1/events", limit=lines, after=after, **query)
        found = found if after else found[::-1]
        position = str(found[-1]["position"]) if found else after
        if session.screen.as_json and not is_followed:
            session.screen.document(found)
            return
        for event in found:
            _show(session, event)
    if is_followed:
        for frame in follow.followed(session, "/v1/events", query, last_id=position):
            _show(session, follow.data_of(frame))


def _id_of(session: Session, resource: str) -> str:
    """The id of a service or a database; what is neither may be deleted, and is taken as an id."""
    for kind in ("service", "database") if resource else ():
        if found := names.find_or_none(session.client, kind, resource):
            return str(found["id"])
    return resource


def _show(session: Session, event: dict[str, Any]) -> None:
    if session.screen.as_json:
        session.screen.document(event)
        return
    data = ", ".join(f"{key} {value}" for key, value in event.get("data", {}).items() if value not in ("", None))
    told = f"{event['position']:>8}  {time_of(event['at'])}  {event['type']}  {event['stream']}"
    session.screen.line(f"{told}  {data}".rstrip())
