"""The tools as they are shown: few, the same each time, each a route of that name, and none that its caller may not use."""

import re
from functools import cache
from typing import Any

import msgspec
import pytest

from ahplat.api.call import Principal
from ahplat.api.route import Route
from ahplat.api.routes import ROUTES
from ahplat.mcp import schemas
from ahplat.mcp.toolbox import Toolbox
from ahplat.mcp.tools import TOOLS, Tool
from tests.api.site import Site, Tenant
from tests.mcp.speaking import Agent

BY_ID = {route.id: route for route in ROUTES}
EACH = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
ALL = Principal(scopes=frozenset({"admin"}))
AT_MOST = 40


@cache
def shown_by_name() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in Toolbox(ROUTES).shown_to(ALL)}


def shown(tool: Tool) -> dict[str, Any]:
    return shown_by_name()[tool.name]


def route_of(tool: Tool) -> Route:
    return BY_ID[tool.name]


def test_there_are_not_more_than_a_model_can_hold_in_its_head() -> None:
    assert len(TOOLS) <= AT_MOST
    assert len({tool.name for tool in TOOLS}) == len(TOOLS)


@EACH
def test_a_tool_is_a_route_of_its_name_that_a_key_opens(tool: Tool) -> None:
    assert route_of(tool).auth in ("key", "key_or_operator")


@EACH
def test_a_name_is_one_that_every_client_takes(tool: Tool) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", tool.name)


@EACH
def test_a_description_is_whole_sentences_and_not_long(tool: Tool) -> None:
    assert re.match(r"[A-Z]", tool.description) and tool.description.endswith(".")
    assert 30 < len(tool.description) < 450


@EACH
def test_a_description_names_only_tools_and_arguments_that_there_are(tool: Tool) -> None:
    words = set(re.findall(r"\b[a-z]+_[a-z_]+\b", tool.description))
    arguments = schemas.arguments_of(tool, route_of(tool))["properties"].keys()
    answered = msgspec.json.encode(schemas.result_of(tool, route_of(tool))).decode()
    unknown = words - {one.name for one in TOOLS} - arguments - {word for word in words if f'"{word}"' in answered}
    assert not unknown - {"circuit_open", "purged_at"}


@EACH
def test_all_four_hints_are_set_and_say_what_the_route_is(tool: Tool) -> None:
    route, hints = route_of(tool), shown(tool)["annotations"]
    assert hints.keys() == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
    assert hints["readOnlyHint"] == (route.method == "GET")
    assert hints["destructiveHint"] == route.destroys
    assert hints["idempotentHint"] == (route.method in ("GET", "PUT", "PATCH", "DELETE"))
    assert not (hints["readOnlyHint"] and hints["destructiveHint"])


@EACH
def test_what_destroys_asks_for_a_name_and_nothing_else_does(tool: Tool) -> None:
    properties = shown(tool)["inputSchema"]["properties"]
    assert ("confirm" in properties) == route_of(tool).destroys == bool(tool.confirm)
    if tool.confirm:
        reader = BY_ID[tool.confirm]
        assert reader.method == "GET" and set(reader.segments) <= set(route_of(tool).segments)
        assert "name" in reader.answer.__struct_fields__


@EACH
def test_a_command_takes_a_key_and_a_dry_run_and_a_read_does_not(tool: Tool) -> None:
    route, properties = route_of(tool), shown(tool)["inputSchema"]["properties"]
    for name in ("idempotency_key", "dry_run", "if_match"):
        assert (name in properties) == route.is_command
    assert ("wait_s" in properties) == route.waits


@EACH
def test_a_tool_can_be_asked_about_then_where_its_route_can(tool: Tool) -> None:
    assert ("as_of" in shown(tool)["inputSchema"]["properties"]) == route_of(tool).as_of


@EACH
def test_a_tool_takes_what_its_route_takes(tool: Tool) -> None:
    route, schema = route_of(tool), shown(tool)["inputSchema"]
    taken = set(schema["properties"])
    wanted = {*route.segments, *(route.query.__struct_fields__ if route.query else ())}
    wanted |= set(getattr(route.body, "__struct_fields__", ("values",) if route.body else ()))
    own = {"idempotency_key", "dry_run", "if_match", "wait_s", "confirm", "after", "as_of"}
    assert taken - own == wanted - schemas.HIDDEN - own
    assert set(route.segments) <= set(schema.get("required", ()))


