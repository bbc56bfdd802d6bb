"""The responses of operations, as the OpenAPI document has them: successes from the rows, problems from PROBLEMS."""

from collections import defaultdict
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ahplat.api.call import JSON
from ahplat.api.codes import codes_of
from ahplat.api.plans import Plan
from ahplat.api.problems import CONTENT_TYPE, PROBLEMS, Remediation, problem
from ahplat.api.route import LINKSET, Route
from ahplat.api.schemas import Schema, example
from ahplat.errors import Violation

Json = dict[str, Any]

EXAMPLE_ID = "019b76da9c007d3a8b5e6f7081920a1b"
_STRING: Schema = {"type": "string"}


class ProblemDetails(Struct, frozen=True):
    """What went wrong (RFC 9457). Decide on `code` and `retryable`; `remediation` says what to do, or to call, next.

    Some problems have further members, such as what a precondition expected.
    """

    type: str
    title: str
    status: int
    detail: str
    error: str
    code: str
    request_id: str
    retryable: bool
    remediation: Remediation
    violations: list[Violation] | UnsetType = UNSET
    retry_after_s: int | UnsetType = UNSET


HEADERS: Json = {
    "X-Request-Id": {"description": "names this request, also in the events that it led to", "schema": _STRING},
    "Event-Position": {
        "description": "where the command stands in the log: a read with this `min_position` sees it",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "ETag": {"description": "the resource's version, for If-Match and If-None-Match", "schema": _STRING},
    "Location": {"description": "of what was made", "schema": _STRING},
    "Idempotency-Replayed": {
        "description": "`true`: the key came before, this is the first answer again",
        "schema": {"const": "true"},
    },
    "Preference-Applied": {"description": "`wait=` as it was taken", "schema": _STRING},
    "Link": {"description": '`rel="next"`: where the list goes on; absent at its end', "schema": _STRING},
    "Retry-After": {
        "description": "seconds until it is worth asking again",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"description": "the scheme that is wanted", "schema": _STRING},
    "RateLimit": {"description": "requests that are left, and until when (draft-ietf-httpapi-ratelimit-headers)"}
    | {"schema": _STRING},
    "RateLimit-Policy": {"description": "how many requests, in how many seconds", "schema": _STRING},
    "X-RateLimit-Limit": {"description": "the same number, for older clients", "schema": _STRING},
    "X-RateLimit-Remaining": {"description": "requests that are left", "schema": _STRING},
    "Allow": {"description": "the methods that there are", "schema": _STRING},
}
_LIMITED = ("RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining")
_OF_STATUS = {
    401: "WWW-Authenticate",
    405: "Allow",
    409: "Retry-After",
    412: "ETag",
    429: "Retry-After",
    503: "Retry-After",
    504: "Retry-After",
}


def components(codes: list[str]) -> tuple[Json, Json]:
    """(responses by name, examples by code): one response for each status that a problem has."""
    by_status = defaultdict(list)
    for code in codes:
        by_status[PROBLEMS[code].status].append(code)
    examples = {code: {"summary": PROBLEMS[code].title, "value": _body(code)} for code in codes}
    return {_name(status): _problems(status, found) for status, found in sorted(by_status.items())}, examples


def _name(status: int) -> str:
    return f"Problem{status}"


def _body(code: str) -> Any:
    violations = (Violation("/name", "expected, but it is missing"),) if code == "validation_failed" else ()
    _, body = problem(code, PROBLEMS[code].title, request_id=EXAMPLE_ID, violations=violations)
    return msgspec.json.decode(body)


def _problems(status: int, codes: list[str]) -> Json:
    shape = {
        "$ref": "#/components/schemas/ProblemDetails",
        "properties": {"status": {"const": status}, "code": {"enum": codes}},
    }
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
        "headers": _headers("X-Request-Id", *_LIMITED, _OF_STATUS.get(status, "")),
        "content": {CONTENT_TYPE: {"schema": shape, "examples": examples}},
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names if name}


def responses_of(route: Route, shapes: dict[str, Schema], schemas: dict[str, Schema], has_items: bool) -> Json:
    """All responses of an operation by status. `shapes` are of its row's `answer` and `events`."""
    found: Json = {}
    for status in filter(None, (route.status, route.other_status)):
        found[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "headers": _headers(*_success_headers(route)),
            **({"content": content} if (content := _content(route, shapes, schemas, has_items)) else {}),
        }
    if route.bare_status:
        phrase = HTTPStatus(route.bare_status).phrase
        found[str(route.bare_status)] = {"description": phrase, "headers": _headers("X-Request-Id", *_LIMITED)}
    if route.is_command:
        _add_plan(found)
    if route.tagged and route.method == "GET":
        found["304"] = {"description": "it is what If-None-Match says", "headers": _headers(*_success_headers(route))}
    for status in sorted({PROBLEMS[code].status for code in codes_of(route)}):
        found[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    for status in route.faults:
        found[str(status)] = _own_fault(status, shapes["answer"])
    return found


def _own_fault(status: int, shape: Schema) -> Json:
    """Of what is refused in the form of a success, where it was not refused before that."""
    problem_ = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {
        "description": f"{HTTPStatus(status).phrase}: in the form of a success, or a problem",
        "headers": _headers("X-Request-Id", *_LIMITED),
        "content": {JSON: {"schema": shape}, CONTENT_TYPE: problem_},
    }


def _add_plan(found: Json) -> None:
    """What `dry_run=true` is answered: always 200, whatever a success is otherwise."""
    told = found.setdefault("200", {"description": "what it would do, with `dry_run=true`", "content": {}})
    told["headers"] = _headers("X-Request-Id", *_LIMITED, "ETag") | told.get("headers", {})
    plan = {"$ref": f"#/components/schemas/{Plan.__name__}"}
    of_json = told["content"].setdefault(JSON, {})
    of_json["schema"] = {"anyOf": [of_json["schema"], plan]} if "schema" in of_json else plan


def _success_headers(route: Route) -> list[str]:
    wanted = {
        "X-Request-Id": True,
        "Event-Position": route.is_command or route.records,
        "Idempotency-Replayed": route.is_command,
        "ETag": route.tagged,
        "Location": route.is_command and route.status in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED),
        "Preference-Applied": route.waits,
        "Link": route.is_paged or route.media == LINKSET or (route.events is not None and route.answer is not None),
        **dict.fromkeys(_LIMITED, route.auth in ("key", "key_or_operator")),
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _content(route: Route, shapes: dict[str, Schema], schemas: dict[str, Schema], has_items: bool) -> Json:
    content: Json = {}
    if "answer" in shapes:
        content[route.media] = {"schema": shapes["answer"], "example": example(shapes["answer"], schemas)}
    if route.text:
        content["text/plain"] = {"schema": _STRING}
    if route.html:
        content["text/html"] = {"schema": _STRING}
    if "events" in shapes:
        content["text/event-stream"] = {"itemSchema": _event(shapes["events"])} if has_items else {"schema": _STRING}
    return content


def _event(data: Schema) -> Schema:
    """One server-sent event (WHATWG HTML, 9.2): its data is JSON, unless it is text anyway."""
    text = (
        data
        if data.get("type") == "string"
        else {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": data,
        }
    )
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "send it as Last-Event-ID to go on after this one"},
            "event": {"type": "string"},
            "data": text,
            "retry": {"type": "integer", "minimum": 0},
        },
    }
