"""`ah verify`: reads the whole log and checks its chain, versions and checkpoints, beside a server or without one."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import apsw
import click

from ahplat.backups import known
from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_FAILED, EXIT_UNREADABLE, failed
from events.checkpoint import NoteInvalid
from events.database import open_reader
from events.ranges import Fault


@click.command()
@click.option("--key", metavar="KEY|FILE", help="Of the checkpoints, kept elsewhere.  [default: the folder's]")
@click.option(
    "--checkpoints",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE|FOLDER",
    help="Kept elsewhere, besides the folder's own. Repeatable.",
)
@click.option("--unsigned", is_flag=True, help="Accept a log of which no checkpoint is there: its chain alone.")
@click.option("--views", is_flag=True, help="Compare the views with what the log makes of them, too: as `ah replay`.")
@data_dir_option("events.db")
def verify(key: str | None, checkpoints: tuple[Path, ...], unsigned: bool, views: bool, data_dir: Path) -> None:
    """Check that no event was changed, dropped or moved, from the first to the last, and that none is gone from the end.

    Every event's bytes give the link that is recorded; positions have no gap, and versions none in their stream; every
    checkpoint (`checkpoints/signed`) is signed and names the link that the log has. A log that somebody wrote anew
    without the key does not pass. Keep checkpoints (GET /v1/checkpoint) and the key elsewhere, too: they show what
    somebody did who has the server.

    For the end it also goes by what the folder knows of its backups. Prints the last link of the chain. Exit code 1 names
    the first position that does not hold, or says what is gone; 2: the file cannot be read.
    """
    from ahplat.cli.replay import is_equal
    from ahplat.verification import key_in, read_notes
    from ahplat.verification import verify as verify_log

    path = data_dir / "events.db"
    try:
        public_key = key_in(data_dir, key)
        notes = read_notes([data_dir / "checkpoints", *checkpoints], public_key)
        found = verify_log(path, notes, progressed)
        with open_reader(path) as log:
            why = "" if isinstance(found, Fault) else known.missing(data_dir, log)
    except NoteInvalid as error:
        raise click.BadParameter(str(error), param_hint="--key") from error
    except (apsw.Error, OSError) as error:
        failed(f"{path} cannot be read ({error})", EXIT_UNREADABLE)
    if isinstance(found, Fault):
        what = "cannot be read" if found.is_unreadable else "the chain does not hold"
        code = EXIT_UNREADABLE if found.is_unreadable else EXIT_FAILED
        failed(f"{path}: {what} at position {found.position}: {found.detail}", code)
    if not (why or found.newest or unsigned):
        why = "no checkpoint covers them, so they may have been written anew: " + (
            "a server signs its log when it starts" if public_key else "checkpoints/key is not there, say --key"
        )
    if why:
        failed(f"{path}: {found.position} events hold, but {why}")
    click.echo(f"{found.position} events hold, the last link is {found.link.hex()}")
    if found.newest:
        when = datetime.fromtimestamp(found.newest.at_s, UTC)
        click.echo(f"{found.checkpoints} checkpoints hold, the newest is at {found.newest.position}, {when:%F %T}Z")
    if views and not is_equal(data_dir):
        sys.exit(EXIT_FAILED)


def progressed(done: int, total: int) -> None:
    """A line that is written over, on a terminal."""
    if sys.stderr.isatty():
        bar = "█" * (20 * done // total) + "░" * (20 - 20 * done // total)
        end = "\r" if done < total else "\r\033[K"
        click.echo(f"\r{bar} {done} of {total} events{end}", nl=False, err=True)
