"""What a build says over HTTP: as text/plain, or as server-sent events by `Accept`; until the build has ended.

A line's number is its id: `?after=`, or `Last-Event-ID`, goes on after it. What is stored and what comes live is read from
one file, so that nothing is lost between the two, whatever the client's speed; a slow one is read for more slowly.
"""

import asyncio
import logging
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from ahplat import limits
from ahplat.api import frames
from ahplat.api.builds import find_build
from ahplat.api.call import Call, Reply
from ahplat.api.forward import abort, is_gone
from ahplat.api.headers import invalid_header
from ahplat.api.route import Route
from ahplat.api.stream import Filter, Subscriber
from ahplat.builders.build_logs import Line
from ahplat.errors import Unreadable
from projections import builds
from projections.builds import BuildRow

logger = logging.getLogger("ahplat.build_logs")

_EVENT_STREAM = "text/event-stream"
_TEXT = "text/plain; charset=utf-8"
_RETRY_MS = 2_000
_LAST_ID = "Last-Event-ID"


class Asked(Struct):
    """Which lines."""

    after: Annotated[int, Meta(ge=0, le=2**53, description="begin after this line's number")] = 0
    follow: Annotated[bool, Meta(description="go on until the build has ended; false: the lines that are there")] = True


async def get(call: Call) -> Reply:
    """What a build says, from its beginning or after a line, to the build's end.

    As text or as server-sent events, by `Accept`; with `follow=false` as far as it is now.
    """
    row = find_build(call)
    asked = call.asked(Asked)
    after = _after(call, asked)
    is_sse = _EVENT_STREAM in call.request.headers.get("Accept", "")
    outgoing = {
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "Content-Type": _EVENT_STREAM if is_sse else _TEXT,
        "X-Request-Id": call.request_id,
        "X-Content-Type-Options": "nosniff",
        **(call.limited or {}),
    }
    if call.request.method == "HEAD":
        return Reply(content_type=outgoing["Content-Type"], headers=outgoing)
    subscriber = Subscriber(call.tenant_id, call.principal.key_id, call.app.hub.position, Filter(resource=row.build_id))
    call.app.hub.subscribe(subscriber)
    response = web.StreamResponse(headers=outgoing)
    try:
        await response.prepare(call.request)
        with call.app.build_logs.listening(row.build_id, subscriber.wake):
            await _Follower(call, row, subscriber, response, is_sse).pump(after, asked.follow)
        await asyncio.wait_for(response.write_eof(), limits.STREAM_STALL_S)
    except (ConnectionError, TimeoutError):
        logger.debug("a follower of build %s has gone", row.build_id)
        if not is_gone(call.request):
            abort(call.request)  # it takes nothing: what is left of the answer would wait for ever
    finally:
        call.app.hub.unsubscribe(subscriber)
    return Reply(stream=response)


def _after(call: Call, asked: Asked) -> int:
    """The line to go on after: `Last-Event-ID` before `?after=`."""
    last = call.request.headers.get(_LAST_ID)
    if not last:
        return asked.after
    if not (last.isascii() and last.isdecimal() and len(last) <= 16):
        raise invalid_header(_LAST_ID, "expected the number of a line")
    return int(last)


class _Follower:
    """One client that reads along."""

    def __init__(
        self, call: Call, row: BuildRow, subscriber: Subscriber, response: web.StreamResponse, is_sse: bool
    ) -> None:
        self._call = call
        self._row = row
        self._subscriber = subscriber
        self._response = response
        self._is_sse = is_sse

    async def pump(self, after: int, follow: bool) -> None:
        """Sends lines until the build has ended and all is sent; or the key dies, or the server stops."""
        if self._is_sse:
            await self._send(frames.opening(_RETRY_MS, after))
        offset = 0
        while not self._subscriber.closed and self._left_s() > 0:
            self._subscriber.wake.clear()
            self._call.app.hub.take(self._subscriber)
            is_over = not follow or self._has_ended()  # asked first: what is said before that is stored by then
            lines, offset = self._read(after, offset)
            if lines:
                await self._send(b"".join(self._framed(line) for line in lines))
                after = lines[-1].number
            elif is_over:
                return await self._end()
            else:
                await self._rest(after)
        return None

    def _read(self, after: int, offset: int) -> tuple[list[Line], int]:
        try:
            return self._call.app.build_logs.read(self._row.tenant_id, self._row.build_id, after, offset)
        except Unreadable:
            return [], offset

    def _has_ended(self) -> bool:
        """Whether nothing more can come: it has its outcome, and nobody cleans up after it."""
        row = builds.find(self._call.views, self._row.build_id)
        is_open = row is not None and row.is_open
        return not is_open and not self._call.app.runner.is_at(f"build-{self._row.build_id}")

    def _left_s(self) -> float:
        """How long the caller's key is still good for."""
        return (self._call.principal.expires_at or 2**40) - self._call.app.clock.now_us() / 1e6

    async def _rest(self, after: int) -> None:
        """Until there may be more."""
        row = builds.find(self._call.views, self._row.build_id)
        is_open = row is not None and row.is_open
        try:
            wait_s = limits.STREAM_PING_S if is_open else limits.BUILD_LOG_LOOK_S
            async with asyncio.timeout(min(wait_s, self._left_s())):
                await self._subscriber.wake.wait()
        except TimeoutError:
            if self._is_sse and is_open:
                await self._send(frames.ping(after))

    async def _end(self) -> None:
        row = builds.find(self._call.views, self._row.build_id)
        if self._is_sse and row is not None and not row.is_open:
            await self._send(b'event: end\ndata: {"status":"%b"}\n\n' % row.status.encode())

    def _framed(self, line: Line) -> bytes:
        text = line.text.encode()
        return frames.frame(line.number, "line", text) if self._is_sse else text + b"\n"

    async def _send(self, data: bytes) -> None:
        async with asyncio.timeout(limits.STREAM_STALL_S):
            await self._response.write(data)


ROUTES = [
    Route(
        "GET",
        "/v1/services/{service_id}/builds/{build_id}/logs",
        get,
        "read_build_logs",
        query=Asked,
        text=True,
        events=str,
        stream=True,
    ),
]
