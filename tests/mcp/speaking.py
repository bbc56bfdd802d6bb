"""Somebody who speaks MCP to a site, in either era, and can break each of its rules.

agent = Agent(acme)
answer = await agent.modern("tools/list")
result = await agent.use("create_service", name="web", image="web:1")
"""

import itertools
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ahplat.api.call import Principal
from ahplat.api.routes import ROUTES
from ahplat.mcp.toolbox import Toolbox
from tests.api.site import Client

MODERN, LEGACY, OLDER = "2026-07-28", "2025-11-25", "2025-06-18"
VERSION_KEY, CAPABILITIES_KEY = (
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
)
META = {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}}
BOTH = "application/json, text/event-stream"
_ids = itertools.count(1)


@cache
def validators(tool: str) -> tuple[Draft202012Validator, Draft202012Validator]:
    """(of a tool's arguments, of its result)."""
    tools = json.loads(msgspec.json.encode(Toolbox(ROUTES).shown_to(Principal(scopes=frozenset({"admin"})))))
    [shown] = [one for one in tools if one["name"] == tool]
    schemas = (shown["inputSchema"], shown["outputSchema"])
    for schema in schemas:
        Draft202012Validator.check_schema(schema)
    first, second = (Draft202012Validator(schema) for schema in schemas)
    return first, second


class Said(Struct):
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> dict[str, Any]:
        """A success, after a look at its form."""
        assert self.status == 200, (self.status, self.body)
        assert self.headers["Content-Type"] == "application/json"
        assert self.json.keys() == {"jsonrpc", "id", "result"}, self.body
        return dict(self.json["result"])

    @property
    def fault(self) -> tuple[int, int]:
        """(HTTP status, JSON-RPC code) of an error, after a look at its form."""
        assert self.json.keys() <= {"jsonrpc", "id", "error"} and self.json["jsonrpc"] == "2.0", self.body
        assert self.json["error"].keys() <= {"code", "message", "data"}, self.body
        return self.status, int(self.json["error"]["code"])


class Agent:
    """A client with a key."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def post(self, raw: Any, fields: Mapping[str, str] | None = None, method: str = "POST") -> Said:
        """One request to /mcp as it is; a value becomes JSON. A field whose value holds a line end is sent twice."""
        data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
        sent = CIMultiDict({"Content-Type": "application/json", "Accept": BOTH, **self.client.fields})
        for name, value in (fields or {}).items():
            sent.popall(name, None)
            for one in value.split("\n"):
                sent.add(name, one)
        url = URL(f"{self.client.site.base}/mcp")
        async with self.client.site.session.request(method, url, data=data, headers=sent) as answer:
            return Said(answer.status, answer.headers, await answer.read())

    async def modern(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] = META,
        without: tuple[str, ...] = (),
        **fields: str,
    ) -> Said:
        """A request as 2026-07-28 has it; `fields` replace header fields, those in `without` are left out."""
        body = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": {**(params or {}), "_meta": dict(meta)}}
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method == "tools/call" and params and isinstance(params.get("name"), str):
            headers["Mcp-Name"] = params["name"]
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.post(body, {name: value for name, value in headers.items() if name not in without})

    async def legacy(self, method: str, params: Mapping[str, Any] | None = None, **fields: str) -> Said:
        """A request as 2025-11-25 has it, or the version that is named."""
        body = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": dict(params or {})}
        named = {} if method == "initialize" else {"MCP-Protocol-Version": LEGACY}
        return await self.post(body, named | {name.replace("_", "-"): value for name, value in fields.items()})

    async def initialize(self, version: str = LEGACY) -> Said:
        """The handshake's first half."""
        about = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        return await self.legacy("initialize", about)

    async def use(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """A tool's result, after a look whether it is what the tool's output schema says."""
        result = (await self.modern("tools/call", {"name": tool, "arguments": arguments})).result
        if not result["isError"]:
            validators(tool)[1].validate(result["structuredContent"])
            validators(tool)[0].validate({name: value for name, value in arguments.items() if value is not None})
        return result

    async def done(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """What a tool that succeeds gives."""
        result = await self.use(tool, **arguments)
        assert result["isError"] is False, result
        return dict(result["structuredContent"])

    async def refused(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The problem of a tool that is refused; its text says what, and what to do."""
        result = await self.use(tool, **arguments)
        assert result["isError"] is True, result
        problem = dict(result["structuredContent"])
        [content] = result["content"]
        assert problem["detail"] in content["text"] and "What to do: " in content["text"]
        return problem

    async def tools(self) -> dict[str, dict[str, Any]]:
        """All that are shown, by name."""
        return {tool["name"]: tool for tool in (await self.modern("tools/list")).result["tools"]}
