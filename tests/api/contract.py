"""The OpenAPI document held against every answer that a test gets: status, content type, header fields, body, code."""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

import jsonschema_rs
import msgspec

from ahplat.api.openapi import document
from ahplat.api.problems import CONTENT_TYPE
from ahplat.api.responses import HEADERS
from ahplat.api.route import Route, Tree
from ahplat.api.routes import ROUTES

_TREE = Tree(ROUTES)
_OF_NO_ROUTE = {"not_found", "method_not_allowed", "uri_too_long", "bad_request", "https_required", "headers_too_large"}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@cache
def published() -> Any:
    """The document as it is served."""
    return msgspec.json.decode(msgspec.json.encode(document(ROUTES, "3.1.1")))


def route_of(method: str, path: str) -> Route | None:
    """The route that serves a request, None where there is no such path or method."""
    found = _TREE.find(path.partition("?")[0])
    return found[0].get("GET" if method == "HEAD" else method) if found else None


@cache
def validator(*place: str) -> Any:
    """Of the schema at a place of the document."""
    node: Any = published()
    for step in place:
        node = resolved(node[step])
    return jsonschema_rs.validator_for({"$schema": _DRAFT, "components": published()["components"], **node})


def resolved(node: Any) -> Any:
    """What stands at the place that a reference names; of a schema the reference itself."""
    if "$ref" in node and "/schemas/" not in node["$ref"]:
        found = published()
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return found
    return node


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Asserts that an answer is one that the document has for its route."""
    route = route_of(method, path)
    kind = headers.get("Content-Type", "").partition(";")[0]
    about = f"{method} {path} answered {status} {kind} {body[:200]!r}"
    if route is None:
        assert kind == CONTENT_TYPE, about
        assert method == "HEAD" or msgspec.json.decode(body)["code"] in _OF_NO_ROUTE, about
        return
    place = ("paths", route.path, route.method.lower())
    operation = published()["paths"][route.path][route.method.lower()]
    assert str(status) in operation["responses"], about
    response = resolved(operation["responses"][str(status)])
    _check_headers(response, headers, about)
    if status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        assert not body, about
        return
    if status == route.bare_status:
        assert not body and not kind, about
        return
    assert kind in response["content"], about
    if kind != CONTENT_TYPE and method != "HEAD" and b'"dry_run":true' not in body:
        is_tagged = route.versioned or (route.tagged and kind == route.media and "Cache-Control" not in headers)
        assert ("ETag" in headers) == is_tagged, f"{about} with ETag {headers.get('ETag')}"
    if method == "HEAD" or not kind.endswith("json"):
        return
    found = msgspec.json.decode(body)
    assert kind != CONTENT_TYPE or found["code"] in operation["x-codes"], about
    faults = [
        f"{fault.instance_path}: {fault.message[:300]}"
        for fault in validator(*place, "responses", str(status), "content", kind, "schema").iter_errors(found)
    ]
    assert faults == [], about


def _check_headers(response: Any, headers: Mapping[str, str], about: str) -> None:
    for name in HEADERS:
        if name in headers:
            assert name in response["headers"] or name == "RateLimit", f"{about} with {name}"
            assert validator("components", "headers", name, "schema").is_valid(headers[name]), f"{about} with {name}"
