"""`ah undo`: has a running server append the command that compensates what an event's command did."""

import sys
from pathlib import Path

import click
import msgspec

from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import failed
from ahplat.cli.operate import answered

_EXIT_USAGE = 2


@click.command()
@click.argument("position", type=click.IntRange(1))
@click.option("--dry-run", is_flag=True, help="Only show what would be appended, and what would be gone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The server's answer, for programs; wants --yes or --dry-run.")
@data_dir_option("operator.sock")
def undo(position: int, data_dir: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Undo what the command did that appended the event at POSITION: all of it, by a command that compensates.

    Shows what that would append, asks, and does just that: what changed meanwhile is not touched. Where nothing undoes it,
    or a later event is about the same, it says so. What it did can be undone itself. The server has to run.
    """
    from ahplat.ahc.plan import plan_lines  # rich comes with it

    if as_json and not (yes or dry_run):
        failed("--json cannot ask: say --yes, or --dry-run", _EXIT_USAGE)
    path = f"/v1/events/{position}/undo"
    plan = msgspec.json.decode(answered(data_dir, "POST", f"{path}?dry_run=true", as_json))
    if dry_run or not yes:
        click.echo(msgspec.json.encode(plan) if as_json else "\n".join(plan_lines(plan)))
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            failed("nobody can be asked: say --yes, or --dry-run", _EXIT_USAGE)
        click.confirm(f"Undo what event {position} is of?", abort=True)
    done = msgspec.json.decode(answered(data_dir, "POST", path, as_json, **{"If-Match": plan["etag"]}))
    told = f"{done['undoes']['name']} is undone by {done['command']}, up to position {done['event_position']}"
    click.echo(msgspec.json.encode(done) if as_json else told)
