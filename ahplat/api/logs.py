"""What a service's instances write, over HTTP: as text, one line per line, or as server-sent events.

Without `follow` the last lines of what serves, or of what served last; where nothing is left of it in the engine, the end
of its log as the failure's event kept it. A deployment that was replaced and left nothing is 410. With `follow` see
`following.py`. A reader that takes nothing for STREAM_STALL_S is closed; one that goes, may not any more, or whose server
stops, ends all that was read for it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat import limits
from ahplat.api import frames
from ahplat.api.activity import moment
from ahplat.api.call import Call, Reply
from ahplat.api.fields import Id
from ahplat.api.following import Following, Told, Wanted, instances_of, past
from ahplat.api.forward import abort, is_gone
from ahplat.api.headers import invalid_header
from ahplat.api.query import Moment
from ahplat.api.route import Route
from ahplat.api.services import find
from ahplat.api.stream import Filter, Subscriber
from ahplat.engines.engine import Instance, LogLine
from ahplat.errors import Rejected, Unavailable
from projections import deployments, services
from projections.services import ServiceRow

logger = logging.getLogger("ahplat.logs")

_TEXT, _EVENT_STREAM = "text/plain; charset=utf-8", "text/event-stream"
_LAST_ID = "Last-Event-ID"
_RETRY_MS = 2_000
_AGAIN_S = 10  # until it is worth asking again for a log
NANOSECONDS = 1_000_000_000


class Asked(Struct):
    """Which lines, and how."""

    tail: Annotated[int, Meta(ge=1, le=limits.LOG_TAIL, description="so many of the last lines at most")] = (
        limits.LOG_TAIL_DEFAULT
    )
    since: Moment = ""
    follow: Annotated[bool, Meta(description="go on with what is written from now on, across deployments")] = False
    deployment: Annotated[str, Meta(description="of this deployment; else of what serves, or served last")] = ""
    timestamps: Annotated[bool, Meta(description="as text: put the time before each line")] = False


class Line(Struct, frozen=True):
    """One line as an event's data. `at_us` is unix time in microseconds, absent where only the end of a log was kept."""

    line: str
    deployment_id: Id
    replica: int | UnsetType = UNSET
    at_us: int | UnsetType = UNSET


class End(Struct, frozen=True):
    """Why there are no more lines: `end`, `closed` (the caller may not any more, or the server stops), or a problem's code."""

    reason: str


class Form:
    """How lines go out."""

    def __init__(self, call: Call, has_times: bool, several: bool) -> None:
        self.is_events = _EVENT_STREAM in call.request.headers.get("Accept", "")
        self._has_times = has_times
        self._several = several

    @property
    def content_type(self) -> str:
        return _EVENT_STREAM if self.is_events else _TEXT

    def lines(self, told: Told) -> bytes:
        """Some lines of an instance."""
        return b"".join(self._line(told.instance, line) for line in told.bunch)

    def _line(self, instance: Instance, line: LogLine) -> bytes:
        text = line.text.decode("utf-8", "replace")
        who = instance.identity
        if self.is_events:
            at_us = line.at_ns // 1_000 or UNSET
            data = msgspec.json.encode(Line(text, who.deployment, who.replica, at_us))
            return frames.frame(line.at_ns, "line", data)
        time = f"{frames.rfc3339(line.at_ns // 1_000)} " if self._has_times else ""
        prefix = f"[{who.replica}] " if self._several else ""
        return f"{time}{prefix}{text}\n".encode()

    def kept(self, deployment_id: str, line: str) -> bytes:
        """A line of the end of a log that was kept."""
        if self.is_events:
            return _without_id("line", Line(line, deployment_id))
        return f"{line}\n".encode()

    def opening(self) -> bytes:
        return b"retry: %d\n\n" % _RETRY_MS if self.is_events else b""

    def ping(self) -> bytes:
        return b": ping\n\n" if self.is_events else b""

    def end(self, reason: str) -> bytes:
        """The last frame: a client that would come back by itself need not."""
        return _without_id("end", End(reason)) if self.is_events else b""


