"""`ah mcp`: MCP over stdin and stdout for an agent on this machine, passed on to a server."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import click

from ahplat import limits
from ahplat.mcp.stdio import Bridge

_INTERRUPTED = 130


@click.command()
def mcp() -> None:
    """Speak MCP over stdin and stdout, for an agent on this machine; a server does what it asks.

    Which server, and with which key, say AH_URL and AH_KEY, or else ~/.ah/config.json: {"url": …, "key": …}. The key's
    scopes are the agent's: one with `read` alone sees only tools that read.

    \b
    In the configuration of an MCP client:
      {"mcpServers": {"ahplat": {
        "command": "ah", "args": ["mcp"],
        "env": {"AH_URL": "https://api.apps.example.org", "AH_KEY": "<keyID>.<secret>"}}}}

    \b
    A client that speaks HTTP needs none of this:
      {"mcpServers": {"ahplat": {
        "type": "http", "url": "https://api.apps.example.org/mcp",
        "headers": {"Authorization": "Bearer <keyID>.<secret>"}}}}
    """
    try:
        url, key = target(os.environ)
    except ValueError as error:
        click.echo(f"ah: {error}", err=True)
        sys.exit(2)
    try:
        asyncio.run(_serve(url, key))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # the agent is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def target(environ: Mapping[str, str]) -> tuple[str, str]:
    """(URL, key) of the server. Raises ValueError, in a line that says what to do."""
    url, key = environ.get("AH_URL", ""), environ.get("AH_KEY", "")
    path = Path(environ.get("HOME") or Path.home()) / ".ah" / "config.json"
    if not (url and key) and path.exists():
        try:
            kept = json.loads(path.read_text())
            url, key = url or str(kept.get("url") or ""), key or str(kept.get("key") or "")
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(f'{path} cannot be read as {{"url": …, "key": …}} ({error})') from error
    if not (url and key):
        missing = " and ".join(name for name, value in (("AH_URL", url), ("AH_KEY", key)) if not value)
        raise ValueError(f"{missing} not set, and not in {path}: see `ah mcp --help`")
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"AH_URL is {url!r}, expected one like https://api.example.org")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("AH_KEY is no key: expected <keyID>.<secret>")
    return url.rstrip("/"), key


async def _serve(url: str, key: str) -> None:
    timeout = aiohttp.ClientTimeout(total=limits.MCP_ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await Bridge(session, url, key, _say).run(_lines())


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


async def _lines() -> AsyncIterator[bytes]:
    """stdin, whatever it is: read in a thread that holds nobody up at the end, and that reads no further than is taken."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes](1)

    def read() -> None:
        with suppress(RuntimeError, CancelledError):  # the loop has ended
            while True:
                line = _line()
                asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
                if not line:
                    return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while line := await queue.get():
        yield line


def _line() -> bytes:
    """The next line; of one that no server takes, its beginning. Nothing at the end."""
    line = piece = sys.stdin.buffer.readline(limits.BODY_BYTES)
    while len(piece) == limits.BODY_BYTES and not piece.endswith(b"\n"):
        piece = sys.stdin.buffer.readline(limits.BODY_BYTES)
    return line
