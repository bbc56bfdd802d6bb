"""`ahc undo`: what an event's command did is compensated by another one."""

import click

from ahplat.ahc.plan import show_plan
from ahplat.ahc.services import confirm
from ahplat.ahc.session import Session, changes, pass_session, waits


@click.command()
@click.argument("position", type=click.IntRange(1))
@click.option("--yes", is_flag=True, help="Do not ask.")
@waits
@changes
@pass_session
def undo(session: Session, position: int, yes: bool, wait: bool) -> None:
    """Undo what the command did that appended the event at POSITION; `ahc events` shows positions.

    \b
      ahc undo 120 --dry-run     what would be appended, what would be gone
      ahc undo 120 --yes

    Variables and settings get their values of before, a deployment gives way to what served before it, a deleted database
    comes back. It says so where nothing undoes it, or where a later event is about the same: undo that one first. An undo
    can be undone.
    """
    path = f"/v1/events/{position}/undo"
    fields = {"Prefer": "wait=30"} if wait else {}
    if not (yes or session.dry_run):
        plan = session.client.order("POST", path, query={"dry_run": "true"}).json
        if not session.screen.as_json:
            show_plan(session.screen, "POST", path, plan)
        confirm(session, f"undo what event {position} is of", yes)
        fields["If-Match"] = plan["etag"]
    done = session.order("POST", path, fields=fields).json
    session.screen.result(
        done,
        lambda: session.screen.line(
            f"{done['undoes']['name']} is undone by {done['command']}, up to position {done['event_position']}"
        ),
    )