def _without_id(event: str, data: Struct) -> bytes:
    """A frame that leaves the client's cursor where it is."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(data))


async def logs(call: Call) -> Reply:
    """What a service writes to stdout and stderr: its last lines, as text or as server-sent events.

    With `follow` it goes on until there will be no more, across deployments. A service that failed to start left its end
    here, too.
    """
    service = find(call, call.views, call.path_id())
    asked = call.asked(Asked)
    wanted = _wanted(call, asked, service.service_id)
    form = Form(call, asked.timestamps, service.replicas > 1)
    if call.request.method == "HEAD":
        return Reply(content_type=form.content_type, headers=_headers(call))
    instances = await instances_of(call.app, wanted)
    if not instances:
        _see_that_it_is_not_gone(call, service, wanted)
    places = max(1, len(instances))
    with call.app.logs.taken(call.tenant_id, places, limits.LOG_STREAMS, limits.LOG_STREAMS_OF_TENANT, _AGAIN_S):
        return await _tell(call, wanted, form, instances, asked.follow)


async def _tell(call: Call, wanted: Wanted, form: Form, instances: list[Instance], follow: bool) -> Reply:
    hub = call.app.hub
    reader = Subscriber(call.tenant_id, call.principal.key_id, hub.position, Filter("", wanted.service_id))
    reader.live = True
    hub.subscribe(reader)
    response = web.StreamResponse(headers={**_headers(call), "Content-Type": form.content_type})
    following = Following(call.app, wanted, reader)
    try:
        async with aclosing(_told(call, wanted, form, instances, following if follow else None, reader)) as told:
            begun = [
                await anext(told, b"") for _ in range(1 if follow else 2)
            ]  # what fails now is a problem, not an end
            await response.prepare(call.request)
            for piece in begun:
                await _send(response, piece)
            async for piece in told:
                await _send(response, piece)
        await asyncio.wait_for(response.write_eof(), limits.STREAM_STALL_S)
    except (ConnectionError, TimeoutError):
        logger.debug("the logs of %s are not read any more by %s", wanted.service_id, call.principal.actor)
        if not is_gone(call.request):
            abort(call.request)
    except Unavailable as error:
        if not response.prepared:
            raise
        logger.info("the logs of %s end early: %s", wanted.service_id, error.detail)
        abort(call.request)
    finally:
        hub.unsubscribe(reader)
        await following.close()
    return Reply(stream=response)


def _wanted(call: Call, asked: Asked, service_id: str) -> Wanted:
    """What the query asks for. Raises Rejected."""
    deployment_id = asked.deployment
    row = deployments.find(call.views, deployment_id) if deployment_id else None
    if deployment_id and (row is None or row.service_id != service_id):
        raise Rejected("deployment_not_found", f"the service has no deployment {deployment_id[:64]}")
    since_ns = moment(asked.since, "since") * NANOSECONDS
    if last := call.request.headers.get(_LAST_ID):
        if not (last.isascii() and last.isdecimal() and len(last) < 20):
            raise invalid_header(_LAST_ID, "expected the id of a line")
        since_ns = int(last) + 1
    return Wanted(service_id, deployment_id, limits.LOG_TAIL if last else asked.tail, since_ns)


def _see_that_it_is_not_gone(call: Call, service: ServiceRow, wanted: Wanted) -> None:
    """A log goes with its containers: where others took their place, no line is not the answer. Raises Rejected."""
    row = deployments.find(call.views, wanted.deployment_id)
    if row and row.completed_at and row.deployment_id != service.deployment_id and not _kept(call, wanted):
        detail = f"deployment {row.number} is {row.status}; its containers were removed, and their log with them"
        raise Rejected("log_gone", detail)


def _headers(call: Call) -> dict[str, str]:
    return {
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "X-Request-Id": call.request_id,
        "X-Content-Type-Options": "nosniff",
        **(call.limited or {}),
    }


async def _told(
    call: Call,
    wanted: Wanted,
    form: Form,
    instances: list[Instance],
    following: Following | None,
    reader: Subscriber,
) -> AsyncGenerator[bytes, None]:
    """All that goes out, piece by piece."""
    yield form.opening()
    reason, is_read = "end", bool(instances)
    try:
        if following is None:
            async with aclosing(past(call.app, instances, wanted)) as lines:
                async for told in lines:
                    if reader.closed:
                        return
                    yield form.lines(told)
        else:
            await following.begin(instances)
            async with aclosing(_coming(call, form, following, reader)) as pieces:
                async for piece in pieces:
                    yield piece
            is_read = following.has_read
    except Unavailable as error:
        if not form.is_events:  # text has no word for it: it is cut off
            raise
        reason = error.code
    if reader.closed or reason != "end":
        reason = "closed" if reader.closed else reason
    elif not (is_read or wanted.since_ns):
        for kept in _kept(call, wanted):
            yield form.kept(*kept)
    yield form.end(reason)


async def _coming(call: Call, form: Form, following: Following, reader: Subscriber) -> AsyncGenerator[bytes, None]:
    """What is written from now on, until nothing will be, or the caller may not any more."""
    hub, clock = call.app.hub, call.app.clock
    expires_s = call.principal.expires_at or float("inf")
    quiet_since, look_at = clock.monotonic(), 0.0
    while not reader.closed and clock.now_us() / 1e6 < expires_s and not is_gone(call.request):
        reader.wake.clear()
        if hub.take(reader) or (following.is_moving and clock.monotonic() >= look_at):
            await following.look()
            look_at = clock.monotonic() + limits.LOG_LOOK_S
        if told := following.take():
            yield form.lines(told)
            quiet_since = clock.monotonic()
            continue
        if following.is_over:
            return
        if clock.monotonic() - quiet_since >= limits.STREAM_PING_S:
            yield form.ping()
            quiet_since = clock.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.LOG_LOOK_S if following.is_moving else limits.LOG_GONE_S):
                await reader.wake.wait()


def _kept(call: Call, wanted: Wanted) -> list[tuple[str, str]]:
    """(deployment, line) of the end of a log that an event kept: of what crashed last, or did not come to serve."""
    service = services.find(call.views, wanted.service_id)
    crashed = service.deployment_id if service and service.last_error_of == "instance" else None
    if deployment_id := wanted.deployment_id or crashed:
        row = deployments.find(call.views, deployment_id)
    else:
        row = next(iter(deployments.list_of(call.views, wanted.service_id, 1, 0, 0)), None)
    if row is None:
        return []
    text = call.unsealed(row.tenant_id, f"service-{row.service_id}", "tail", row.tail)
    return [(row.deployment_id, line) for line in text.splitlines()[-wanted.tail :]]


async def _send(response: web.StreamResponse, data: bytes) -> None:
    if data:
        async with asyncio.timeout(limits.STREAM_STALL_S):
            await response.write(data)


ROUTES = [
    Route(
        "GET",
        "/v1/services/{service_id}/logs",
        logs,
        "read_logs",
        query=Asked,
        text=True,
        events=Line,
        codes=("deployment_not_found", "engine_unavailable", "log_gone"),
        stream=True,
    )
]
