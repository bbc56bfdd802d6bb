"""One operation of the OpenAPI document for each row of the route table."""

from http import HTTPStatus
from inspect import cleandoc, getmodule
from typing import Any

import msgspec

from ahplat.api.codes import codes_of
from ahplat.api.query import AsOf
from ahplat.api.responses import Json, responses_of
from ahplat.api.route import Route
from ahplat.api.schemas import Schema, example, portable
from ahplat.api.segments import SEGMENTS

_STRING: Schema = {"type": "string"}


def _header(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


_AGENT = "^[A-Za-z0-9._:/+-]{1,64}$"
PARAMETERS: Json = {
    "request_id": _header(
        "X-Request-Id", "a name of yours for this request: 1–64 of A-Z a-z 0-9 . _ -; any other is replaced"
    ),
    "idempotency_key": _header(
        "Idempotency-Key",
        "makes a repeat safe: the same key with the same request gets the first answer again, for good",
        pattern='^([!#-~][!-~]{0,127}|"[ !#-\\[\\]-~]{1,128}")$',
    ),
    "if_match": _header("If-Match", "the ETag that the resource was read with: 412 where it has changed since"),
    "if_none_match": _header("If-None-Match", "an ETag: 304 where the resource is still that"),
    "prefer": _header(
        "Prefer", "`handling=strict` refuses fields that are not known (RFC 7240)", examples=["handling=strict"]
    ),
    "prefer_wait": _header(
        "Prefer",
        "`wait=N` answers once what it began has ended, or after N seconds (at most 60); `handling=strict` refuses"
        " fields that are not known (RFC 7240)",
        examples=["wait=30"],
    ),
    "min_position": {
        "name": "min_position",
        "in": "query",
        "description": "answer from this position of the log on: the Event-Position of your last command",
        "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    },
    "as_of": {
        "name": "as_of",
        "in": "query",
        "description": "answer as it was right after this position of the log, or at this time",
        "schema": portable(msgspec.json.schema(AsOf)["$defs"]["AsOf"]["properties"]["as_of"]),
    },
    "dry_run": {
        "name": "dry_run",
        "in": "query",
        "description": "only say what it would do: the answer is 200 with a Plan, and nothing is done",
        "schema": {"type": "boolean", "default": False},
    },
    "agent_name": _header("X-Agent-Name", "what the agent calls itself, for the log", pattern=_AGENT),
    "agent_run": _header("X-Agent-Run", "what its run is called, for the log", pattern=_AGENT),
    "last_event_id": _header("Last-Event-ID", "go on after the event with this id", pattern="^[0-9.]*$"),
}
_SECURITY: dict[str, list[str]] = {  # the schemes of which one is wanted; "" for none at all
    "none": [],
    "bootstrap": ["bootstrap"],
    "registration": ["bootstrap"],
    "key": ["key"],
    "operator": ["operator"],
    "key_or_operator": ["key", "operator"],
    "metrics": ["operator", ""],  # with --dev nobody needs it
}


def tag_of(route: Route) -> tuple[str, str]:
    """(name, description) of the group that a route stands in: its module's."""
    module = getmodule(route.handler)
    assert module
    return module.__name__.rpartition(".")[2], cleandoc(module.__doc__ or "").partition("\n")[0]


def texts_of(route: Route) -> tuple[str, str]:
    """(summary, description), as the handler's docstring has them."""
    summary, _, rest = cleandoc(route.handler.__doc__ or "").partition("\n")
    return summary.rstrip("."), rest.strip() or summary


def operation_of(route: Route, shapes: dict[str, Schema], schemas: dict[str, Schema], has_items: bool) -> Json:
    """The operation of a row. `shapes` are the schemas of its body, answer and events, `schemas` what they refer to."""
    summary, description = texts_of(route)
    found: Json = {
        "operationId": route.id,
        "summary": summary,
        "description": description,
        "tags": [tag_of(route)[0]],
        "security": _security(route),
        "parameters": parameters_of(route),
        "responses": responses_of(route, shapes, schemas, has_items),
        "x-scope": route.scope if route.auth in ("key", "key_or_operator") else None,
        "x-idempotent": route.method != "POST" or route.asks,
        "x-idempotency-key": route.is_command,
        "x-destructive": route.destroys,
        "x-codes": sorted(codes_of(route)),
    }
    if "body" in shapes:
        body = {"schema": shapes["body"], "example": example(shapes["body"], schemas, whole=False)}
        found["requestBody"] = {
            "required": bool(_needs(shapes["body"], schemas)),
            "content": {"application/json": body} | ({"application/gzip": {"schema": {}}} if route.archive else {}),
        }
    return {key: value for key, value in found.items() if value is not None}


def _security(route: Route) -> list[Json]:
    return [({scheme: [route.scope] if scheme == "key" else []} if scheme else {}) for scheme in _SECURITY[route.auth]]


def _needs(schema: Schema, schemas: dict[str, Schema]) -> Any:
    whole = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return whole.get("required") or whole.get("minProperties")


def parameters_of(route: Route) -> list[Json]:
    """Those in the path, those in the query, and those in the header."""
    found = [_in_path(name) for name in route.segments]
    for query in (route.query, route.archive):
        if query is not None:
            _, parts = msgspec.json.schema_components([query])
            found += [_in_query(name, inner) for name, inner in parts[query.__name__]["properties"].items()]
    return found + [{"$ref": f"#/components/parameters/{name}"} for name in _shared(route)]


def _in_path(name: str) -> Json:
    segment = SEGMENTS[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": segment.meaning,
        "schema": portable(msgspec.json.schema(segment.type)),
    }


def _in_query(name: str, inner: Schema) -> Json:
    schema = portable(inner)
    description = schema.pop("description", None)
    return {"name": name, "in": "query", "schema": schema} | ({"description": description} if description else {})


def _shared(route: Route) -> list[str]:
    """The names of the parameters that all routes of a kind have."""
    wanted = {
        "min_position": route.method == "GET" and not route.early,
        "as_of": route.as_of,
        "dry_run": route.can_be_dry,
        "idempotency_key": route.is_command,
        "if_match": route.is_command and route.status != HTTPStatus.CREATED,
        "if_none_match": route.tagged and route.method == "GET",
        "prefer_wait": route.waits,
        "prefer": route.body is not None and not route.waits,
        "last_event_id": route.events is not None,
        "agent_name": route.is_command,
        "agent_run": route.is_command,
        "request_id": True,
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]
