"""The OpenAPI document, made of the route table, the structs that serve and the list of problems.

In 3.1 for tools, in 3.2 for who wants to know what is in a stream: `itemSchema` is new there. What the server does not do
is not in it, and what is in it the server does: the tests hold every answer against it.
"""

from typing import Any

from ahplat.api.operations import PARAMETERS, operation_of, tag_of
from ahplat.api.plans import Plan
from ahplat.api.problems import PROBLEMS
from ahplat.api.responses import HEADERS, Json, ProblemDetails, components
from ahplat.api.route import Route
from ahplat.api.schemas import Schema, schemas_of
from ahplat.version import VERSION

ABOUT = """\
A platform for one server: it runs services, databases and builds, each tenant's apart, and keeps all that happened in a log.

- Send `Authorization: Bearer <api_key>`. `get_whoami` says who you are, what you may do, and what is left.
- Times are unix seconds, ids 32 hexadecimal digits, lists bare arrays, newest first.
- `?dry_run=true` on a command says what it would append, what would be gone and what the quotas are after it: nothing is done.
- Send an `Idempotency-Key` with each command: after a lost answer, the same request with the same key is safe.
- A command answers once it is in the log; what it set in motion goes on. `Prefer: wait=30` waits for that, and so does a
  GET with `?wait=<status>&timeout=<seconds>`.
- Whatever is not 2xx or 304 is application/problem+json: decide on `code` and `retryable`, read `detail`, and do what
  `remediation` says. `/problems/{code}` explains each.
- `?as_of=<position or time>` on a read of a resource or a list answers as it was then; `explain_event` says why something
  happened: who asked for it, and all that it led to; `undo_event` undoes what its command did, or says why nothing does.
- `read_events` tells what happens as it happens, without a gap; `read_logs` and `read_build_logs` what programs say.
"""
SECURITY: Json = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "keyID.secret",
        "description": "an API key of a tenant; its scopes are read, deploy (and read), admin (and all)",
    },
    "bootstrap": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Bootstrap-Token",
        "description": "the operator's token, with which tenants are made; also as `bootstrap_token` in the body",
    },
    "operator": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Bootstrap-Token",
        "description": "the operator's token; on the server's own machine the socket operator.sock needs none",
    },
}
_PARTS = ("body", "answer", "events")


def document(routes: list[Route], version: str) -> Json:
    """The document in `version` 3.1.x or 3.2.x."""
    shapes, schemas = _shapes(routes)
    codes = sorted(PROBLEMS)
    problems, examples = components(codes)
    schemas["ProblemDetails"]["properties"]["code"]["enum"] = codes
    paths: dict[str, Json] = {}
    for route in routes:
        made = operation_of(route, shapes[route.id], schemas, version >= "3.2")
        paths.setdefault(route.path, {})[route.method.lower()] = made
    return {
        "openapi": version,
        "info": {
            "title": "ahplat",
            "version": VERSION,
            "summary": "A platform that agents operate",
            "description": ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in dict.fromkeys(map(tag_of, routes))],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": problems,
            "examples": examples,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": SECURITY,
        },
    }


def _shapes(routes: list[Route]) -> tuple[dict[str, dict[str, Schema]], dict[str, Schema]]:
    """(of each route by id the schemas of its parts, the components that they refer to)."""
    asked = [(route.id, part, getattr(route, part)) for route in routes for part in _PARTS]
    asked = [(id_, part, type_) for id_, part, type_ in asked if type_ is not None]
    types: list[Any] = [type_ for _, _, type_ in asked]
    found, schemas = schemas_of([*types, ProblemDetails, Plan])
    shapes: dict[str, dict[str, Schema]] = {route.id: {} for route in routes}
    for (id_, part, _), schema in zip(asked, found, strict=False):
        shapes[id_][part] = schema
    return shapes, schemas
