"""One event over HTTP, and why it is there: the chain back to the request that began it, and what it led to."""

from typing import Any, Literal

from msgspec import Struct, field

from ahplat import why as causes
from ahplat.api import frames
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.frames import PublicEvent
from ahplat.api.route import Route
from ahplat.errors import Rejected
from ahplat.why import Node, Why
from events.catalog import decode
from events.event import Meta, Recorded
from events.log import event_at
from events.selection import position_in


class CommandOf(Struct, frozen=True, omit_defaults=True):
    """What appended an event: the command's name, and the first and last position of all that it appended."""

    name: str
    first_position: int
    last_position: int


class EventDetail(PublicEvent, frozen=True, omit_defaults=True, kw_only=True):
    """An event as the stream shows it, and the command that appended it."""

    command: CommandOf


class EventNode(EventDetail, frozen=True, omit_defaults=True, kw_only=True):
    """An event in the tree. `after_us`: how long after its cause, absent where it has none that is shown."""

    after_us: int | None = None
    effects: list["EventNode"] = field(default_factory=list)


class Explained(Struct, frozen=True, kw_only=True):
    """Why an event is there. `causes` from the beginning on: each led to the next, the last to `event`.

    `began` says who began it, when and how. `cut` says where there may be more: `causes` before the first one, `depth`
    below what is shown, `size` and `reading`: effects after `read_to`, the position up to which they were looked for.
    """

    began: "Began"
    causes: list[EventNode]
    event: EventNode
    cut: list[Literal["causes", "depth", "size", "reading"]]
    read_to: int


class Began(Struct, frozen=True, omit_defaults=True):
    """The first event of a chain: `actor` is who asked for it, `system` where nobody did."""

    position: int
    actor: str
    at: int
    command: str
    correlation: str = ""
    agent: str = ""
    run: str = ""


async def event(call: Call) -> Reply:
    """One event of the tenant's, by its position, and the command that appended it."""
    at = found_event(call)
    return json_reply(_detail(at, at.decoded_meta(), *causes.command_of(call.app.log, at)))


def found_event(call: Call) -> Recorded:
    """The event at the position in the path: the caller's, or anybody's for the operator. Raises Rejected."""
    position = _position(call)
    at = event_at(call.app.log, position)
    is_theirs = at is not None and (call.principal.kind == "operator" or at.tenant == call.tenant_id)
    if at is None or not is_theirs or position > call.head:
        raise _missing(call)
    return at


async def why(call: Call) -> Reply:
    """Why an event is there: the causes back to the request that began it, and all that it led to, with times between.

    Causes and effects are followed among the tenant's own events, to a depth and a number; `cut` says where that ended.
    """
    position, head, tenant_id = _position(call), call.head, call.tenant_id
    found = await call.app.history.read(tenant_id, lambda log: causes.explain(log, position, head, tenant_id))
    if found is None:
        raise _missing(call)
    return json_reply(explained(found))


def _position(call: Call) -> int:
    return position_in(call.path_id()) or 0  # where no event is


def _missing(call: Call) -> Rejected:
    return Rejected("event_not_found", f"there is no event {call.path_id()[:64]}")


def explained(found: Why) -> Explained:
    """The public form."""
    first = found.causes[0] if found.causes else found.event
    began = Began(
        position=first.at.position,
        actor=first.meta.actor,
        at=first.at.at_s,
        command=first.meta.command,
        correlation=first.meta.correlation,
        agent=first.meta.agent,
        run=first.meta.run,
    )
    return Explained(
        began=began,
        causes=[_node(node) for node in found.causes],
        event=_node(found.event),
        cut=found.cut,
        read_to=found.read_to,
    )


def _node(node: Node) -> EventNode:
    effects = [_node(one) for one in node.effects]
    return EventNode(**_parts(node.at, node.meta, node.first, node.last), after_us=node.after_us, effects=effects)


def _detail(at: Recorded, meta: Meta, first: int, last: int) -> EventDetail:
    return EventDetail(**_parts(at, meta, first, last))


def _parts(at: Recorded, meta: Meta, first: int, last: int) -> dict[str, Any]:
    shown = frames.public(at, decode(at.type, at.data))
    command = CommandOf(meta.command, first, last)
    return {name: getattr(shown, name) for name in shown.__struct_fields__} | {"command": command}


_ONE = "/v1/events/{event_position}"
ROUTES = [
    Route("GET", _ONE, event, "get_event", as_of=True, of_log=True, answer=EventDetail),
    Route("GET", f"{_ONE}/why", why, "explain_event", as_of=True, of_log=True, answer=Explained),
]
