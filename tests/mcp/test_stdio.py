"""`ah mcp`'s bridge: a line in, a line out, each request on its own; what cannot be answered is an error that says why."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ahplat import limits
from ahplat.mcp import protocol
from ahplat.mcp.stdio import Bridge
from tests.api.site import Site, Tenant
from tests.mcp.speaking import LEGACY, META, MODERN

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Talk:
    """A bridge to a site, and what it said. `end` closes the client's end."""

    def __init__(self, site: Site, key: str, url: str = "") -> None:
        self.said: list[dict[str, Any]] = []
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._bridge = Bridge(site.session, url or site.base, key, self._hear)
        self._heard = asyncio.Event()
        self._running = asyncio.create_task(self._bridge.run(self._given()))

    def _hear(self, line: bytes) -> None:
        assert b"\n" not in line
        self.said.append(json.loads(line))
        self._heard.set()

    async def _given(self) -> AsyncIterator[bytes]:
        while line := await self._lines.get():
            yield line

    def tell(self, message: Any) -> None:
        self._lines.put_nowait(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

    def ask(self, id_: Any, method: str, **params: Any) -> None:
        self.tell({"jsonrpc": "2.0", "id": id_, "method": method, "params": {**params, "_meta": META}})

    async def answer(self, id_: Any) -> dict[str, Any]:
        """The answer to a request, once it is there."""
        async with asyncio.timeout(5):
            while not (found := [one for one in self.said if one.get("id") == id_]):
                self._heard.clear()
                await self._heard.wait()
        return found[0]

    async def rest(self) -> None:
        """Until nothing is under way."""
        async with asyncio.timeout(5):
            while self._bridge.under_way or not self._lines.empty():
                await asyncio.sleep(0.002)

    async def end(self) -> None:
        self.tell(b"")
        await asyncio.wait_for(self._running, 10)
        assert self._bridge.under_way == 0


async def test_a_modern_request_gets_the_header_fields_that_it_wants(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    talk.ask("a", "tools/call", name="get_whoami", arguments={})
    assert (await talk.answer("a"))["result"]["structuredContent"]["tenant"]["id"] == acme.id
    await talk.end()


async def test_what_comes_right_behind_the_greeting_waits_for_it(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    talk.tell({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": LEGACY}})
    talk.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
    talk.tell({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    assert "result" in await talk.answer(2)
    assert [one["id"] for one in talk.said] == [1, 2]
    await talk.end()


async def test_a_line_that_no_server_takes_is_answered_with_its_id(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    talk.tell(b'{"jsonrpc":"2.0","id":77,"method":"ping","params":{"a":"'.ljust(limits.BODY_BYTES, b"x"))
    assert "bytes at most" in (await talk.answer(77))["error"]["message"]
    await talk.end()


async def test_a_legacy_client_goes_on_in_the_session_that_it_began(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    talk.tell({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": LEGACY}})
    assert (await talk.answer(1))["result"]["protocolVersion"] == LEGACY
    talk.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
    talk.tell({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    assert (await talk.answer(2))["result"].keys() == {"tools"}
    await talk.end()
    assert len(talk.said) == 2


@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Session-Id"])
async def test_a_legacy_client_need_not_say_version_and_session_again(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sent: list[str | None] = []
    read = protocol.read

    def reading(raw: bytes, headers: Any, version_of: Any) -> Any:
        sent.append(headers.get(name))
        return read(raw, headers, version_of)

    monkeypatch.setattr(protocol, "read", reading)
    talk = Talk(site, acme.key)
    talk.tell({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": LEGACY}})
    await talk.answer(1)
    talk.tell({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    await talk.answer(2)
    await talk.end()
    assert sent[0] is None and sent[1]


async def test_a_probe_for_the_modern_era_is_answered_before_any_handshake(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    talk.ask(1, "server/discover")
    assert MODERN in (await talk.answer(1))["result"]["supportedVersions"]
    await talk.end()


async def test_requests_do_not_wait_for_each_other_and_one_that_is_cancelled_is_not_answered(
    site: Site, acme: Tenant
) -> None:
    service = await acme.service(image="")
    talk = Talk(site, acme.key)
    wanted = {"service_id": service["id"], "wait": "running", "timeout": 60}
    talk.ask(1, "tools/call", name="get_service", arguments=wanted)
    talk.ask(2, "tools/list")
    assert (await talk.answer(2))["result"]["tools"]
    talk.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    await talk.rest()
    await talk.end()
    assert [one["id"] for one in talk.said] == [2]


@pytest.mark.parametrize("params", [{}, {"requestId": None}, {"requestId": [1]}, {"requestId": 7}])
async def test_a_cancellation_of_nothing_is_nothing(site: Site, acme: Tenant, params: dict[str, Any]) -> None:
    talk = Talk(site, acme.key)
    talk.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    await talk.end()
    assert talk.said == []


async def test_an_id_that_is_under_way_is_not_taken_again(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    talk = Talk(site, acme.key)
    wanted = {"service_id": service["id"], "wait": "running", "timeout": 60}
    talk.ask(1, "tools/call", name="get_service", arguments=wanted)
    talk.ask(1, "tools/list")
    assert (await talk.answer(1))["error"]["code"] == -32600
    await acme.delete(f"/v1/services/{service['id']}")
    await talk.end()
    assert len(talk.said) == 2 and "result" in talk.said[1]


async def test_what_is_no_message_is_told_so_and_the_next_one_is_taken(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    for line in (b"nonsense\n", b"[]\n", b"\n", b"\xff\n"):
        talk.tell(line)
    talk.ask(1, "tools/list")
    assert (await talk.answer(1))["result"]
    await talk.end()
    assert [one["error"]["code"] for one in talk.said if "error" in one] == [-32700, -32600, -32700]


async def test_more_requests_than_are_passed_on_at_once_are_told_so_and_can_be_cancelled(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MCP_AT_ONCE", 1)
    service = await acme.service(image="")
    talk = Talk(site, acme.key)
    wanted = {"service_id": service["id"], "wait": "running", "timeout": 60}
    talk.ask(1, "tools/call", name="get_service", arguments=wanted)
    talk.ask(2, "tools/list")
    assert "send it again" in (await talk.answer(2))["error"]["message"]
    talk.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    await talk.rest()
    await talk.end()
    assert len(talk.said) == 1


async def test_a_method_that_no_header_takes_is_refused_here(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    talk.ask(1, "tools/list\r\nX-Evil: 1")
    assert (await talk.answer(1))["error"]["code"] == -32600
    await talk.end()


async def test_a_protocol_fault_comes_back_as_it_is(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key)
    talk.ask(1, "resources/list")
    assert (await talk.answer(1))["error"]["code"] == -32601
    await talk.end()


async def test_a_key_that_is_not_valid_is_an_error_that_says_what_to_do(site: Site) -> None:
    talk = Talk(site, "no.key")
    talk.ask(1, "tools/list")
    error = (await talk.answer(1))["error"]
    assert error["code"] == -32603 and "Authorization" in error["message"]
    assert error["data"]["code"] == "unauthenticated"
    await talk.end()


async def test_a_server_that_does_not_answer_is_an_error(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key, "http://127.0.0.1:9")
    talk.ask(1, "tools/list")
    assert "no answer of http://127.0.0.1:9/mcp" in (await talk.answer(1))["error"]["message"]
    await talk.end()


async def test_what_is_no_ahplat_server_is_an_error(site: Site, acme: Tenant) -> None:
    talk = Talk(site, acme.key, f"{site.base}/v1")
    talk.ask(1, "tools/list")
    assert "error" in await talk.answer(1)
    await talk.end()


async def test_once_the_client_closed_its_end_what_is_under_way_is_answered_or_given_up(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MCP_LAST_S", 0.2)
    service = await acme.service(image="")
    talk = Talk(site, acme.key)
    wanted = {"service_id": service["id"], "wait": "running", "timeout": 60}
    talk.ask(1, "tools/call", name="get_service", arguments=wanted)
    talk.ask(2, "tools/list")
    await talk.end()
    assert [one["id"] for one in talk.said] == [2]
