"""What happened to a tenant's resources, in words, from the log; deleted ones included."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat import limits
from ahplat.api.call import Call, Reply
from ahplat.api.fields import At, Id
from ahplat.api.frames import PublicEvent, public
from ahplat.api.query import Moment, Paged, invalid_parameter
from ahplat.api.route import Route
from events.catalog import decode
from events.log import read_all
from projections import activity
from projections.activity import ActivityRow, Wanted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FAILED = ("failed", "crashed", "opened", "drifted", "cancelled", "superseded")


class Activity(Struct, frozen=True):
    """One thing that happened. `status` is "failed" for what went wrong, else "ok"."""

    id: Id
    resource_type: str
    resource_id: str
    action: str
    status: str
    message: str
    actor: str
    position: int
    created_at: At
    resource_name: str | UnsetType = UNSET
    service_id: Id | UnsetType = UNSET
    agent: str | UnsetType = UNSET
    run: str | UnsetType = UNSET


class Asked(Paged):
    """Which lines."""

    limit: Annotated[int, Meta(ge=1, le=limits.LIST_LIMIT, description="at most so many")] = 50
    resource_type: Annotated[str, Meta(description="only of this kind: service, database, …")] = ""
    action: Annotated[str, Meta(description="only what is called so: created, deploy_requested, …")] = ""
    service_id: Annotated[str, Meta(description="only of this service, and of its builds")] = ""
    since: Moment = ""


async def list_all(call: Call) -> Reply:
    """What happened to the tenant's resources, in words, newest first; deleted ones included."""
    asked = call.asked(Asked)
    page = call.page("activity", asked)
    wanted = Wanted(
        resource_type=asked.resource_type,
        service_id=asked.service_id,
        action=asked.action,
        since=moment(asked.since, "since"),
        before=int(page.before) if page.before else 0,
    )
    rows = activity.list_of(call.views, call.tenant_id, wanted, page.limit, page.offset)
    last = str(rows[-1].position) if rows else ""
    return call.listing("activity", page, [_render(call, row) for row in rows], last)


def _render(call: Call, row: ActivityRow) -> Activity:
    at = read_all(call.app.log, row.position - 1, 1)[0]
    shown = public(at, decode(at.type, at.data))
    details = details_of(shown)
    action = row.action.replace("_", " ")
    return Activity(
        id=id_of(at.at_us, row.position),
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        action=row.action,
        status="failed" if row.action.endswith(_FAILED) else "ok",
        message=f"{row.resource_type} {action}" + (f": {details}" if details else ""),
        actor=shown.actor,
        position=row.position,
        created_at=row.created_at,
        resource_name=row.name or UNSET,
        service_id=row.service_id or UNSET,
        agent=shown.agent or UNSET,
        run=shown.run or UNSET,
    )


def details_of(shown: PublicEvent) -> str:
    """What an event says, in one line."""
    return ", ".join(f"{key} {value}" for key, value in shown.data.items() if isinstance(value, str | int) and value)


def id_of(at_us: int, position: int) -> str:
    """The id of one line: 32 hex digits as of a UUIDv7 (RFC 9562, 6.2, method 3), with the position in place of chance.

    >>> id_of(1_700_000_000_123_456, 42)
    '018bcfe5687b71c8800000000000002a'
    """
    return f"{at_us // 1_000 & (1 << 48) - 1:012x}7{at_us % 1_000:03x}{0b10 << 62 | position:016x}"


def moment(text: str, name: str) -> int:
    """Unix seconds of a moment given as such or as RFC 3339; 0 for none. Raises Rejected."""
    if not text:
        return 0
    if text.isascii() and text.isdecimal() and len(text) <= 12:
        return int(text)
    at_us = instant_us(text)
    if at_us is None:
        raise invalid_parameter(name, "expected unix seconds, or a time as RFC 3339 has it: 2026-01-31T12:00:00Z")
    return at_us // 1_000_000


def instant_us(text: str) -> int | None:
    """Unix microseconds of a time as RFC 3339 has it; None where it is none. A `+` that was not encoded comes as a space.

    >>> instant_us("2023-11-14T22:13:20.000001Z"), instant_us("2023-11-14T23:13:20 01:00"), instant_us("yesterday")
    (1700000000000001, 1700000000000000, None)
    """
    try:
        parsed = datetime.fromisoformat(f"{text[:-6]}+{text[-5:]}" if text[-6:-5] == " " else text)
        return (parsed - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError, OverflowError):  # TypeError: it says no zone
        return None


ROUTES = [
    Route("GET", "/v1/activity", list_all, "list_activity", as_of=True, query=Asked, answer=list[Activity]),
]
