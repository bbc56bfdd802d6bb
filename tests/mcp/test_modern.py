"""The rules of MCP 2026-07-28, one by one: each request stands alone, and its header fields say what its body says."""

import asyncio
from typing import Any

import pytest

from tests.api.site import Site, Tenant
from tests.mcp.speaking import CAPABILITIES_KEY, LEGACY, META, MODERN, OLDER, VERSION_KEY, Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISMATCH, UNSUPPORTED, NO_METHOD, INVALID = (400, -32020), (400, -32022), (404, -32601), (400, -32602)


async def test_discover_tells_the_versions_the_capabilities_and_how_to_begin(acme: Tenant) -> None:
    result = (await Agent(acme).modern("server/discover")).result
    assert result["supportedVersions"] == [MODERN, LEGACY, OLDER]
    assert result["capabilities"] == {"tools": {}}
    assert "whoami" in result["instructions"]
    assert result["ttlMs"] > 0 and result["cacheScope"] == "public"


@pytest.mark.parametrize("method", ["server/discover", "tools/list"])
async def test_every_result_says_its_type_and_who_answers(acme: Tenant, method: str) -> None:
    result = (await Agent(acme).modern(method)).result
    assert result["resultType"] == "complete"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "ahplat"


async def test_a_tools_result_says_its_type_and_may_not_be_kept(acme: Tenant) -> None:
    result = await Agent(acme).use("get_whoami")
    assert result["resultType"] == "complete" and "ttlMs" not in result


async def test_the_list_of_tools_may_be_kept_by_its_caller_only(acme: Tenant) -> None:
    result = (await Agent(acme).modern("tools/list")).result
    assert result["ttlMs"] == 300_000 and result["cacheScope"] == "private"


async def test_no_session_is_given_and_one_that_is_sent_is_ignored(acme: Tenant) -> None:
    said = await Agent(acme).modern("tools/list", Mcp_Session_Id="whatever")
    assert said.result and "Mcp-Session-Id" not in said.headers


@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method"])
async def test_a_header_field_that_is_missing_is_a_mismatch(acme: Tenant, name: str) -> None:
    said = await Agent(acme).modern("tools/list", without=(name,))
    assert said.fault == MISMATCH
    assert name in said.json["error"]["message"] and said.json["id"]


async def test_without_any_sign_of_a_version_a_request_is_held_to_the_modern_rules(acme: Tenant) -> None:
    assert (await Agent(acme).post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).fault == MISMATCH


@pytest.mark.parametrize(
    "fields",
    [
        {"MCP_Protocol_Version": LEGACY},
        {"Mcp_Method": "tools/call"},
        {"Mcp_Method": "TOOLS/LIST"},
        {"Mcp_Method": "tools/list\ntools/list"},
        {"MCP_Protocol_Version": f"{MODERN}\n{MODERN}"},
    ],
    ids=["version", "method", "case", "method twice", "version twice"],
)
async def test_a_header_field_that_says_something_else_is_a_mismatch(acme: Tenant, fields: dict[str, str]) -> None:
    assert (await Agent(acme).modern("tools/list", **fields)).fault == MISMATCH


@pytest.mark.parametrize("name", ["list_services", "=?base64?!?=", "=?base64?/w==?="])
async def test_a_tools_name_in_the_header_has_to_be_the_bodys(acme: Tenant, name: str) -> None:
    said = await Agent(acme).modern("tools/call", {"name": "get_whoami", "arguments": {}}, Mcp_Name=name)
    assert said.fault == MISMATCH


async def test_a_tools_name_is_wanted_in_the_header(acme: Tenant) -> None:
    said = await Agent(acme).modern("tools/call", {"name": "get_whoami", "arguments": {}}, without=("Mcp-Name",))
    assert said.fault == MISMATCH


@pytest.mark.parametrize("method", ["resources/read", "prompts/get"])
async def test_names_of_what_there_is_none_of_are_held_against_the_header_first(acme: Tenant, method: str) -> None:
    params = {"uri": "file:///x", "name": "x"}
    assert (await Agent(acme).modern(method, params)).fault == MISMATCH
    named = {"resources/read": "file:///x", "prompts/get": "x"}[method]
    assert (await Agent(acme).modern(method, params, Mcp_Name=named)).fault == NO_METHOD


async def test_a_name_in_base64_is_read_before_it_is_compared(acme: Tenant) -> None:
    params = {"name": "get_whoami", "arguments": {}}
    said = await Agent(acme).modern("tools/call", params, Mcp_Name="=?base64?Z2V0X3dob2FtaQ==?=")
    assert said.result["isError"] is False


