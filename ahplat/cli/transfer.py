"""`ah export` and `ah import`: the log as NDJSON, and a log made of it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import apsw
import click

from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_UNREADABLE, failed
from ahplat.cli.verify import progressed

_HALF = ".half"


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@data_dir_option("events.db")
def export_log(file: Path, data_dir: Path) -> None:
    """Write the log to FILE (- is stdout) as NDJSON, beside a server or without one.

    FILE must not be there yet. A line says which log it is and where it ends; then each event has a line, its bytes as
    base64. Secrets stay sealed.
    What clients were answered, for repeats of commands, is not part of it, nor are keys and checkpoints. The chain is
    checked on the way: exit code 1 where it does not hold.
    """
    from events.database import open_reader
    from events.transfer import write

    with _told(data_dir / "events.db"):
        log = open_reader(data_dir / "events.db")
        try:
            with _target(file) as target:
                for lines in write(log, progressed):
                    target.write(lines)
        finally:
            log.close()


@click.command("import")
@click.argument("file", type=click.Path(exists=True, path_type=Path, allow_dash=True))
@click.option("--data-dir", required=True, type=click.Path(path_type=Path), help="An empty folder, or a new one.")
def import_log(file: Path, data_dir: Path) -> None:
    """Make a log of what `ah export` wrote to FILE (- is stdin).

    A file that is not whole, or whose chain does not hold, is refused, and nothing is left of it. The log can then be
    looked at and verified (`ah verify --checkpoints … --key …`). A server starts on it only with the keys that belong to
    it: keys.db and master.key.
    """
    from ahplat import durable
    from events.transfer import read

    path = data_dir / "events.db"
    half = path.with_name(path.name + _HALF)
    with _told(file):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = sorted(one.name for one in data_dir.iterdir() if not one.name.startswith(half.name))
        if there:
            raise click.BadParameter(f"{data_dir} is not empty ({there[0]} is there)", param_hint="--data-dir")
        _remove(half)
        try:
            with click.open_file(str(file), "rb") as source:
                header = read(source, half, progressed)
            durable.sync(half)
            durable.move(half, path)
        finally:
            _remove(half)
    click.echo(f"{header.position} events, the last link is {header.link.hex()}")


def _remove(half: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        half.with_name(half.name + suffix).unlink(missing_ok=True)


@contextmanager
def _target(file: Path) -> Iterator[BinaryIO]:
    """Stdout, or a new file of mode 0600 that is there only once it is whole."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from ahplat import durable

    if os.path.lexists(file):  # also what is no file: a device, a pipe
        raise click.BadParameter(
            f"{file} is there already: name another one, or write to - (stdout)", param_hint="FILE"
        )
    half = file.with_name(file.name + _HALF)
    half.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        durable.move(half, file)
    finally:
        half.unlink(missing_ok=True)


@contextmanager
def _told(what: Path) -> Iterator[None]:
    """Says in one line why it did not work, and exits."""
    from events.log import LogDamaged
    from events.transfer import TransferFailed

    try:
        yield
    except BrokenPipeError:
        sys.exit(141)  # whoever read stdout has enough, as a shell says of SIGPIPE
    except TransferFailed as error:
        failed(f"{what}: {error}")
    except (apsw.Error, LogDamaged, OSError) as error:
        failed(f"{what}: {error}", EXIT_UNREADABLE)
