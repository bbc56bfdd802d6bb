"""`ah mcp`: MCP over stdin and stdout for an agent on this machine, passed on to a server."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress

import aiohttp
import click

from ahplat import limits
from ahplat.ahc import settings
from ahplat.ahc.failures import INTERRUPTED, USAGE, Failure
from ahplat.cli.looking import failed
from ahplat.mcp.stdio import Bridge


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
        if not (sys.stdin and sys.stdout):
            raise Failure(USAGE, "stdin or stdout is closed", "an agent's program starts this, and speaks to it there")
        url, key = target(os.environ)
    except Failure as failure:
        failed(f"{failure.what}: {failure.hint}", USAGE)
    try:
        asyncio.run(_serve(url, key))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def target(environ: Mapping[str, str]) -> tuple[str, str]:
    """(URL, key) of the server, as `ahc` has them. Raises Failure."""
    found = settings.effective(environ)
    url, key = settings.wanted_url(found), settings.wanted_key(found)
    if not (key.isascii() and key.isprintable()):
        raise Failure(USAGE, "AH_KEY is no key", "expected <keyID>.<secret>")
    return url, key


async def _serve(url: str, key: str) -> None:
    timeout = aiohttp.ClientTimeout(total=limits.MCP_ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await Bridge(session, url, key, _say).run(_lines())


def _say(line: bytes) -> None:
    try:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the agent is gone, and with it all that was asked
        os._exit(0)


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