async def test_a_version_that_is_not_spoken_is_answered_with_those_that_are(acme: Tenant) -> None:
    said = await Agent(acme).modern(
        "tools/list", meta=META | {VERSION_KEY: "1900-01-01"}, MCP_Protocol_Version="1900-01-01"
    )
    assert said.fault == UNSUPPORTED
    assert said.json["error"]["data"] == {"supported": [MODERN, LEGACY, OLDER], "requested": "1900-01-01"}


async def test_a_version_that_only_the_header_names_and_nobody_speaks_is_unsupported(acme: Tenant) -> None:
    said = await Agent(acme).modern("tools/list", meta={}, MCP_Protocol_Version="1900-01-01")
    assert said.fault == UNSUPPORTED


@pytest.mark.parametrize(
    "meta",
    [{}, {VERSION_KEY: MODERN}, {CAPABILITIES_KEY: {}}, META | {CAPABILITIES_KEY: []}, META | {VERSION_KEY: 7}],
    ids=["nothing", "no capabilities", "no version", "capabilities of another type", "version of another type"],
)
async def test_what_every_request_has_to_carry_is_an_invalid_parameter_where_it_is_missing(
    acme: Tenant, meta: dict[str, Any]
) -> None:
    assert (await Agent(acme).modern("tools/list", meta=meta)).fault == INVALID


@pytest.mark.parametrize("method", ["ping", "initialize", "resources/list", "subscriptions/listen", "tools/LIST", ""])
async def test_an_unknown_method_is_404_with_a_json_rpc_error(acme: Tenant, method: str) -> None:
    said = await Agent(acme).modern(method)
    assert said.fault == NO_METHOD and "server/discover" in said.json["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_there_is_only_post(acme: Tenant, method: str) -> None:
    answer = await acme.ask(method, "/mcp", headers={"MCP-Protocol-Version": MODERN})
    assert answer.status == 405 and answer.code == "method_not_allowed"
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://evil.localhost", "https://localhost.evil.example", "http://[", ""],
)
async def test_a_page_of_another_site_is_forbidden(acme: Tenant, origin: str) -> None:
    said = await Agent(acme).modern("tools/list", Origin=origin)
    assert said.status == 403 and said.json["code"] == "origin_forbidden"


@pytest.mark.parametrize("origin", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:3000", "{own}"])
async def test_a_page_of_this_machine_or_of_this_server_is_not(site: Site, acme: Tenant, origin: str) -> None:
    origin = origin.replace("{own}", f"https://api.{site.config.domain}")
    assert (await Agent(acme).modern("tools/list", Origin=origin)).result


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", -32600),
        (b"{", -32700),
        (b"\xff", -32700),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}', -32700),
        (b"[]", -32600),
        ([{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}], -32600),
        (b"7", -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "x"}, -32600),
        ({"id": 1, "method": "x"}, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "x"}, -32600),
        ({"jsonrpc": "2.0", "id": True, "method": "x"}, -32600),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "x"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 7}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "params": []}, -32602),
    ],
)
async def test_what_is_not_one_request_is_told_so(acme: Tenant, raw: Any, code: int) -> None:
    said = await Agent(acme).post(raw, {"MCP-Protocol-Version": MODERN, "Mcp-Method": "x"})
    assert said.fault == (400, code)


async def test_an_error_carries_the_requests_id_where_it_could_be_read(acme: Tenant) -> None:
    fields = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "x"}
    said = await Agent(acme).post({"jsonrpc": "2.0", "id": "seven", "method": "x", "params": {"_meta": META}}, fields)
    assert said.fault == NO_METHOD and said.json["id"] == "seven"
    assert "id" not in (await Agent(acme).post(b"{", fields)).json


@pytest.mark.parametrize("fields", [{"MCP-Protocol-Version": MODERN}, {}], ids=["with a version", "without"])
async def test_a_notification_is_accepted_without_a_word(acme: Tenant, fields: dict[str, str]) -> None:
    said = await Agent(acme).post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {}}, fields)
    assert (said.status, said.body) == (202, b"") and said.headers.get("Content-Type") in (
        None,
        "application/octet-stream",
    )


async def test_a_notification_in_a_version_that_is_not_spoken_is_refused(acme: Tenant) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    assert (await Agent(acme).post(note, {"MCP-Protocol-Version": "1900-01-01"})).fault == UNSUPPORTED


@pytest.mark.parametrize(
    "params", [{}, {"name": 7}, {"name": "get_whoami", "arguments": []}, {"name": "get_whoami", "arguments": "x"}]
)
async def test_a_call_that_is_none_is_an_invalid_parameter(acme: Tenant, params: dict[str, Any]) -> None:
    assert (await Agent(acme).modern("tools/call", params)).fault == INVALID


async def test_a_tool_that_there_is_not_is_an_invalid_parameter(acme: Tenant) -> None:
    assert (await Agent(acme).modern("tools/call", {"name": "make_tea"})).fault == INVALID


