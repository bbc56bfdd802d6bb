"""A request inside another one: asked of the same edge, by the same caller over the same connection, answered into memory.

So what another protocol offers (see `ahplat/mcp/`) is what the routes do, with their scopes, problems, keys and logs, and
nothing of it is written twice. The invariant: what a handler streams is kept up to a bound, and whatever it does to its
connection ends its own answer only.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import StreamReader
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ahplat import limits
from ahplat.api.problems import problem

if TYPE_CHECKING:
    from ahplat.api.call import Call

_CARRIED = (  # of the outer request's header fields
    *("Host", "Authorization", "X-Forwarded-Proto", "X-Forwarded-For"),
    *("Traceparent", "X-Agent-Name", "X-Agent-Run"),
)


class Answered(Struct, frozen=True):
    """How a request ended. `cut` where its answer is not the whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


class Kept(AbstractStreamWriter):
    """What a handler streams, up to a bound; then it is told that nobody takes more."""

    def __init__(self, most: int) -> None:
        self.body = bytearray()
        self._most = most

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.output_size += len(chunk)
        self.body += chunk
        if len(self.body) > self._most:
            raise ConnectionResetError("more than is kept of an answer")

    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk:
            await self.write(chunk)

    async def drain(self) -> None: ...

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None: ...

    def enable_chunking(self) -> None: ...

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None: ...


class _Line:
    """The outer request's transport, as one that is only looked at."""

    def __init__(self, outer: asyncio.Transport | None) -> None:
        self._outer = outer
        self.aborted = False

    def is_closing(self) -> bool:
        return self.aborted or self._outer is None or self._outer.is_closing()

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._outer is None else self._outer.get_extra_info(name, default)


class Inside(web.BaseRequest):
    """The inner request. It was let in with the outer one, so it is not counted again: `limited` is what was left then."""

    def __init__(
        self,
        outer: web.BaseRequest,
        method: str,
        path: str,
        fields: Mapping[str, str],
        body: bytes,
        limited: Mapping[str, str] | None,
    ) -> None:
        headers = CIMultiDict((name, value) for name in _CARRIED for value in outer.headers.getall(name, ()))
        headers.update(fields)
        if body:
            headers["Content-Length"] = str(len(body))
        url = URL(path, encoded=True)
        proxied = CIMultiDictProxy(headers)
        raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
        message = RawRequestMessage(method, path, HttpVersion11, proxied, raw, False, None, False, False, url)
        loop = asyncio.get_running_loop()
        content = StreamReader(BaseProtocol(loop), limits.BODY_BYTES, loop=loop)  # it is whole: nobody is to pause
        content.feed_data(body)
        content.feed_eof()
        self.line = _Line(outer.transport)
        self.limited = limited
        task = asyncio.current_task()
        assert task is not None
        super().__init__(message, content, outer.protocol, outer.writer, task, loop)

    @property
    def transport(self) -> Any:
        return self.line

    def keep(self, most: int) -> Kept:
        """From now on what is streamed goes here."""
        self._payload_writer = kept = Kept(most)
        return kept


async def ask(call: "Call", method: str, path: str, fields: Mapping[str, str], body: bytes, most: int) -> Answered:
    """One request inside `call`; of what is streamed at most `most` bytes, and a little, are kept.

    `path` holds the query, encoded; `fields` are its header fields.
    """
    request = Inside(call.request, method, path, {"X-Request-Id": call.request_id, **fields}, body, call.limited)
    kept = request.keep(most)
    try:
        answer = await call.app.edge.handle(request)
    except ConnectionError:  # it broke when an answer had begun
        status, body = problem("internal", "something broke on our side", request_id=call.request_id)
        return Answered(status, {}, body)
    whole = answer.body if isinstance(answer, web.Response) else bytes(kept.body)
    assert isinstance(whole, bytes | bytearray | None)
    return Answered(answer.status, answer.headers, bytes(whole or b""), cut=request.line.aborted)
