"""The OpenAPI document: valid, whole, and of this server."""

import json
from typing import Any

import msgspec
import openapi_spec_validator
import pytest

from ahplat.api.codes import codes_of
from ahplat.api.frames import PublicEvent
from ahplat.api.openapi import document
from ahplat.api.problems import PROBLEMS
from ahplat.api.route import Route
from ahplat.api.routes import ROUTES
from tests.api.contract import check, published, resolved, validator
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

EACH = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.id)
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def operation(route: Route) -> Any:
    return published()["paths"][route.path][route.method.lower()]


def place(route: Route) -> tuple[str, ...]:
    return "paths", route.path, route.method.lower()


@pytest.mark.parametrize("version", ["3.1.1", "3.2.0"])
async def test_it_is_valid(version: str) -> None:
    openapi_spec_validator.validate(json.loads(msgspec.json.encode(document(ROUTES, version))))


async def test_router_and_document_have_the_same_operations(site: Site) -> None:
    served = {(route.method, path) for path, methods in _walked(site.app.edge._tree._root, "") for route in methods}
    told = {(method.upper(), path) for path, item in published()["paths"].items() for method in item}
    assert {method.lower() for method, _ in told} <= METHODS
    assert {(method, _bare(path)) for method, path in told} == served


def _walked(node: dict[str, Any], path: str) -> list[tuple[str, list[Route]]]:
    """Every path of the router's tree, with its routes."""
    found = [(path or "/", list(node[""].values()))] if "" in node else []
    for segment, below in node.items():
        if segment:
            found += _walked(below, f"{path}/{segment}")
    return found


def _bare(path: str) -> str:
    return "/".join("{}" if segment.startswith("{") else segment for segment in path.split("/"))


@EACH
async def test_an_operation_says_all_that_there_is_to_say_of_a_route(route: Route) -> None:
    told = operation(route)
    assert told["operationId"] == route.id
    assert told["summary"] and told["description"]
    assert told["x-destructive"] == route.destroys
    assert told["x-codes"] == sorted(codes_of(route))
    assert {str(PROBLEMS[code].status) for code in codes_of(route)} <= told["responses"].keys()
    named = {parameter["name"] for parameter in map(resolved, told["parameters"])}
    assert named >= {*route.segments, *(route.query.__struct_fields__ if route.query else ())}
    assert ("Idempotency-Key" in named) == route.is_command
    assert ("as_of" in named) == route.as_of
    assert ("dry_run" in named) == (route.is_command or route.destroys)
    assert (told["security"] == []) == (route.auth == "none")


@EACH
async def test_every_example_is_one_of_what_it_stands_for(route: Route) -> None:
    told = operation(route)
    if route.body is not None:
        example = told["requestBody"]["content"]["application/json"]["example"]
        validator(*place(route), "requestBody", "content", "application/json", "schema").validate(example)
        msgspec.convert(example, route.body)
    if route.answer is not None:
        found = told["responses"][str(route.status)]["content"][route.media]["example"]
        validator(*place(route), "responses", str(route.status), "content", route.media, "schema").validate(found)


@pytest.mark.parametrize("code", PROBLEMS)
async def test_every_code_has_an_entry_with_an_example(code: str) -> None:
    name = f"Problem{PROBLEMS[code].status}"
    problem = published()["components"]["examples"][code]["value"]
    assert problem["code"] == code
    assert code in published()["components"]["responses"][name]["content"]["application/problem+json"]["examples"]
    validator("components", "responses", name, "content", "application/problem+json", "schema").validate(problem)


async def test_a_pattern_is_one_that_other_languages_have() -> None:
    assert "\\A" not in json.dumps(published()) and "\\Z" not in json.dumps(published())


async def test_3_2_says_what_is_in_a_stream() -> None:
    told = document(ROUTES, "3.2.0")["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    event = told["text/event-stream"]["itemSchema"]["properties"]["data"]
    assert event["contentSchema"] == {"$ref": f"#/components/schemas/{PublicEvent.__name__}"}
    assert "itemSchema" not in json.dumps(published())


async def test_it_is_served_to_everybody_with_a_tag(site: Site, acme: Tenant) -> None:
    for path, version in (("/openapi.json", "3.1.1"), ("/openapi-3.2.json", "3.2.0")):
        answer = await site.anybody.get(path)
        assert answer.status == 200
        assert answer.json == json.loads(msgspec.json.encode(document(ROUTES, version)))
        again = await site.anybody.get(path, If_None_Match=answer.headers["ETag"])
        assert (again.status, again.body) == (304, b"")


async def test_the_check_of_answers_finds_what_the_document_does_not_have() -> None:
    problem = json.dumps(published()["components"]["examples"]["name_taken"]["value"]).encode()
    kind, plain = {"Content-Type": "application/problem+json"}, {"Content-Type": "application/json"}
    tagged = plain | {"ETag": '"1.1"'}
    check("POST", "/v1/services", 409, kind, problem)
    check("GET", "/v1/services", 200, tagged, b"[]")
    for method, path, status, headers, body in (
        ("POST", "/v1/services", 400, kind, problem),
        ("POST", "/v1/services", 409, kind, problem.replace(b'"title"', b'"heading"')),
        ("POST", "/v1/services/x/reset", 409, kind, problem),
        ("GET", "/v1/services", 202, tagged, b"[]"),
        ("GET", "/v1/services", 200, {"Content-Type": "text/plain"}, b"[]"),
        ("GET", "/v1/services", 200, tagged, b"{}"),
        ("GET", "/v1/services", 200, tagged, b'[{"id":1}]'),
        ("GET", "/v1/services", 200, plain, b"[]"),
        ("GET", "/metrics", 304, {}, b""),
        ("GET", "/v2/services", 200, plain, b"[]"),
    ):
        with pytest.raises(AssertionError):
            check(method, path, status, headers, body)
