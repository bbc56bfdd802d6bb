"""What the routes say of their answers, held against every answer that a test gets."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from ahplat.api.codes import codes_of
from ahplat.api.plans import Plan
from ahplat.api.problems import CONTENT_TYPE, PROBLEMS
from ahplat.api.route import Route, Tree
from ahplat.api.routes import ROUTES

_TREE = Tree(ROUTES)
_OF_NO_ROUTE = {"not_found", "method_not_allowed", "uri_too_long", "bad_request", "https_required", "headers_too_large"}


def route_of(method: str, path: str) -> Route | None:
    """The route that serves a request, None where there is no such path or method."""
    found = _TREE.find(path.partition("?")[0])
    return found[0].get("GET" if method == "HEAD" else method) if found else None


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Asserts that an answer is one that the route's row names."""
    route = route_of(method, path)
    kind = headers.get("Content-Type", "").partition(";")[0]
    about = f"{method} {path} answered {status} {kind} {body[:200]!r}"
    if kind == CONTENT_TYPE:
        if method != "HEAD":
            _check_problem(route, status, msgspec.json.decode(body)["code"], about)
    elif route and route.is_command and body.startswith(b'{"dry_run":true,'):
        assert status == HTTPStatus.OK, about
        msgspec.json.decode(body, type=Plan)
    elif status == HTTPStatus.NOT_MODIFIED:
        assert route and route.tagged, about
    else:
        _check_success(route, method, status, headers, kind, about)


def _check_problem(route: Route | None, status: int, code: str, about: str) -> None:
    assert status == PROBLEMS[code].status, about
    assert code in (codes_of(route) if route else _OF_NO_ROUTE), about


def _check_success(
    route: Route | None, method: str, status: int, headers: Mapping[str, str], kind: str, about: str
) -> None:
    assert route, about
    assert status in (route.status, route.other_status, *route.faults), about
    kinds = {
        "": status == HTTPStatus.NO_CONTENT,
        "application/json": route.answer is not None,
        "text/plain": route.text,
        "text/event-stream": route.events is not None,
    }
    assert kinds.get(kind), about
    is_tagged = route.versioned or (route.tagged and kind == "application/json" and "Cache-Control" not in headers)
    assert ("ETag" in headers) == is_tagged or method == "HEAD", f"{about} with ETag {headers.get('ETag')}"
    assert route.waits or "Preference-Applied" not in headers, about
    assert route.is_command or "Idempotency-Replayed" not in headers, about
