"""Why something happened: the chain of causes back to the request that began it, and forward what it led to.

An event names its cause by position, and an outcome the intent that it ends; both lie before it. So the causes of an
event are read one by one, and one pass over its tenant's later events, in order, finds all that it led to. The
invariant: depth, size and reading are bounded, and what a bound cut off is said.
"""

from typing import Literal

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from events.event import Meta, Recorded
from events.log import event_at, read_consequences

Cut = Literal["causes", "depth", "size", "reading"]

_CHUNK = 2_000  # events looked at between two queries


class Node(Struct):
    """One event in the tree. `after_us` is the time since what led to it, None where nothing did.

    `first` and `last` are the positions of what its command appended: one command appends to one stream, at one moment.
    """

    at: Recorded
    meta: Meta
    after_us: int | None
    first: int
    last: int
    effects: "list[Node]"


class Why(Struct):
    """`causes` from the beginning on, each led to the next and the last to `event`; what that led to hangs under it.

    `cut` says what there may be more of: `causes` before the first, `depth` below what is shown, `size` and `reading`:
    effects later than `read_to`, the position up to which all is shown.
    """

    causes: list[Node]
    event: Node
    cut: list[Cut]
    read_to: int


def explain(log: Connection, position: int, head: int, tenant: str | None = None) -> Why | None:
    """Why the event at a position is there, as of the log up to `head`; None where there is none.

    With a `tenant` only its events are looked at.
    """
    at = event_at(log, position)
    if at is None or position > head or (tenant is not None and at.tenant != tenant):
        return None
    cut: list[Cut] = []
    chain = _causes(log, at, tenant, cut)
    nodes = [node_of(log, one, since) for one, since in zip(chain, [None, *chain], strict=False)]
    read_to = _grow(log, nodes[-1], head, len(nodes), cut)
    return Why(nodes[:-1], nodes[-1], cut, read_to)


def beginning(why: Why) -> int:
    """The position of the first event of the chain."""
    return (why.causes[0] if why.causes else why.event).at.position


def _causes(log: Connection, at: Recorded, tenant: str | None, cut: list[Cut]) -> list[Recorded]:
    """The event, after its cause, after that one's cause …"""
    chain = [at]
    while cause := chain[0].decoded_meta().cause:
        before = event_at(log, cause) if len(chain) <= limits.WHY_DEPTH else None
        if before is None or (tenant is not None and before.tenant != tenant):
            cut.append("causes")
            break
        chain.insert(0, before)
    return chain


def node_of(log: Connection, at: Recorded, since: Recorded | None) -> Node:
    """An event without its effects."""
    first, last = command_of(log, at)
    return Node(at, at.decoded_meta(), None if since is None else at.at_us - since.at_us, first, last, [])


def command_of(log: Connection, at: Recorded) -> tuple[int, int]:
    """The first and the last position of what the event's command appended."""
    return _end(log, at, -1), _end(log, at, 1)


def _end(log: Connection, at: Recorded, step: int) -> int:
    position = at.position
    for _ in range(limits.WHY_EVENTS):
        beside = event_at(log, position + step)
        if beside is None or (beside.stream, beside.at_us, beside.meta) != (at.stream, at.at_us, at.meta):
            break
        position += step
    return position


def _grow(log: Connection, root: Node, head: int, size: int, cut: list[Cut]) -> int:
    """Hangs what followed from `root` under it; returns the position up to which it was looked for."""
    known: dict[int, tuple[Node | None, int]] = {root.at.position: (root, 0)}  # position → (its node, depth)
    position, scanned = root.at.position, 0
    while scanned < limits.WHY_SCANNED:
        found = read_consequences(log, root.at.tenant, position, _CHUNK)
        for position, cause, intent in found:
            if position > head:
                return head
            above = known.get(cause) or known.get(intent)
            if above is None:
                continue
            parent, depth = above
            if parent is None or depth >= limits.WHY_DEPTH:
                known[position] = (None, depth + 1)
                if "depth" not in cut:
                    cut.append("depth")
            elif size >= limits.WHY_EVENTS:
                cut.append("size")
                return position - 1
            else:
                at = event_at(log, position)
                assert at, position
                node = node_of(log, at, parent.at)
                parent.effects.append(node)
                known[position] = (node, depth + 1)
                size += 1
        scanned += len(found)
        if len(found) < _CHUNK:
            return head
    cut.append("reading")
    return position
