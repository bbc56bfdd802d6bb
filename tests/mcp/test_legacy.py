"""The protocol before 2026-07-28: a handshake, sessions that outlive a restart, and no stream, which it leaves to servers."""

from typing import Any

import pytest

from tests.api.site import Site, Tenant
from tests.mcp.speaking import LEGACY, META, MODERN, OLDER, Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("wanted", "agreed"), [(LEGACY, LEGACY), (OLDER, OLDER), ("2024-11-05", LEGACY), (MODERN, LEGACY), (7, LEGACY)]
)
async def test_initialize_agrees_upon_a_version(acme: Tenant, wanted: Any, agreed: str) -> None:
    said = await Agent(acme).initialize(wanted)
    assert said.result["protocolVersion"] == agreed
    assert said.result["serverInfo"]["name"] == "ahplat" and said.result["capabilities"] == {
        "tools": {"listChanged": False}
    }
    assert "whoami" in said.result["instructions"]


async def test_a_session_is_a_word_of_visible_ascii(acme: Tenant) -> None:
    session = (await Agent(acme).initialize()).headers["Mcp-Session-Id"]
    assert session.isascii() and session.isprintable() and " " not in session


async def test_the_second_half_of_the_handshake_is_accepted(acme: Tenant) -> None:
    agent = Agent(acme)
    session = (await agent.initialize()).headers["Mcp-Session-Id"]
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    said = await agent.post(note, {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY})
    assert (said.status, said.body) == (202, b"")


@pytest.mark.parametrize("version", [LEGACY, OLDER])
async def test_tools_are_listed_and_used_in_a_session(acme: Tenant, version: str) -> None:
    agent = Agent(acme)
    session = (await agent.initialize(version)).headers["Mcp-Session-Id"]
    inside = {"Mcp_Session_Id": session, "MCP_Protocol_Version": version}
    listed = (await agent.legacy("tools/list", **inside)).result
    assert {"create_service", "get_whoami"} <= {tool["name"] for tool in listed["tools"]}
    used = (await agent.legacy("tools/call", {"name": "get_whoami"}, **inside)).result
    assert used["isError"] is False and used["structuredContent"]["tenant"]["id"] == acme.id


async def test_a_result_holds_nothing_that_the_version_does_not_know(acme: Tenant) -> None:
    listed = (await Agent(acme).legacy("tools/list")).result
    assert listed.keys() == {"tools"}
    used = (await Agent(acme).legacy("tools/call", {"name": "get_whoami"})).result
    assert used.keys() == {"content", "structuredContent", "isError"}


async def test_a_session_says_the_version_where_the_header_does_not(acme: Tenant) -> None:
    agent = Agent(acme)
    session = (await agent.initialize()).headers["Mcp-Session-Id"]
    said = await agent.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, {"Mcp-Session-Id": session})
    assert said.result["tools"]


async def test_a_session_is_not_wanted_where_the_header_names_the_version(acme: Tenant) -> None:
    assert (await Agent(acme).legacy("tools/list")).result["tools"]


async def test_a_session_that_there_is_not_is_404_so_that_the_client_begins_anew(acme: Tenant) -> None:
    said = await Agent(acme).legacy("tools/list", Mcp_Session_Id="made-up")
    assert said.fault == (404, -32600) and "initialize" in said.json["error"]["message"]


async def test_a_session_of_another_tenant_is_none(site: Site, acme: Tenant) -> None:
    session = (await Agent(await site.register()).initialize()).headers["Mcp-Session-Id"]
    assert (await Agent(acme).legacy("tools/list", Mcp_Session_Id=session)).fault == (404, -32600)


async def test_another_key_of_the_tenant_may_go_on_with_a_session(site: Site, acme: Tenant) -> None:
    session = (await Agent(acme).initialize()).headers["Mcp-Session-Id"]
    other = Agent(await site.another_key(acme, scopes=["read"]))
    assert (await other.legacy("tools/list", Mcp_Session_Id=session)).result["tools"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_is_no_stream_and_a_session_cannot_be_ended(acme: Tenant, method: str) -> None:
    session = (await Agent(acme).initialize()).headers["Mcp-Session-Id"]
    answer = await acme.ask(method, "/mcp", headers={"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY})
    assert answer.status == 405 and answer.headers["Allow"] == "POST"


async def test_ping_is_answered_with_nothing(acme: Tenant) -> None:
    assert (await Agent(acme).legacy("ping")).result == {}


@pytest.mark.parametrize("method", ["server/discover", "resources/list", "logging/setLevel"])
async def test_an_unknown_method_is_an_error_in_an_answer_that_came(acme: Tenant, method: str) -> None:
    assert (await Agent(acme).legacy(method)).fault == (200, -32601)


async def test_a_tool_that_there_is_not_is_an_error_in_an_answer_that_came(acme: Tenant) -> None:
    assert (await Agent(acme).legacy("tools/call", {"name": "make_tea"})).fault == (200, -32602)


async def test_an_unknown_version_in_the_header_is_refused(acme: Tenant) -> None:
    said = await Agent(acme).legacy("tools/list", MCP_Protocol_Version="1900-01-01")
    assert said.status == 400 and LEGACY in said.json["error"]["data"]["supported"]


async def test_what_names_both_eras_is_neither(acme: Tenant) -> None:
    params = {"_meta": META}
    assert (await Agent(acme).legacy("tools/list", params)).fault == (400, -32020)


async def test_a_session_outlives_the_server(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    session = (await agent.initialize()).headers["Mcp-Session-Id"]
    await site.restart()
    assert (await agent.legacy("tools/list", Mcp_Session_Id=session)).result["tools"]
