"""A tool's arguments as the request that its route takes: a function of values. The other way round from `schemas.py`."""

from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from ahplat.api.route import Route
from ahplat.api.schemas import Schema
from ahplat.errors import Rejected, Violation
from ahplat.mcp.schemas import AFTER, AS_OF, CONFIRM, DRY_RUN, IF_MATCH, KEY, WAIT, WHOLE

_encode = msgspec.json.Encoder(order="sorted").encode  # so that the order of arguments makes no other body


class Asked(Struct, frozen=True):
    """What is asked of the route. `path` holds the query."""

    method: str
    path: str
    fields: dict[str, str]
    body: bytes = b""


def asked(route: Route, schema: Schema, given: dict[str, Any]) -> Asked:
    """The request. Raises Rejected for an argument that the tool does not take, lacks, or cannot put where it belongs.

    An argument that is null counts as left out. What else is wrong with a value, the route says.
    """
    arguments = {name: value for name, value in given.items() if value is not None}
    _check(schema, arguments)
    path = route.path
    for name in route.segments:
        path = path.replace(f"{{{name}}}", quote(_text(name, arguments.pop(name)), safe=""))
    fields = _fields(route, arguments)
    query = {name: _text(name, arguments.pop(name)) for name in _queried(route) if name in arguments}
    if AS_OF in arguments:
        query[AS_OF] = _text(AS_OF, arguments.pop(AS_OF))
    if arguments.pop(DRY_RUN, False):
        query[DRY_RUN] = "true"
    if "follow" in _queried(route):
        query["follow"] = "false"
    arguments.pop(CONFIRM, None)
    body = b""
    if route.body is not None:
        whole = {name: _plain(value) for name, value in arguments.items()}
        body = _encode(whole.get(WHOLE, {}) if WHOLE in schema["properties"] else whole)
    return Asked(route.method, f"{path}?{urlencode(query)}" if query else path, fields, body)


def _check(schema: Schema, arguments: dict[str, Any]) -> None:
    known = schema["properties"]
    if unknown := [name for name in arguments if name not in known]:
        detail = f"not arguments of this tool: {', '.join(unknown[:10])}; it takes {', '.join(known)}"
        raise Rejected(
            "unknown_field", detail, tuple(Violation(f"/{name}", "there is no such argument") for name in unknown)
        )
    if missing := [name for name in schema.get("required", ()) if name not in arguments]:
        detail = f"expected, but missing: {', '.join(missing)}"
        raise Rejected("validation_failed", detail, tuple(Violation(f"/{name}", "expected") for name in missing))
    if WAIT in arguments and type(_plain(arguments[WAIT])) is not int:
        raise Rejected("validation_failed", f"{WAIT}: expected seconds", (Violation(f"/{WAIT}", "expected seconds"),))
    if not isinstance(arguments.get(DRY_RUN, False), bool):  # nobody may think that it was one, or was none
        message = "expected true or false"
        raise Rejected("validation_failed", f"{DRY_RUN}: {message}", (Violation(f"/{DRY_RUN}", message),))


def _queried(route: Route) -> tuple[str, ...]:
    return route.query.__struct_fields__ if route.query is not None else ()


def _fields(route: Route, arguments: dict[str, Any]) -> dict[str, str]:
    """The header fields that some arguments become; those are taken out."""
    wants_events = route.answer is None and route.events is not None
    found = {"Accept": "text/event-stream" if wants_events else "application/json"}
    prefer = ["handling=strict"]
    if KEY in arguments:
        found["Idempotency-Key"] = _quoted(_text(KEY, arguments.pop(KEY)))
    if IF_MATCH in arguments:
        found["If-Match"] = _text(IF_MATCH, arguments.pop(IF_MATCH))
    if WAIT in arguments:
        prefer.append(f"wait={_text(WAIT, arguments.pop(WAIT))}")
    if wants_events and AFTER in arguments:
        found["Last-Event-ID"] = _text(AFTER, arguments.pop(AFTER))
    return found | {"Prefer": ", ".join(prefer)}


def _quoted(key: str) -> str:
    """A word as an RFC 8941 string; what cannot be one stays as it is, and is refused."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(value: Any) -> Any:
    """A number without a fraction as an integer, which it is for JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(name: str, value: Any) -> str:
    """A single value as text. Raises Rejected for anything with parts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    value = _plain(value)
    if isinstance(value, str | int):
        return str(value)
    message = "expected a string, an integer, true or false"
    raise Rejected("validation_failed", f"{name}: {message}", (Violation(f"/{name}", message),))
