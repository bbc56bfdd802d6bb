"""What an operator does to a running server, through its Unix socket."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import click
import msgspec

from ahplat.api.system import GarbageFound
from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_FAILED, failed


@click.command()
@click.argument("position", type=click.IntRange(1))
@data_dir_option("operator.sock")
def unpark(position: int, data_dir: Path) -> None:
    """Have parked work tried again. POSITION is that of the event that asked for it."""
    click.echo(answered(data_dir, "POST", f"/v1/system/effects/{position}/unpark"))


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what is garbage, and from when on it may be removed.")
@data_dir_option("operator.sock")
def gc(dry_run: bool, data_dir: Path) -> None:
    """Remove what nothing comes back to. The server does it by itself every five minutes.

    Images that no service goes back to: kept are the last five of each service, and what runs. Networks of tenants that
    are suspended. Volumes that a look into a backup left behind. Each goes once it has been garbage for ten minutes; what
    removed images took in the registry is given back at once, where the server was told --registry-config. Layers that
    images share count for each of them.

    What carries this installation's label and is not known is named, and left alone.
    """
    method, url = ("GET", "/v1/system/garbage") if dry_run else ("POST", "/v1/system/garbage/collect")
    found = msgspec.json.decode(answered(data_dir, method, url), type=GarbageFound)
    click.echo("\n".join(garbage_lines(found, dry_run)))


def garbage_lines(found: GarbageFound, dry_run: bool) -> list[str]:
    """A line for each thing, one for each that is unknown, and the sum.

    >>> from ahplat.api.system import GarbageItem, StrangerItem
    >>> garbage_lines(GarbageFound([GarbageItem("network", "ah-1", 0, 0)], []), dry_run=True)
    ['       0.0 MB  network   ah-1  from 1970-01-01 00:00:00Z on', '1 thing, 0.0 MB']
    >>> garbage_lines(GarbageFound([], [StrangerItem("volume", "ah-2", "")]), dry_run=False)
    ['unknown, left alone: volume ah-2', '0 things, 0.0 MB removed']
    """
    lines = []
    for one in found.garbage:
        when = f"  from {datetime.fromtimestamp(one.due_at, UTC):%F %T}Z on" if dry_run else ""
        lines.append(f"{one.bytes / 1e6:10.1f} MB  {one.kind:8}  {one.name}{when}")
    lines += [f"unknown, left alone: {one.kind} {one.name}" for one in found.unknown]
    things = "1 thing" if len(found.garbage) == 1 else f"{len(found.garbage)} things"
    total = sum(one.bytes for one in found.garbage) / 1e6
    return [*lines, f"{things}, {total:.1f} MB{'' if dry_run else ' removed'}"]


def answered(data_dir: Path, method: str, url: str, as_json: bool = False, **headers: str) -> str:
    """What the server answers; ends the program with its problem, as it came for programs, or where none answers."""
    status, body = asyncio.run(ask(method, data_dir / "operator.sock", url, **headers))
    if status >= 300 and as_json:
        click.echo(body)
        sys.exit(EXIT_FAILED)
    if status >= 300:
        failed(_problem_in(body))
    return body


def _problem_in(body: str) -> str:
    """
    >>> _problem_in('{"code":"not_found","detail":"nothing is there"}'), _problem_in("nobody answers")
    ('not_found: nothing is there', 'nobody answers')
    """
    try:
        problem = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body
    return f"{problem['code']}: {problem['detail']}"


async def ask(method: str, path: Path, url: str, **headers: str) -> tuple[int, str]:
    """One request to the server, with header fields; (status, body). 599 where none answers, with a line that says so."""
    connector = aiohttp.UnixConnector(str(path))
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://ah{url}", headers=headers) as response,
        ):
            return response.status, await response.text()
    except aiohttp.ClientConnectorError:
        return 599, f"no server answers on {path}: is it running, with this --data-dir?"
