"""What a tool takes and gives, as JSON Schema (2020-12), from the same types that its route serves with.

Arguments are flat: the path's segments, the query, the fields of the body, then what every command takes. A result is an
object in both eras: what the route answers, or its rows under `items`, lines of a stream under `lines`; and beside them
where to go on.
"""

from collections.abc import Iterable
from typing import Any, get_origin

import msgspec
from msgspec import Struct

from ahplat import limits
from ahplat.api.plans import Plan
from ahplat.api.route import Route
from ahplat.api.schemas import Schema, portable
from ahplat.api.segments import SEGMENTS
from ahplat.mcp.tools import DEPLOYMENT, MEANINGS, Tool

HIDDEN = frozenset(
    {
        *("offset", "follow", "timestamps"),  # `next` says where to go on; nothing is followed here
        *("source_type", "git_url", "branch"),  # older clients' names of source_url and source_ref
    }
)
WHOLE = "values"  # the argument that is the whole body, where that has no fields of its own

KEY, DRY_RUN, IF_MATCH = "idempotency_key", "dry_run", "if_match"
WAIT, CONFIRM, AFTER, AS_OF = "wait_s", "confirm", "after", "as_of"
_OF_COMMANDS: dict[str, Schema] = {
    KEY: {
        "type": "string",
        "minLength": 1,
        "maxLength": limits.IDEMPOTENCY_KEY_CHARS,
        "description": "a word of your choice for this one command. Sent again with the same key and arguments it is not done"
        " again: you get the first answer. Without one, look before you repeat a call whose answer you did not see",
    },
    DRY_RUN: {
        "type": "boolean",
        "default": False,
        "description": "true: change nothing, and tell in `plan` what would happen",
    },
    IF_MATCH: {
        "type": "string",
        "description": "the `etag` of a plan: do it only if what it is about has not changed since",
    },
}
_WAIT: Schema = {
    "type": "integer",
    "minimum": 0,
    "maximum": limits.WAIT_S,
    "description": "seconds to wait for what it begins; by default none. It goes on by itself either way",
}
_AS_OF: Schema = {
    "type": "string",
    "description": "answer as it was then: right after a position of the log, or at a time such as 2026-01-31T12:00:00Z",
}
_AFTER: Schema = {"type": "string", "description": "go on from here: what `next` of the last answer says"}
_NEXT: Schema = {
    "type": "object",
    "description": "the call that goes on from here",
    "properties": {"tool": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["tool", "arguments"],
}
_COMMANDED: dict[str, Schema] = {
    "event_position": {"type": "integer", "description": "where its events end in the log"},
    "replayed": {"type": "boolean", "description": "true: the first answer to this idempotency_key"},
    "next": _NEXT,
}

_DEPLOYING: dict[str, Schema] = {
    "service_id": {"type": "string"},
    "deployment_id": {"type": "string", "description": "of the deployment that it began; absent where it began none"},
}


def arguments_of(tool: Tool, route: Route) -> Schema:
    """The input schema of a tool: an object that takes no other arguments than those it names."""
    properties: dict[str, Schema] = {}
    required, defs = list(route.segments), dict[str, Schema]()
    for name in route.segments:
        segment = SEGMENTS[name]
        properties[name] = {**_inline(segment.type, defs), "description": segment.meaning}
    for type_ in (route.query, route.body):
        _add(type_, properties, required, defs)
    if route.events is not None and not route.answer:
        properties[AFTER] = _AFTER
    if route.as_of:
        properties[AS_OF] = _AS_OF
    if route.is_command:
        properties |= _OF_COMMANDS
    if route.waits:
        properties[WAIT] = _WAIT
    if tool.confirm:
        properties[CONFIRM] = {
            "type": "string",
            "description": f"the name that {tool.confirm} tells, to show that this one is meant; not wanted with dry_run",
        }
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {}) | ({"$defs": defs} if defs else {})


def _add(type_: Any, properties: dict[str, Schema], required: list[str], defs: dict[str, Schema]) -> None:
    """Adds the fields of a struct; anything else that a body can be is one argument."""
    if type_ is None:
        return
    if not (isinstance(type_, type) and issubclass(type_, Struct)):
        properties[WHOLE] = {**_inline(type_, defs), "description": MEANINGS[WHOLE]}
        required.append(WHOLE)
        return
    found = _inline(type_, defs)
    for name, shape in found["properties"].items():
        if name not in HIDDEN:
            assert name not in properties, f"{name} is there twice"
            meaning = MEANINGS.get(name) if name == "cursor" or "description" not in shape else None
            properties[name] = _plain(shape) | ({"description": meaning} if meaning else {})
    required += [name for name in found.get("required", ()) if name not in HIDDEN]


def _plain(shape: Schema) -> Schema:
    """Without a default that is nothing: a model need not send it."""
    return {key: value for key, value in shape.items() if not (key == "default" and value in ("", {}, []))}


def _inline(type_: Any, defs: dict[str, Schema]) -> Schema:
    """A type's schema; what it refers to goes to `defs`, itself does not."""
    schema: Schema = portable(msgspec.json.schema(type_))
    found: dict[str, Schema] = schema.pop("$defs", {})
    if reference := schema.pop("$ref", None):
        schema = {**found.pop(reference.rpartition("/")[2]), **schema}
        schema.pop("title", None)
    defs |= found
    return schema


def result_of(tool: Tool, route: Route) -> Schema:
    """The output schema of a tool; what is refused is told beside it, as a problem."""
    defs: dict[str, Schema] = {}
    if route.answer is None and route.events is not None:
        schema = _lines(route, defs)
    elif get_origin(route.answer) is list:
        schema = _object({"items": _inline(route.answer, defs), "next": _NEXT}, ["items"])
    else:
        schema = _object({}, []) if route.answer is None else _inline(route.answer, defs)
        schema.pop("description", None)
    if route.is_command:
        schema = _commanded(schema, _DEPLOYING if tool.look is DEPLOYMENT else {}, defs)
    return schema | ({"$defs": defs} if defs else {})


def _lines(route: Route, defs: dict[str, Schema]) -> Schema:
    ended = {"type": "string", "description": "why nothing more will come; absent while more may"}
    lines = {"type": "array", "items": _inline(route.events, defs)}
    return _object({"lines": lines, "next": _NEXT, "ended": ended}, ["lines"])


def _commanded(schema: Schema, more: dict[str, Schema], defs: dict[str, Schema]) -> Schema:
    """A command's: what it answers and where that stands in the log, or a plan."""
    required = [*schema.get("required", ()), "event_position"]
    plan = {**_inline(Plan, defs), "description": "with dry_run: what would happen; nothing did"}
    properties = {**schema.get("properties", {}), **more, **_COMMANDED, "plan": plan}
    return _object(properties, []) | {"anyOf": [{"required": required}, {"required": ["plan"]}]}


def _object(properties: dict[str, Schema], required: Iterable[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}
