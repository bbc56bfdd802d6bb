"""`ah verify`: reads the whole log and checks its chain, beside a server or without one."""

import sys
from pathlib import Path

import apsw
import click

from ahplat.cli.folders import data_dir_option
from events import chain
from events.database import open_reader
from events.log import read_all

CHUNK = 2_000
_EXIT_BROKEN, _EXIT_UNREADABLE = 1, 2


@click.command()
@data_dir_option("events.db")
def verify(data_dir: Path) -> None:
    """Check that no event was changed, dropped or moved, from the first to the last.

    Prints the last link of the chain: kept elsewhere, it shows later that the log was not written anew. Exit code 1
    names the first position that does not hold.
    """
    path = data_dir / "events.db"
    position, link = 0, chain.GENESIS
    try:
        log = open_reader(path)
        while events := read_all(log, position, CHUNK):
            link = chain.verify(link, position, events)
            position += len(events)
    except chain.ChainBroken as broken:
        click.echo(f"ah: {path}: the chain does not hold at {broken}", err=True)
        sys.exit(_EXIT_BROKEN)
    except apsw.Error as error:
        click.echo(f"ah: {path} cannot be read after position {position} ({error})", err=True)
        sys.exit(_EXIT_UNREADABLE)
    click.echo(f"{position} events hold, the last link is {link.hex()}")
