"""`ah incident`: one archive of what happened to a tenant, to look at elsewhere, or to hand on."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import click

from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_UNREADABLE, UNREADABLE, failed, id_of_tenant, open_log, place
from ahplat.cli.operate import ask
from ahplat.sealing import KeyFileBad, Keyring, read_master_key
from ahplat.version import VERSION
from events.log import event_at, head


@click.command()
@click.argument("tenant")
@click.option("--from", "since", required=True, help="A position, or a time.")
@click.option("--to", "until", default="", help="The same, with it.  [default: the end of the log]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .tar.gz that is not there yet.  [default: incident-… here]"
)
@click.option("--no-logs", is_flag=True, help="Leave out what programs and builds said.")
@data_dir_option("events.db")
def incident(tenant: str, since: str, until: str, out: Path | None, no_logs: bool, data_dir: Path) -> None:
    """Put what happened to a TENANT (its id, or its part of host names) between two moments into one archive.

    Events, the state before and after as the views of then have it, what differs, activity, what crashes, failures and
    builds said, the links of the chain with the newest checkpoints, and the server's metrics where it runs. Nothing
    sealed is in it; of what was said the tenant's variables, passwords and API keys are taken out (of logs only what the
    log knows: look through them, or say --no-logs, before you hand them on). manifest.json has the SHA-256 of each file.

    \b
    ah incident acme --from 2026-11-30T08:00:00Z --to 2026-11-30T09:00:00Z
    """
    from ahplat.cli.incident_archive import Manifest, Span, parts, write

    log = open_log(data_dir)
    whose = id_of_tenant(log, tenant) or failed("TENANT is empty: say its id, or its part of host names")
    after = place(log, since) - (1 if since.isdecimal() else 0)
    up_to = place(log, until) if until else head(log)
    if not 0 <= after < up_to:
        failed(f"there are no events from {since} to {until or up_to}")
    last = event_at(log, up_to)
    assert last, up_to
    target = out or Path(f"incident-{tenant}-{after + 1}-{up_to}.tar.gz")
    left_out: list[str] = []
    try:
        with _keys(data_dir, no_logs, left_out) as keyring:
            metrics = _metrics(data_dir, left_out)
            files = chain(parts(data_dir, log, Span(whose, after, up_to), keyring, left_out), metrics)
            about = partial(Manifest, VERSION, whose, after + 1, up_to, left_out=left_out)
            made = write(target, files, lambda written: about(files=written), last.at_s)
    except FileExistsError:
        failed(f"{target} is there already: name another --out")
    except (*UNREADABLE, OSError) as error:
        failed(f"{data_dir} cannot be read, or {target} not written ({error})", EXIT_UNREADABLE)
    for reason in left_out:
        click.echo(f"left out: {reason}", err=True)
    click.echo(f"{target}: positions {after + 1} to {up_to}, {len(made.files) + 1} files")


@contextmanager
def _keys(data_dir: Path, no_logs: bool, left_out: list[str]) -> Iterator[Keyring | None]:
    """The folder's keys, of a copy, so that a server beside is not in the way; None where there are none, or not wanted."""
    from events.database import copy_database

    if no_logs:
        left_out.append("what programs and builds said: --no-logs")
        yield None
        return
    with TemporaryDirectory(prefix="ahplat-") as scratch:
        try:
            master = read_master_key(data_dir / "master.key", may_make=False)
            copy_database(data_dir / "keys.db", Path(scratch) / "keys.db")
            keyring = Keyring(Path(scratch) / "keys.db", master, may_make=False)
        except (KeyFileBad, apsw.Error, OSError) as error:
            left_out.append(f"what programs and builds said: {error}")
            yield None
            return
        try:
            yield keyring
        finally:
            keyring.close()


def _metrics(data_dir: Path, left_out: list[str]) -> list[tuple[str, bytes]]:
    """The server's metrics as they are now; none of their series names a tenant."""
    status, body = asyncio.run(ask("GET", data_dir / "operator.sock", "/metrics"))
    if status >= 300:
        left_out.append("metrics: no server runs")
        return []
    return [("metrics.txt", body.encode())]
