"""What an operator does to a running server, through its Unix socket."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import click

from ahplat.cli.folders import data_dir_option


@click.command()
@click.argument("position", type=click.IntRange(1))
@data_dir_option("operator.sock")
def unpark(position: int, data_dir: Path) -> None:
    """Have parked work tried again. POSITION is that of the event that asked for it."""
    status, body = asyncio.run(ask("POST", data_dir / "operator.sock", f"/v1/system/effects/{position}/unpark"))
    click.echo(body)
    sys.exit(0 if status < 300 else 1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what is garbage, and from when on it may be removed.")
@data_dir_option("operator.sock")
def gc(dry_run: bool, data_dir: Path) -> None:
    """Remove images that no service goes back to. The server does it by itself every five minutes.

    Kept are the last five of each service, and what runs. An image is removed once it has been garbage for ten minutes.
    Layers that images share count for each of them.
    """
    method, url = ("GET", "/v1/system/garbage") if dry_run else ("POST", "/v1/system/garbage/collect")
    status, body = asyncio.run(ask(method, data_dir / "operator.sock", url))
    if status >= 300:
        click.echo(f"ah: {body}", err=True)
        sys.exit(1)
    found = json.loads(body)
    for one in found:
        when = datetime.fromtimestamp(one["due_at"], UTC)
        click.echo(f"{one['bytes'] / 1e6:10.1f} MB  {one['image']}" + (f"  from {when:%F %T}Z on" if dry_run else ""))
    click.echo(f"{len(found)} images, {sum(one['bytes'] for one in found) / 1e6:.1f} MB{'' if dry_run else ' removed'}")


async def ask(method: str, path: Path, url: str) -> tuple[int, str]:
    """One request to the server; (status, body). 599 where none answers, with a line that says so."""
    connector = aiohttp.UnixConnector(str(path))
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://ah{url}") as response,
        ):
            return response.status, await response.text()
    except aiohttp.ClientConnectorError:
        return 599, f"no server answers on {path}: is it running, with this --data-dir?"
