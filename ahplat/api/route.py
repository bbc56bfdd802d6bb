"""The route table's rows, and how a path finds its row: a tree of segments, no regular expressions."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import unquote

from msgspec import Struct

from ahplat.api.call import JSON, Call, Principal, Reply
from ahplat.api.query import AsOf, Dry, Fresh, Paged

Auth = Literal["none", "bootstrap", "registration", "key", "operator", "key_or_operator", "metrics"]
Scope = Literal["read", "deploy", "admin"]
LINKSET = "application/linkset+json"  # RFC 9264
Handler = Callable[[Call], Awaitable[Reply]]


_GRANTED_BY: dict[Scope, frozenset[str]] = {  # the scope that a route wants → scopes that grant it
    "read": frozenset({"read", "deploy", "admin"}),
    "deploy": frozenset({"deploy", "admin"}),
    "admin": frozenset({"admin"}),
}


class Route(Struct, frozen=True):
    """One method of one path: all that serves it, and all that the OpenAPI document and the tools of MCP say of it.

    `{…}` in the path stands for one segment (see segments.py). What the handler's docstring says is what agents read.
    `codes` are the problems that are this route's own; those that it has by its kind are worked out in codes.py.
    """

    method: str
    path: str
    handler: Handler
    id: str  # its name in the document and among the tools; it never changes
    auth: Auth = "key"
    scope: Scope = "read"
    query: type[Struct] | None = None  # parameters, as the handler takes them by `call.asked`
    body: type[Any] | None = None  # what the handler parses
    answer: Any = None  # the type of a success as JSON
    media: str = JSON  # what kind of JSON that is
    text: bool = False  # a success can be text/plain
    html: bool = False  # a success can be text/html
    events: Any = None  # the type of each event's data, where a success can be text/event-stream
    status: int = 200
    other_status: int = 0  # of a success, too
    bare_status: int = 0  # of a success without a body, beside those that have one
    faults: tuple[int, ...] = ()  # of what is refused in the form of `answer`, and not as a problem
    codes: tuple[str, ...] = ()
    versioned: bool = False  # its answer has an ETag
    asks: bool = False  # not a GET, and appends nothing all the same: no key, no precondition
    records: bool = False  # a GET that leaves an event of who asked
    destroys: bool = False  # what it takes away does not come back by another call
    waits: bool = False  # by `Prefer: wait=` until what it began has ended
    as_of: bool = False  # follows from the log alone: can be asked as it was at any position
    of_log: bool = False  # reads the log itself, up to `Call.head`, and no views
    narrow: bool = False  # answers a key that is for one service, though its path names none
    early: bool = False  # answers before the views are in step
    grows: bool = False  # what it begins takes room: refused where a disk is full
    archive: type[Struct] | None = None  # takes a tar.gz in place of `body`, with these parameters: see uploads.py
    stream: bool = False  # answers as long as the client likes: counts as a stream, not as a request

    @property
    def is_command(self) -> bool:
        """Whether it appends to the log what it was asked for: repeats are known by their key."""
        return self.method != "GET" and not self.asks

    @property
    def asks_by_query(self) -> tuple[type[Struct], ...]:
        """What can stand in the query."""
        kind = Dry if self.can_be_dry else Fresh if self.method == "GET" else None
        return tuple(one for one in (self.query, self.archive, kind, AsOf if self.as_of else None) if one)

    @property
    def can_be_dry(self) -> bool:
        """Whether it can be asked what it would do."""
        return self.is_command or self.destroys

    @property
    def tagged(self) -> bool:
        """Whether a success can have an ETag: of a version, or else of what is read."""
        return self.versioned or (self.method == "GET" and self.answer is not None)

    @property
    def is_paged(self) -> bool:
        """Whether it is a list that comes in parts."""
        return self.query is not None and issubclass(self.query, Paged)

    @property
    def segments(self) -> list[str]:
        """The names of the variable segments."""
        return [segment[1:-1] for segment in self.path.split("/") if segment.startswith("{")]

    def named(self, values: tuple[str, ...]) -> dict[str, str]:
        """The variable segments of a path, by the names that they have here."""
        return dict(zip(self.segments, values, strict=True))

    def forbids(self, key: Principal, values: tuple[str, ...]) -> str:
        """Why a key may not ask this of that path; "" where it may."""
        if not key.scopes & _GRANTED_BY[self.scope]:
            return f"this needs a key with the scope {self.scope!r}"
        only = key.service_id
        if only and not self.narrow and self.named(values).get("service_id") != only:
            return f"this key is for what is under /v1/services/{only} alone"
        return ""


class Tree:
    """All routes, by path."""

    def __init__(self, routes: list[Route]) -> None:
        self._root: dict[str, Any] = {}
        for route in routes:
            node = self._root
            for segment in route.path.strip("/").split("/"):
                node = node.setdefault("{}" if segment.startswith("{") else segment, {})
            assert route.method not in node.setdefault("", {}), f"{route.method} {route.path} stands twice"
            node[""][route.method] = route

    def find(self, path: str) -> tuple[dict[str, Route], tuple[str, ...]] | None:
        """(the path's routes by method, its variable segments); None where there is no such path."""
        node = self._root
        values: tuple[str, ...] = ()
        for segment in path[1:].split("/"):
            if segment in node and segment not in ("", "{}"):
                node = node[segment]
            elif "{}" in node and segment:
                node = node["{}"]
                values = (*values, unquote(segment, errors="replace") if "%" in segment else segment)
            else:
                return None
        methods: dict[str, Route] | None = node.get("")
        return (methods, values) if methods else None
