"""The route table's rows, and how a path finds its row: a tree of segments, no regular expressions."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import unquote

from msgspec import Struct

from ahplat.api.call import Call, Reply

Auth = Literal["none", "bootstrap", "registration", "key", "operator", "key_or_operator", "metrics"]
Scope = Literal["read", "deploy", "admin"]
Handler = Callable[[Call], Awaitable[Reply]]


class Route(Struct, frozen=True):
    """One method of one path. `{…}` in the path stands for one segment; `body` is what the handler parses."""

    method: str
    path: str
    handler: Handler
    auth: Auth = "key"
    scope: Scope = "read"
    body: type[Any] | None = None
    early: bool = False  # answers before the views are in step
    grows: bool = False  # what it begins takes room: refused where a disk is full
    stream: bool = False  # answers as long as the client likes: counts as a stream, not as a request

    def named(self, values: tuple[str, ...]) -> dict[str, str]:
        """The variable segments of a path, by the names that they have here."""
        names = [segment[1:-1] for segment in self.path.split("/") if segment.startswith("{")]
        return dict(zip(names, values, strict=True))


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
