"""The log over HTTP: as a stream of server-sent events, or as a list."""

import asyncio
import logging
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Raw, Struct

from ahplat import limits
from ahplat.api import frames
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.forward import abort, is_gone
from ahplat.api.frames import PublicEvent
from ahplat.api.headers import invalid_header
from ahplat.api.query import invalid_parameter
from ahplat.api.route import Route
from ahplat.api.stream import Filter, Subscriber
from ahplat.errors import Rejected
from events.catalog import decode
from events.log import read_tenant, read_tenant_backwards
from events.selection import position_in

logger = logging.getLogger("ahplat.events")

_RETRY_MS = 2_000
_EVENT_STREAM = "text/event-stream"
_LAST_ID = "Last-Event-ID"
_AT_ONCE_BYTES = 16_384  # what a connection on which nothing waits takes without a wait


class Asked(Struct):
    """Which events."""

    after: Annotated[
        str, Meta(description="begin after this event's id; as a stream without it: from now; as a list: the newest")
    ] = ""
    type: Annotated[str, Meta(description="only of this type, such as service.created")] = ""
    resource: Annotated[str, Meta(description="only about this id")] = ""
    limit: Annotated[int, Meta(ge=1, le=limits.LIST_LIMIT, description="of a list: at most so many")] = (
        limits.LIST_DEFAULT
    )


async def events(call: Call) -> Reply:
    """All that happened to the tenant, as server-sent events, or as a list where `Accept` is application/json.

    Without `after` a stream begins now, and a list is of the newest. A stream that broke off goes on with Last-Event-ID:
    nothing is missed, and nothing comes twice.
    """
    accept = call.request.headers.get("Accept", "")
    wants_list = "application/json" in accept and _EVENT_STREAM not in accept
    return await (_list(call) if wants_list else _stream(call))


def cursor_id(call: Call, position: int) -> str:
    """A position as a cursor: bare in the first epoch, `<epoch>.<position>` in later ones."""
    return str(position) if call.app.epoch == 1 else f"{call.app.epoch}.{position}"


def _cursor(call: Call, text: str, name: str) -> int:
    """The position that a cursor names. Raises Rejected `cursor_gone` for one of another epoch or past the head."""
    first, _, last = text.rpartition(".")
    epoch, position = position_in(first or "1"), position_in(last)
    if epoch is None or position is None:
        fault = invalid_header if name == _LAST_ID else invalid_parameter
        raise fault(name, "expected the id of an event")
    if epoch != call.app.epoch:
        raise Rejected("cursor_gone", f"the cursor is of epoch {epoch}, this is epoch {call.app.epoch}")
    if position > call.head:
        raise Rejected("cursor_gone", f"the cursor is past {call.head}, where the log ends or was asked about")
    return position


def _begin(call: Call, asked: Asked) -> int | None:
    """Where to begin: `Last-Event-ID` before `?after=`; None for from now."""
    if last := call.request.headers.get(_LAST_ID):
        return _cursor(call, last, _LAST_ID)
    return _cursor(call, asked.after, "after") if asked.after else None


async def _list(call: Call) -> Reply:
    """After a cursor: what follows it, oldest first; without one: the newest, newest first."""
    asked = call.asked(Asked)
    wanted, limit = Filter(asked.type, asked.resource), asked.limit
    begin = _begin(call, asked)
    read = read_tenant_backwards if begin is None else read_tenant
    head = call.head
    position = head + 1 if begin is None else begin
    found: list[PublicEvent] = []
    scanned = 0
    while len(found) < limit and scanned < limits.LOG_ROWS_SCANNED:
        chunk = [one for one in read(call.app.log, call.tenant_id, position, limits.LIST_LIMIT) if one.position <= head]
        for at in chunk:
            event = decode(at.type, at.data)
            position = at.position
            if wanted.wants(at, event):
                found.append(frames.public(at, event))
                if len(found) == limit:
                    break
        scanned += len(chunk)
        if len(chunk) < limits.LIST_LIMIT:
            break
        await asyncio.sleep(0)  # a long scan does not hold up everybody else
    reply = json_reply([Raw(frames.encode(event)) for event in found])
    is_whole = call.as_of and len(found) < limit and scanned < limits.LOG_ROWS_SCANNED  # nothing comes to the past
    if begin is not None and not is_whole:
        reply.headers["Link"] = call.link_next(limit=str(limit), after=cursor_id(call, position))
    return reply