@EACH
def test_an_input_schema_is_an_object_that_takes_nothing_else(tool: Tool) -> None:
    schema = shown(tool)["inputSchema"]
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert set(schema.get("required", ())) <= schema["properties"].keys()


@EACH
def test_every_argument_says_what_it_means(tool: Tool) -> None:
    properties = shown(tool)["inputSchema"]["properties"]
    assert not [name for name, shape in properties.items() if not shape.get("description")]


@EACH
def test_an_output_schema_is_an_object_in_both_eras(tool: Tool) -> None:
    assert shown(tool)["outputSchema"]["type"] == "object"


@EACH
def test_patterns_are_those_of_json_schema(tool: Tool) -> None:
    assert not re.search(r"\\\\[AZ]", msgspec.json.encode(shown(tool)).decode())


@EACH
def test_what_a_schema_refers_to_is_in_it(tool: Tool) -> None:
    for schema in (shown(tool)["inputSchema"], shown(tool)["outputSchema"]):
        text = msgspec.json.encode(schema).decode()
        assert set(re.findall(r'"#/\$defs/([^"]+)"', text)) == set(schema.get("$defs", {}))


@EACH
def test_what_tells_how_it_went_is_a_tool_that_takes_these_arguments(tool: Tool) -> None:
    if tool.look is None:
        return
    reader = BY_ID[tool.look.tool]
    assert reader.id in {one.name for one in TOOLS}
    assert tool.look.ids.keys() == set(reader.segments)
    assert not tool.look.wait or "wait" in reader.query.__struct_fields__


def test_the_list_is_the_same_in_every_process() -> None:
    first, again = (msgspec.json.encode(Toolbox(ROUTES).shown_to(ALL)) for _ in range(2))
    assert first == again
    assert [one["name"] for one in msgspec.json.decode(first)] == [tool.name for tool in TOOLS]


def test_the_list_is_small_enough_to_be_read() -> None:
    shorn = [{key: one[key] for key in ("name", "description", "inputSchema")} for one in Toolbox(ROUTES).shown_to(ALL)]
    assert len(msgspec.json.encode(shorn)) < 60_000


@pytest.mark.asyncio(loop_scope="module")
async def test_the_list_is_the_same_for_every_request_and_for_both_eras(acme: Tenant) -> None:
    agent = Agent(acme)
    first, again = [(await agent.modern("tools/list")).result["tools"] for _ in range(2)]
    assert first == again == (await agent.legacy("tools/list")).result["tools"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_that_may_only_read_sees_tools_that_only_read(site: Site, acme: Tenant) -> None:
    tools = await Agent(await site.another_key(acme, scopes=["read"])).tools()
    assert {"get_service", "read_logs"} <= tools.keys()
    assert all(tool["annotations"]["readOnlyHint"] for tool in tools.values())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_that_may_deploy_sees_all_but_what_is_for_admins(site: Site, acme: Tenant) -> None:
    tools = await Agent(await site.another_key(acme, scopes=["deploy"])).tools()
    missing = {tool.name for tool in TOOLS} - tools.keys()
    assert missing == {tool.name for tool in TOOLS if route_of(tool).scope == "admin"} and missing


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_that_is_for_a_service_sees_what_is_about_a_service(site: Site, acme: Tenant) -> None:
    service, other = await acme.service(), await acme.service()
    agent = Agent(await site.another_key(acme, scopes=["deploy"], service_id=service["id"]))
    tools = await agent.tools()
    assert {"deploy_service", "read_logs", "get_whoami"} <= tools.keys()
    assert not {"create_service", "list_databases", "create_key"} & tools.keys()
    assert (await agent.done("get_service", service_id=service["id"]))["name"] == service["name"]
    assert (await agent.refused("get_service", service_id=other["id"]))["code"] == "forbidden_scope"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_tool_that_a_key_does_not_see_is_refused_to_it_all_the_same(site: Site, acme: Tenant) -> None:
    agent = Agent(await site.another_key(acme, scopes=["read"]))
    problem = await agent.refused("create_service", name="web", image="web:1")
    assert problem["code"] == "forbidden_scope" and problem["status"] == 403
    assert (await acme.get("/v1/services")).json == []