async def test_all_tools_come_at_once_so_there_is_no_cursor_to_go_on_from(acme: Tenant) -> None:
    assert "nextCursor" not in (await Agent(acme).modern("tools/list")).result
    assert (await Agent(acme).modern("tools/list", {"cursor": "x"})).fault == INVALID


async def test_requests_do_not_wait_for_each_other(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    service = await acme.service(image="slow:1")
    slow = asyncio.create_task(agent.done("get_service", service_id=service["id"], wait="running", timeout=60))
    assert (await agent.done("get_whoami"))["tenant"]["id"] == acme.id
    assert not slow.done()
    await acme.delete(f"/v1/services/{service['id']}")
    await asyncio.wait({slow}, timeout=5)


# the edge is the same as everywhere


async def test_without_a_key_nothing_is_told(site: Site) -> None:
    answer = await site.anybody.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "server/discover"})
    assert answer.status == 401 and answer.code == "unauthenticated"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="ahplat"'


async def test_a_request_id_goes_with_all_that_a_tool_does(acme: Tenant) -> None:
    agent = Agent(acme)
    params = {"name": "create_service", "arguments": {"name": "traced", "image": "web:1", "port": 0}}
    said = await agent.modern("tools/call", params, X_Request_Id="agent-7")
    assert said.headers["X-Request-Id"] == "agent-7"
    events = await acme.ask("GET", "/v1/events?limit=200", headers={"Accept": "application/json"})
    assert "agent-7" in {event.get("correlation") for event in events.json}


async def test_the_trace_that_meta_names_goes_with_all_that_a_tool_does(acme: Tenant) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
    params = {"name": "create_service", "arguments": {"name": "w3c", "image": "web:1", "port": 0}}
    assert (await Agent(acme).modern("tools/call", params, meta=META | {"traceparent": trace})).result
    events = await acme.ask("GET", "/v1/events?limit=200", headers={"Accept": "application/json"})
    assert trace in {event.get("traceparent") for event in events.json}


@pytest.mark.parametrize(
    ("client", "fields", "agent"),
    [
        ({"name": "helper", "version": "1.2"}, {}, "helper/1.2"),
        ({"name": "helper", "version": "1.2"}, {"X_Agent_Name": "deployer"}, "deployer"),
        ({"name": "Jane Doe"}, {}, None),
        ("helper", {}, None),
    ],
)
async def test_what_a_client_calls_itself_stands_in_the_events(
    acme: Tenant, client: Any, fields: dict[str, str], agent: str | None
) -> None:
    meta = META | {"io.modelcontextprotocol/clientInfo": client}
    params = {"name": "create_service", "arguments": {"name": "named", "image": "web:1", "port": 0}}
    assert (await Agent(acme).modern("tools/call", params, meta=meta, **fields)).result["isError"] is False
    events = await acme.ask("GET", "/v1/events?type=service.created", headers={"Accept": "application/json"})
    assert [event.get("agent") for event in events.json] == [agent]


async def test_a_body_that_is_too_large_is_refused_as_everywhere(acme: Tenant) -> None:
    answer = await acme.ask("POST", "/mcp", raw=b" " * (1024 * 1024 + 1))
    assert answer.status == 413 and answer.code == "payload_too_large"


async def test_outside_dev_only_https_is_served(guarded: Site) -> None:
    agent = Agent(await guarded.register())
    assert (await agent.modern("tools/list")).result
    said = await agent.modern("tools/list", X_Forwarded_Proto="http")
    assert said.status == 403 and said.json["code"] == "https_required"


async def test_a_tool_comes_the_way_that_its_request_came(guarded: Site) -> None:
    agent = Agent(await guarded.register())
    said = await agent.modern("tools/call", {"name": "get_whoami"}, X_Forwarded_Proto="http\nhttps")
    assert said.result["isError"] is False


async def test_a_call_counts_once_against_the_rate(guarded: Site) -> None:
    agent = Agent(await guarded.register())
    first = await agent.modern("tools/call", {"name": "get_whoami"})
    second = await agent.modern("tools/call", {"name": "get_whoami"})
    left = [int(said.headers["X-RateLimit-Remaining"]) for said in (first, second)]
    assert left[0] - left[1] <= 1


async def test_who_asks_too_often_is_slowed_down_as_everywhere(guarded: Site) -> None:
    tenant = await guarded.register()
    await guarded.operator.patch(f"/v1/tenants/{tenant.id}/quotas", {"api_rate_limit": 1})
    agent = Agent(tenant)
    said = [await agent.modern("tools/list") for _ in range(4)]
    assert [one.status for one in said].count(429) >= 1
    assert said[-1].json["code"] == "rate_limited" and int(said[-1].headers["Retry-After"]) >= 1