async def _stream(call: Call) -> Reply:
    """Server-sent events until the client goes, its key dies, or it takes nothing for STREAM_STALL_S."""
    if call.as_of:
        raise invalid_parameter("as_of", "expected none of a stream: `Accept: application/json` asks for the list")
    app = call.app
    asked = call.asked(Asked)
    begin = _begin(call, asked)
    wanted = Filter(asked.type, asked.resource)
    outgoing = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(call.limited or {})}
    if call.request.method == "HEAD":
        return Reply(content_type=_EVENT_STREAM, headers=outgoing)
    cursor = app.hub.position if begin is None else begin
    subscriber = Subscriber(call.tenant_id, call.principal.key_id, cursor, wanted)
    app.hub.subscribe(subscriber)
    outgoing |= {"Content-Type": _EVENT_STREAM, "X-Request-Id": call.request_id, "X-Content-Type-Options": "nosniff"}
    response = web.StreamResponse(headers=outgoing)
    try:
        await response.prepare(call.request)
        await _send(call, response, frames.opening(_RETRY_MS, cursor_id(call, cursor)))
        await _pump(call, subscriber, response)
        await asyncio.wait_for(response.write_eof(), limits.STREAM_STALL_S)
    except (ConnectionError, TimeoutError):
        logger.debug("the stream of %s ended at %d", call.principal.actor, subscriber.cursor)
        if not is_gone(call.request):
            abort(call.request)  # it takes nothing: what is left of the answer would wait for ever
    finally:
        app.hub.unsubscribe(subscriber)
    return Reply(stream=response)


async def _pump(call: Call, subscriber: Subscriber, response: web.StreamResponse) -> None:
    hub, clock = call.app.hub, call.app.clock
    is_cloud = frames.CLOUDEVENTS_TYPE in call.request.headers.get("Accept", "")
    source = f"/installations/{call.app.installation}"
    expires_s = call.principal.expires_at or float("inf")
    quiet_since = clock.monotonic()
    while not subscriber.closed and (left_s := expires_s - clock.now_us() / 1e6) > 0:
        subscriber.wake.clear()
        given = hub.take(subscriber)
        ping_s = quiet_since + limits.STREAM_PING_S - clock.monotonic()
        if given:
            await _send(call, response, b"".join(_frame(call, event, is_cloud, source) for event in given))
        elif ping_s <= 0:
            await _send(call, response, frames.ping(cursor_id(call, subscriber.cursor)))
        else:
            # who still catches up goes on at once, after letting everybody else go first
            await (subscriber.rest(min(ping_s, left_s)) if subscriber.live else asyncio.sleep(0))
            continue
        quiet_since = clock.monotonic()


def _frame(call: Call, event: PublicEvent, is_cloud: bool, source: str) -> bytes:
    if is_cloud:
        return frames.frame(cursor_id(call, event.position), event.type, frames.cloudevent(event, source))
    framed = call.app.hub.framed
    if event.position not in framed:
        if len(framed) >= limits.STREAM_QUEUE:  # somebody reads what was long ago
            framed.clear()
        framed[event.position] = frames.frame(cursor_id(call, event.position), event.type, frames.encode(event))
    return framed[event.position]


async def _send(call: Call, response: web.StreamResponse, data: bytes) -> None:
    transport = call.request.transport
    if transport and not transport.get_write_buffer_size() and len(data) <= _AT_ONCE_BYTES:
        await response.write(data)  # waits for nothing: a timer would cost as much as the frame
        return
    async with asyncio.timeout(limits.STREAM_STALL_S):
        await response.write(data)


ROUTES = [
    Route(
        "GET",
        "/v1/events",
        events,
        "read_events",
        as_of=True,
        of_log=True,
        query=Asked,
        answer=list[PublicEvent],
        events=PublicEvent,
        codes=("cursor_gone",),
        stream=True,
    ),
]
