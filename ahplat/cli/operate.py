"""What an operator does to a running server, through its Unix socket."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import click

from ahplat.cli.folders import data_dir_option


@click.command()
@click.argument("position", type=click.IntRange(1))
@data_dir_option("operator.sock")
def unpark(position: int, data_dir: Path) -> None:
    """Have parked work tried again. POSITION is that of the event that asked for it."""
    status, body = asyncio.run(_post(data_dir / "operator.sock", f"/v1/system/effects/{position}/unpark"))
    click.echo(body)
    sys.exit(0 if status < 300 else 1)


async def _post(path: Path, url: str) -> tuple[int, str]:
    connector = aiohttp.UnixConnector(str(path))
    try:
        async with aiohttp.ClientSession(connector=connector) as session, session.post(f"http://ah{url}") as response:
            return response.status, await response.text()
    except aiohttp.ClientConnectorError:
        return 599, f"no server answers on {path}: is it running, with this --data-dir?"
