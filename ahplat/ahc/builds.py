"""`ahc builds`: what was built, and what is being built."""

import click

from ahplat.ahc import names
from ahplat.ahc.client import segment
from ahplat.ahc.screen import time_of
from ahplat.ahc.session import Session, changes, looks_back, not_empty, pass_session

_HEADS = ("STATUS", "STEP", "SOURCE", "CREATED", "ERROR", "ID")


@click.command()
@click.argument("service", default="", callback=not_empty)
@click.option("--cancel", default="", callback=not_empty, metavar="BUILD", help="Call one off; it never deploys.")
@click.option("--limit", "-n", type=click.IntRange(1, 200), default=20, show_default=True)
@looks_back
@changes
@pass_session
def builds(session: Session, service: str, cancel: str, limit: int) -> None:
    """List builds, of all services or of one; or call one off.

    \b
      ahc builds web
      ahc builds web --cancel 0192…
      ahc builds --as-of 2026-01-31T12:00:00Z
      ahc logs web last
    """
    path = "/v1/builds"
    if service:
        path = f"/v1/services/{names.find(session.client, 'service', service)['id']}/builds"
    elif cancel:
        raise click.UsageError("--cancel wants the service, too: ahc builds SERVICE --cancel BUILD")
    if cancel:
        told = session.order("DELETE", f"{path}/{segment(cancel)}").json
        session.screen.result(told, lambda: session.screen.line(f"build {cancel} {told['status']}"))
        return
    found = session.client.read(path, limit=limit)
    rows = [
        (
            one["status"],
            one["step"],
            one["source_url"],
            time_of(one["created_at"]),
            one.get("error_code", ""),
            one["id"],
        )
        for one in found
    ]
    session.screen.result(found, lambda: session.screen.table(_HEADS, rows, "nothing was built yet"))
