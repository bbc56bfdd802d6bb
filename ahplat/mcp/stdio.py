"""MCP over stdin and stdout for a local agent, passed on to a server's `/mcp`: one JSON-RPC message a line, both eras.

Each request becomes a POST of its own, with the header fields that its version wants; its answer is one line again. What
the server or the way to it refuses becomes a JSON-RPC error, so that a client waits for no answer in vain. Notifications
end here: the only one that means something is `cancelled`, which closes its request's connection. The invariant: nothing
but messages is written to stdout, each whole, one for each request that was not cancelled.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec

from ahplat import limits
from ahplat.mcp import protocol
from ahplat.mcp.protocol import Fault, Id

INTERNAL = -32603
_ID = re.compile(rb'"id"\s*:\s*([0-9]{1,15}|"[A-Za-z0-9_.:-]{1,128}")')


class Bridge:
    """One client's messages on their way. `say` takes the lines that go back, without their end."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, say: Callable[[bytes], None]) -> None:
        self._session = session
        self._url = f"{url}/mcp"
        self._key = key
        self._say = say
        self._agreed: dict[str, str] = {}  # in the legacy era: the fields that say version and session
        self._open: dict[Id, asyncio.Task[None]] = {}
        self._greeting: asyncio.Task[None] | None = None  # what says the fields of all that comes after it

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Until there are no more lines; what is under way then has MCP_LAST_S to end."""
        async for line in lines:
            if line.strip():
                self._take(line)
        if self._open:
            _, late = await asyncio.wait(self._open.values(), timeout=limits.MCP_LAST_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @property
    def under_way(self) -> int:
        """How many requests have no answer yet."""
        return len(self._open)

    def _take(self, line: bytes) -> None:
        try:
            if len(line) >= limits.BODY_BYTES:
                raise Fault(protocol.INVALID_REQUEST, f"a line is of {limits.BODY_BYTES} bytes at most", _id_in(line))
            id_, method, params = protocol.message(line)
            if id_ in self._open:
                raise Fault(protocol.INVALID_REQUEST, "id: a request of this id is under way", id_)
            if id_ is not None and len(self._open) >= limits.MCP_AT_ONCE:
                raise Fault(
                    INTERNAL, f"{limits.MCP_AT_ONCE} requests are under way: send it again when one has ended", id_
                )
        except Fault as fault:
            self._say(protocol.refused(fault))
            return
        if id_ is None:
            self._note(method, params)
            return
        task = asyncio.create_task(self._pass_on(id_, method, params, line, self._greeting), name=f"mcp {id_}")
        if method == "initialize":
            self._greeting = task
        self._open[id_] = task
        task.add_done_callback(lambda _: self._open.pop(id_))

    def _note(self, method: str, params: dict[str, Any]) -> None:
        wanted = params.get("requestId")
        if method == "notifications/cancelled" and isinstance(wanted, int | str) and (task := self._open.get(wanted)):
            task.cancel()

    async def _pass_on(
        self, id_: Id, method: str, params: dict[str, Any], line: bytes, greeting: "asyncio.Task[None] | None"
    ) -> None:
        if greeting:
            await asyncio.wait([greeting])
        try:
            fields = fields_of(method, params) or self._agreed
            answer = await self._ask(id_, line, {**fields, "Authorization": f"Bearer {self._key}"})
            if method == "initialize":
                self._agree(answer)
            self._say(answer)
        except Fault as fault:
            fault.id = id_
            self._say(protocol.refused(fault))

    async def _ask(self, id_: Id, line: bytes, fields: dict[str, str]) -> bytes:
        """The server's answer, as one line. Raises Fault."""
        fields |= {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        try:
            async with self._session.post(self._url, data=line, headers=fields, allow_redirects=False) as response:
                body = await response.read()
                if session := response.headers.get(protocol.SESSION_ID):
                    self._agreed[protocol.SESSION_ID] = session
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Fault(INTERNAL, f"no answer of {self._url}: {error or type(error).__name__}") from error
        try:
            found = msgspec.json.decode(body)
            if "jsonrpc" in found:
                return msgspec.json.encode({**found, "id": id_})
            raise _problem(found)
        except (msgspec.DecodeError, TypeError, KeyError) as error:
            raise Fault(INTERNAL, f"{self._url} answered {response.status}: it is no ahplat server") from error

    def _agree(self, answer: bytes) -> None:
        result = msgspec.json.decode(answer).get("result", {})
        if version := result.get("protocolVersion"):
            self._agreed[protocol.VERSION_HEADER] = version


def _id_in(line: bytes) -> Id | None:
    """The id of a message whose end is cut off, where it stands in what there is.

    >>> _id_in(b'{"jsonrpc":"2.0","id": 77,"method'), _id_in(b'{"id":"a-1"'), _id_in(b"{")
    (77, 'a-1', None)
    """
    found = _ID.search(line.partition(b'"params"')[0])  # what stands in there are other ids
    return msgspec.json.decode(found[1]) if found else None


def fields_of(method: str, params: dict[str, Any]) -> dict[str, str]:
    """The header fields of a request that names a version itself; none of one that does not.

    >>> fields_of("tools/call", {"name": "get_whoami", "_meta": {protocol.VERSION_KEY: "2026-07-28"}})
    {'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': 'tools/call', 'Mcp-Name': 'get_whoami'}
    >>> fields_of("tools/list", {})
    {}
    """
    version = protocol.meta_of(params).get(protocol.VERSION_KEY)
    if not isinstance(version, str):
        return {}
    fields = {protocol.VERSION_HEADER: version, protocol.METHOD_HEADER: method}
    name = params.get(protocol.NAMED_BY.get(method, ""))
    if isinstance(name, str):
        fields[protocol.NAME_HEADER] = protocol.encoded(name)
    if not all(value.isascii() and value.isprintable() for value in fields.values()):
        raise Fault(protocol.INVALID_REQUEST, "version and method: expected visible ASCII")
    return fields


def _problem(found: dict[str, Any]) -> Fault:
    """What the server's edge refused, as a JSON-RPC error that says what to do."""
    remedy = found.get("remediation", {}).get("why", "")
    return Fault(INTERNAL, f"{found['title']}: {found['detail']}" + (f" ({remedy})" if remedy else ""), data=found)
