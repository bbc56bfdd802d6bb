"""`ah verify`: reads the whole log and checks its chain, beside a server or without one."""

import sys
from pathlib import Path

import apsw
import click

from ahplat.backups import known
from ahplat.cli.folders import data_dir_option
from events import chain
from events.database import open_reader
from events.log import head, read_all

CHUNK = 2_000
_EXIT_BROKEN, _EXIT_UNREADABLE = 1, 2


@click.command()
@data_dir_option("events.db")
def verify(data_dir: Path) -> None:
    """Check that no event was changed, dropped or moved, from the first to the last, and that none is gone from the end.

    For the end it goes by what the folder knows of its backups (`checkpoints/known`). Prints the last link of the chain:
    kept elsewhere, it shows later that the log was not written anew. Exit code 1 names the first position that does not
    hold, or says what is gone.
    """
    path = data_dir / "events.db"
    position, link = 0, chain.GENESIS
    try:
        log = open_reader(path)
        while events := read_all(log, position, CHUNK):
            link = chain.verify(link, position, events)
            position += len(events)
        why = _damage(log, position) or known.missing(data_dir, log)
    except chain.ChainBroken as broken:
        click.echo(f"ah: {path}: the chain does not hold at {broken}", err=True)
        sys.exit(_EXIT_BROKEN)
    except apsw.Error as error:
        click.echo(f"ah: {path} cannot be read after position {position} ({error})", err=True)
        sys.exit(_EXIT_UNREADABLE)
    if why:
        click.echo(f"ah: {path}: {position} events hold, but {why}", err=True)
        sys.exit(_EXIT_BROKEN)
    click.echo(f"{position} events hold, the last link is {link.hex()}")


def _damage(log: apsw.Connection, position: int) -> str:
    """Why the file may hold more than was read of it, up to a position; "" where it does not."""
    if (found := log.pragma("quick_check", 1)) != "ok":
        return f"the file is damaged ({found}): restore it from a backup"
    last = head(log)
    return "" if last == position else f"its last position is {last}: restore it from a backup"
