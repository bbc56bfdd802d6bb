"""aiohttp's connections, as our edge wants them: what is not even HTTP gets a problem too, and no read waits for ever."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from ahplat import limits
from ahplat.api.server import Edge


class Protocol(RequestHandler):
    """One connection."""

    __slots__ = ("_edge", "_quiet_since")

    def __init__(self, edge: Edge, manager: "Server", **options: Any) -> None:
        super().__init__(manager, **options)
        self._edge = edge
        self._quiet_since = self._loop.time()

    def sweep(self) -> None:
        """Ends it when no whole head of a request has come for HEAD_S; aiohttp would wait for the rest for ever."""
        if self._current_request is not None or self._messages:
            self._quiet_since = self._loop.time()
        elif self._loop.time() - self._quiet_since > limits.HEAD_S:
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """What ends a body's frame in the middle ends the reading of it; aiohttp would let the handler wait for ever."""
        super().data_received(data)
        request, messages = self._current_request, self._messages
        if messages:  # a whole head came: the request may be over before the next sweep, which would not see it
            self._quiet_since = self._loop.time()
        if request is None or not messages or request.content.is_eof():
            return
        if isinstance(broken := messages[-1][0], _ErrInfo):
            messages.pop()
            request.content.set_exception(broken.exc)
            request.content.feed_eof()
            self.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer is not None and request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        response = self._edge.refuse(status, exc)
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's low-level server with our Protocol: no router, no middlewares, one handler."""

    def __init__(self, edge: Edge) -> None:
        super().__init__(
            edge.handle,
            access_log=None,
            auto_decompress=False,
            max_line_size=limits.REQUEST_LINE_BYTES,
            max_field_size=limits.HEADER_BYTES,
        )
        self._edge = edge

    async def sweep(self) -> None:
        """Ends connections on which nothing comes, until cancelled."""
        while True:
            await asyncio.sleep(limits.HEAD_SWEEP_S)
            for connection in list(self.connections):
                if isinstance(connection, Protocol):
                    connection.sweep()

    def __call__(self) -> RequestHandler:
        return Protocol(self._edge, self, loop=self._loop, **self._kwargs)
