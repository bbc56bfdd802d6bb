"""`/mcp`: one POST, one message of the Model Context Protocol, one answer as JSON. Both eras; see `protocol.py`.

The edge has let the caller in as it does for every route. No answer is a stream: what a tool begins goes on by itself and
is looked at again with another tool, so nothing is lost with a connection. The invariant: what the platform refuses is a
tool's result, what breaks the protocol is a JSON-RPC error, and what the edge refuses is a problem, as everywhere.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import UNSET, Struct, UnsetType

from ahplat import limits
from ahplat.api.call import Call, Reply
from ahplat.api.route import Route
from ahplat.errors import Rejected
from ahplat.mcp import protocol, sessions
from ahplat.mcp.protocol import INVALID_PARAMS, METHOD_NOT_FOUND, Fault, Request

INSTRUCTIONS = """\
This server runs services (containers), builds them from git, and runs databases beside them. Begin with get_whoami: it says \
what you may do and what is left of your quotas. Then create_service with an image; or with none, and create_build with a \
repository. A tool that begins work answers at once, and its `next` says which tool tells how that went: pass its \
arguments, which wait for up to a minute. Give a command an idempotency_key of your own and repeat it with the same key \
and arguments when you did not see its answer: it is done once. A refused tool says in words what to do instead."""

_LOCAL = ("localhost", "127.0.0.1", "::1")


async def post(call: Call) -> Reply:
    """Takes one message of the Model Context Protocol: versions 2026-07-28, and with initialize 2025-11-25 and 2025-06-18."""
    _check_origin(call)
    try:
        request = protocol.read(call.raw, call.request.headers, lambda session: sessions.version_of(call, session))
    except Fault as fault:
        return _refusal(fault)
    if request.id is None:
        return Reply(HTTPStatus.ACCEPTED, content_type="")
    try:
        return await _answer(call, request)
    except Fault as fault:
        fault.id = request.id
        return _refusal(fault, HTTPStatus.OK if not request.is_modern else None)


def _check_origin(call: Call) -> None:
    """A page of another site must not speak through somebody's browser, also not by a name that leads here. Raises Rejected."""
    origin = call.request.headers.get("Origin")
    if origin is None:
        return
    domain = call.app.config.domain
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        host = None
    if host not in (*_LOCAL, domain, f"api.{domain}"):
        raise Rejected("origin_forbidden", f"Origin is {origin[:200]}, expected none, or one of this server's own")


def _refusal(fault: Fault, status: int | None = None) -> Reply:
    return Reply(status or fault.status, protocol.refused(fault))


async def _answer(call: Call, request: Request) -> Reply:
    methods = _MODERN if request.is_modern else _LEGACY
    if (answer := methods.get(request.method)) is None:
        raise Fault(METHOD_NOT_FOUND, f"{request.method[:100]} is not one of {', '.join(methods)}")
    return await answer(call, request)


async def _discover(_: Call, request: Request) -> Reply:
    found = {
        "supportedVersions": list(protocol.VERSIONS),
        "capabilities": {"tools": {}},
        "instructions": INSTRUCTIONS,
    }
    return Reply(body=protocol.answered(request, found, limits.MCP_KEPT_MS, "public"))


async def _initialize(call: Call, request: Request) -> Reply:
    found = {
        "protocolVersion": request.version,
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": protocol.SERVER_INFO,
        "instructions": INSTRUCTIONS,
    }
    session = sessions.begin(call, request.version)
    return Reply(body=protocol.answered(request, found), headers={protocol.SESSION_ID: session})


async def _ping(_: Call, request: Request) -> Reply:
    return Reply(body=protocol.answered(request, {}))


async def _list_tools(call: Call, request: Request) -> Reply:
    if request.params.get("cursor"):
        raise Fault(INVALID_PARAMS, "params.cursor: expected none, all tools come at once")
    shown = call.app.tools.shown_to(call.principal)
    return Reply(body=protocol.answered(request, {"tools": shown}, limits.MCP_KEPT_MS))


async def _call_tool(call: Call, request: Request) -> Reply:
    name, arguments = request.params.get("name"), request.params.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict | None):
        raise Fault(INVALID_PARAMS, "params: expected a string `name` and an object `arguments`")
    result = await call.app.tools.use(call, name, arguments or {}, request.about)
    return Reply(body=protocol.answered(request, result))


Method = Callable[[Call, Request], Awaitable[Reply]]
_TOOLS: dict[str, Method] = {"tools/list": _list_tools, "tools/call": _call_tool}
_MODERN: dict[str, Method] = {"server/discover": _discover, **_TOOLS}
_LEGACY: dict[str, Method] = {"initialize": _initialize, "ping": _ping, **_TOOLS}


class JsonRpcRequest(Struct):
    """One JSON-RPC 2.0 request; without an `id` a notification, which is answered with 202."""

    jsonrpc: Literal["2.0"]
    method: str
    id: int | str | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET


class JsonRpcResponse(Struct, frozen=True):
    """One JSON-RPC 2.0 response."""

    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType = UNSET
    result: dict[str, Any] | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET


ROUTES = [
    Route(
        "POST",
        "/mcp",
        post,
        "send_message",
        body=JsonRpcRequest,
        answer=JsonRpcResponse,
        bare_status=202,
        faults=(400, 404),
        codes=("origin_forbidden",),
        asks=True,
        narrow=True,
    )
]
