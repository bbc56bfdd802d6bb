"""`ah log`: the events of a folder's log, beside a server or without one."""

import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import apsw
import click

from ahplat.api import frames
from ahplat.api.activity import moment
from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import (
    EXIT_UNREADABLE,
    UNREADABLE,
    failed,
    id_of_tenant,
    ids_of_resource,
    line_of,
    open_log,
    shown,
)
from ahplat.errors import Rejected
from events.event import Recorded
from events.log import head
from events.selection import MOST, Wanted, position_at, read_wanted

CHUNK = 2_000
_LOOK_S = 0.2  # between two looks whether there is more


@click.command("log")
@data_dir_option("events.db")
@click.option("--tenant", default="", help="Only this one's: its id, or its part of host names.")
@click.option(
    "--type", "types", multiple=True, help="Only of this type: service.created, service.*, *.failed. May be repeated."
)
@click.option("--resource", default="", help="Only about this: an id, or a name that it has or had.")
@click.option("--actor", default="", help="Only of this one's doing: key:ID, operator, system; * stands for anything.")
@click.option("--since", default="", help="From this moment on: unix seconds, or 2026-01-31T12:00:00Z.")
@click.option("--until", default="", help="Up to this moment, without it.")
@click.option("--after", type=click.IntRange(0, MOST), help="From the position after this one on.")
@click.option("--to", "up_to", type=click.IntRange(1, MOST), help="Up to this position, with it.")
@click.option(
    "-n",
    "--newest",
    type=click.IntRange(0, MOST),
    default=100,
    show_default=True,
    help="At most the newest so many; 0: all.",
)
@click.option("-f", "--follow", is_flag=True, help="Then wait for more, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as the API's stream has them.")
def log(
    data_dir: Path,
    tenant: str,
    types: tuple[str, ...],
    resource: str,
    actor: str,
    since: str,
    until: str,
    after: int | None,
    up_to: int | None,
    newest: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show what happened, oldest first: position, time, who, what, about what. What is sealed is not shown.

    With --since or --after all that comes from there on, else the newest. Reads the log; the server need not run.

    \b
    ah log -f                                    what happens now
    ah log --resource web --type 'service.*'     the life of a service
    ah log --type '*failed' --since 2026-11-30T00:00:00Z
    """
    db = open_log(data_dir)
    try:
        whose = id_of_tenant(db, tenant)
        wanted = Wanted(whose, types, ids_of_resource(db, resource, whose) if resource else (), actor)
        first, last = after or 0, up_to or head(db)
        if since:
            first = max(first, position_at(db, moment(since, "--since") * 1_000_000 - 1))
        if until:
            last = min(last, position_at(db, moment(until, "--until") * 1_000_000 - 1))
        everything = since or after is not None or newest == 0
        if not everything:
            for at in read_wanted(db, wanted, first, last, newest, newest=True):
                _show(at, as_json)
            first = last
        _show_all(db, wanted, first, last, as_json)
        if follow:
            _follow(db, wanted, last, as_json)
    except Rejected as rejected:
        failed(rejected.detail)
    except UNREADABLE as error:
        failed(f"{data_dir / 'events.db'} cannot be read ({error})", EXIT_UNREADABLE)


def _show_all(db: apsw.Connection, wanted: Wanted, first: int, last: int, as_json: bool) -> None:
    while found := read_wanted(db, wanted, first, last, CHUNK):
        for at in found:
            _show(at, as_json)
        first = found[-1].position


def _follow(db: apsw.Connection, wanted: Wanted, last: int, as_json: bool) -> None:
    with suppress(KeyboardInterrupt):
        while True:
            now = head(db)
            _show_all(db, wanted, last, now, as_json)
            last = now
            sys.stdout.flush()
            time.sleep(_LOOK_S)


def _show(at: Recorded, as_json: bool) -> None:
    event = shown(at)
    if as_json:
        click.echo(frames.encode(event))
    else:
        click.echo(line_of(event, shutil.get_terminal_size().columns if sys.stdout.isatty() else 0))
