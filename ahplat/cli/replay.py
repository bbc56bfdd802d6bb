"""`ah replay`: whether the views are what the log says, shown by making them anew."""

import sys
from pathlib import Path

import apsw
import click

from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_FAILED, EXIT_UNREADABLE, failed, open_log, place
from ahplat.replay import Replayed
from ahplat.replay import replay as replayed
from ahplat.replaying import KINDS, FoldFailed

NAMES = sorted(name for projections in KINDS.values() for name in projections)


@click.command()
@data_dir_option("events.db")
@click.option("--to", "up_to", default="", help="A position, or a time.  [default: where the live files are]")
@click.option(
    "--only", type=click.Choice(NAMES), metavar="PROJECTION", help=f"Compare its tables alone: {', '.join(NAMES)}."
)
def replay(data_dir: Path, up_to: str, only: str | None) -> None:
    """Make all views from the whole log, twice, in processes with other hash seeds, and compare them with the live ones.

    A server may run: its files are only read. What is made goes into a temporary folder (TMPDIR) and is gone at the end.
    Exit code 1 names the first table and row that differ.
    """
    log = open_log(data_dir)
    position = place(log, up_to) if up_to else None
    log.close()
    sys.exit(EXIT_FAILED if not is_equal(data_dir, position, only or "") else 0)


def is_equal(data_dir: Path, position: int | None = None, only: str = "") -> bool:
    """Replays, and says what came of each file. Ends the program where that cannot be done."""
    try:
        with click.progressbar(length=1, file=sys.stderr, label="replaying", hidden=not sys.stderr.isatty()) as bar:

            def progressed(done: int, total: int) -> None:
                bar.length = total
                bar.update(done - bar.pos)

            found = replayed(data_dir, position, only, progressed)
    except FoldFailed as error:
        failed(f"a replay ended: {error}", EXIT_UNREADABLE)
    except (apsw.Error, OSError) as error:
        failed(f"{data_dir} cannot be read, or there is no room for a replay ({error})", EXIT_UNREADABLE)
    for one in found:
        click.echo(line_of(one), err=bool(one.difference))
    return not any(one.difference for one in found)


def line_of(one: Replayed) -> str:
    """What came of one file.

    >>> line_of(Replayed("views", 29, 23, "", "")), line_of(Replayed("views", 29, 23, "the live file is at 31", ""))[-24:]
    ('views.db at position 29: two replays and the live file are equal, 23 tables', '; the live file is at 31')
    """
    begin = f"{one.kind}.db at position {one.position}"
    if one.difference:
        return f"ah: {begin}: {one.difference}"
    equal = "two replays are equal" if one.live else "two replays and the live file are equal"
    tables = f"{one.tables} table{'' if one.tables == 1 else 's'}"
    return f"{begin}: {equal}, {tables}" + (f"; {one.live}" if one.live else "")
