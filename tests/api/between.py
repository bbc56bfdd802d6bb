"""A client, our built-in router and a service, on loopback, for the tests of what goes through."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from ahplat.api.forward import Forwarder

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
HOST = "web.acme.localhost"


@pytest.fixture(autouse=True)
def nothing_breaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever happens at either end, no handler and no task ends in an error that nobody expected."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """The port of a server as the platform runs it: a handler is not told that its client went."""
    runner = web.ServerRunner(web.Server(handler, auto_decompress=False))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def between(backend: Handler, **options: float) -> AsyncIterator["Ends"]:
    """A client, our proxy, and a service that is a handler."""
    async with serving(backend) as port, proxy(port, **options) as ends:
        yield ends


class Ends:
    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.port = port

    def ask(self, method: str, path: str, **kwargs: object) -> "aiohttp.client._RequestContextManager":
        kwargs["headers"] = {"Host": HOST, **kwargs.get("headers", {})}  # type: ignore[dict-item]
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        return self.session.request(method, url, allow_redirects=False, **kwargs)  # type: ignore[arg-type]

    async def raw(self, text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text)
        return reader, writer


@asynccontextmanager
async def proxy(port: int, *others: int, **options: float) -> AsyncIterator[Ends]:
    """`others` are asked, in this order, where nobody takes the connection."""
    async with Forwarder(**options) as forwarder:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            left = iter([("127.0.0.1", other) for other in others])
            return await forwarder.forward(
                request, "127.0.0.1", port, request_id="r-1", instead=lambda: next(left, None)
            )

        async with serving(handle) as front, aiohttp.ClientSession(auto_decompress=False) as session:
            yield Ends(session, front)


@asynccontextmanager
async def talks(
    service: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **options: float
) -> AsyncIterator[Ends]:
    """A service that speaks for itself, byte by byte."""
    server = await asyncio.start_server(service, "127.0.0.1", 0)
    async with server, proxy(server.sockets[0].getsockname()[1], **options) as ends:
        yield ends


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def problem_of(answer: aiohttp.ClientResponse) -> tuple[int, str, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"] == "r-1"
    body = await answer.json(content_type=None)
    return answer.status, body["code"], body["detail"]
