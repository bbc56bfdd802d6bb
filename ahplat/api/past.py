"""`?as_of=`: a read answered as it was at a position of the log, or at a time.

The handler is the same; it reads other views, or the log no further than to there. Whose events are folded: the caller's,
and of the operator's routes those of the tenant that the path names, or the tenants themselves.
"""

import apsw

from ahplat.api.activity import instant_us
from ahplat.api.call import Call
from ahplat.api.query import invalid_parameter
from ahplat.api.route import Route
from ahplat.errors import Rejected
from events.log import read_stream
from events.selection import position_at, position_in

_EXPECTED = "expected a position of the log, or a time as RFC 3339 has it: 2026-01-31T12:00:00Z"


async def go_back(call: Call, route: Route) -> None:
    """Has the call answered as of then. Raises Rejected where there is no such moment, or it can only be asked about now."""
    text = call.query["as_of"]
    if not route.as_of:
        what = "what is measured or read now" if route.method == "GET" else "a command"
        raise invalid_parameter("as_of", f"expected none: {what} has no past. `as_of` in /openapi.json says what has")
    if "wait" in call.query:
        raise invalid_parameter("wait", "expected none beside as_of: the past does not change")
    position = _position(call, text)
    whose = call.tenant_id or next(iter(call.values), "")
    if whose and not _is_there(call.app.log, whose, position):
        raise Rejected("tenant_not_found", f"there was no such tenant at position {position}")
    call.as_of = position
    if not route.of_log:
        call.past = await call.app.history.views(whose, position)


def _position(call: Call, text: str) -> int:
    """The position that is meant. Raises Rejected for one that is none, or that is not there yet."""
    head = call.app.hub.position
    if (position := position_in(text)) is not None:
        if position > head:
            raise invalid_parameter("as_of", f"expected at most {head}, where the log ends")
        return position
    at_us = instant_us(text)
    if at_us is None:
        raise invalid_parameter("as_of", _EXPECTED)
    if at_us > call.app.clock.now_us():
        raise invalid_parameter("as_of", "expected a time that has come")
    return min(position_at(call.app.log, at_us), head)


def _is_there(log: apsw.Connection, tenant_id: str, position: int) -> bool:
    return any(at.position <= position for at in read_stream(log, f"tenant-{tenant_id}", 0, 1))
