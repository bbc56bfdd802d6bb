"""The Model Context Protocol as functions of values: what a POST says, and what is sent back. No I/O.

Two eras are served on one path. In the modern one (2026-07-28) each request stands alone: version and capabilities are
in its `_meta`, and header fields repeat what a proxy routes by. In the legacy one (2025-06-18, 2025-11-25) a client begins
with `initialize` and may send the session id that it was given. `read` tells them apart by what the request carries:
the legacy era is one that names a legacy version, begins with `initialize`, or holds a session; all else is modern, and
is held to its rules. The invariant: `read` returns a request that keeps the rules of its version, or raises Fault, whose
code and HTTP status are those that the version has for what is wrong.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct
from multidict import CIMultiDictProxy

from ahplat.api import body as bodies
from ahplat.api import headers as http
from ahplat.errors import Rejected
from ahplat.version import VERSION

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18")  # the first is offered to whoever asks for one that we do not speak
VERSIONS = (MODERN, *LEGACY)

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022

SESSION_ID = "Mcp-Session-Id"
VERSION_HEADER, METHOD_HEADER, NAME_HEADER = "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"
_PREFIX = "io.modelcontextprotocol/"
VERSION_KEY, CAPABILITIES_KEY = f"{_PREFIX}protocolVersion", f"{_PREFIX}clientCapabilities"
CLIENT_KEY = f"{_PREFIX}clientInfo"
NAMED_BY = {"tools/call": "name", "resources/read": "uri", "prompts/get": "name"}  # method → what Mcp-Name repeats
SERVER_INFO = {"name": "ahplat", "title": "ahplat, a self-hosted platform", "version": VERSION}

_STATUSES = {METHOD_NOT_FOUND: HTTPStatus.NOT_FOUND}

Id = int | str
Headers = Mapping[str, str]


class Fault(Exception):
    """What is wrong with a message, as JSON-RPC has it; `status` is the HTTP status that it goes out with."""

    def __init__(
        self, code: int, message: str, id_: Id | None = None, data: Any = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id_
        self.data = data
        self.status = status or _STATUSES.get(code, HTTPStatus.BAD_REQUEST)


class Request(Struct, frozen=True):
    """One request, or with no `id` a notification, in a version that we speak."""

    id: Id | None
    method: str
    params: dict[str, Any]
    version: str

    @property
    def is_modern(self) -> bool:
        return self.version == MODERN

    @property
    def about(self) -> dict[str, str]:
        """Header fields that its `_meta` stands for: the trace that it is part of, and what its client calls itself."""
        meta = meta_of(self.params)
        client = meta.get(CLIENT_KEY)
        trace = http.traceparent(str(meta.get("traceparent")))
        found = {"Traceparent": trace} if trace else {}
        if isinstance(client, dict):
            with suppress(Rejected):  # what cannot be a name is nobody's
                name = "/".join(str(client[part]) for part in ("name", "version") if part in client)
                found["X-Agent-Name"] = http.agent(CLIENT_KEY, name)
        return found


def read(raw: bytes, headers: CIMultiDictProxy[str], version_of: Callable[[str], str]) -> Request:
    """The request that a POST holds. `version_of` says what was agreed upon in a session, and raises Fault for none.

    Raises Fault.
    """
    id_, method, params = message(raw)
    try:
        version = _version(id_, method, params, headers, version_of)
    except Fault as fault:
        fault.id = id_
        raise
    return Request(id_, method, params, version)


def message(raw: bytes) -> tuple[Id | None, str, dict[str, Any]]:
    """(id, method, params) of one JSON-RPC request; the id of a notification is None. Raises Fault."""
    try:
        tree: Any = bodies.parse(raw, Any, strict=False)
    except Rejected as error:
        raise Fault(PARSE_ERROR, f"the body is not one JSON value: {error.detail}") from error
    if not isinstance(tree, dict):
        raise Fault(INVALID_REQUEST, "expected one JSON-RPC request or notification; batches are not taken")
    id_, method, params = tree.get("id"), tree.get("method"), tree.get("params", {})
    if "id" in tree and (isinstance(id_, bool) or not isinstance(id_, int | str)):
        raise Fault(INVALID_REQUEST, "id: expected a string or an integer")
    if tree.get("jsonrpc") != "2.0":
        raise Fault(INVALID_REQUEST, 'jsonrpc: expected "2.0"', id_)
    if not isinstance(method, str):
        raise Fault(
            INVALID_REQUEST, "method: expected a string; this server sends no requests that need an answer", id_
        )
    if not isinstance(params, dict):
        raise Fault(INVALID_PARAMS, "params: expected an object", id_)
    return id_, method, params


def meta_of(params: dict[str, Any]) -> dict[str, Any]:
    """What a request says of itself; nothing where that is no object."""
    found = params.get("_meta")
    return found if isinstance(found, dict) else {}


def _version(
    id_: Id | None,
    method: str,
    params: dict[str, Any],
    headers: CIMultiDictProxy[str],
    version_of: Callable[[str], str],
) -> str:
    """The version that the request is in. Raises Fault where it breaks that version's rules."""
    named, sent = headers.get(VERSION_HEADER), meta_of(params).get(VERSION_KEY)
    session = headers.get(SESSION_ID)
    if method == "initialize" and sent is None and named != MODERN:
        return agreed(params.get("protocolVersion"))
    if named in LEGACY and sent in (None, named):
        if session is not None:
            version_of(session)
        return named
    if named is None and sent is None and session is not None:
        return version_of(session)
    if id_ is None:
        return _of_notification(named)
    _check_headers(method, params, headers)
    return MODERN


def agreed(wanted: Any) -> str:
    """The version that `initialize` is answered with: the one that the client wants, or the newest of its era."""
    return wanted if wanted in LEGACY else LEGACY[0]


def _of_notification(named: str | None) -> str:
    """The modern protocol has no rules for the header fields of a notification, only for what it does not speak."""
    if named not in (None, *VERSIONS):
        raise _unsupported(named)
    return named or MODERN


def _check_headers(method: str, params: dict[str, Any], headers: CIMultiDictProxy[str]) -> None:
    """Raises Fault unless the header fields are there, once each, and say what the body says, which holds what it has to."""
    for name in (VERSION_HEADER, METHOD_HEADER, NAME_HEADER):
        if len(headers.getall(name, ())) > 1:
            raise Fault(HEADER_MISMATCH, f"{name} is there more than once")
    named, meta = headers.get(VERSION_HEADER), meta_of(params)
    if named is None:
        raise Fault(HEADER_MISMATCH, f"{VERSION_HEADER} is missing: expected one of {', '.join(VERSIONS)}")
    if named not in VERSIONS and meta.get(VERSION_KEY) in (None, named):
        raise _unsupported(named)
    if missing := [key for key in (VERSION_KEY, CAPABILITIES_KEY) if key not in meta]:
        raise Fault(INVALID_PARAMS, f"params._meta: expected {' and '.join(missing)}")
    if not isinstance(meta[VERSION_KEY], str) or not isinstance(meta[CAPABILITIES_KEY], dict):
        raise Fault(INVALID_PARAMS, f"params._meta: expected a string {VERSION_KEY}, an object {CAPABILITIES_KEY}")
    _check_same(VERSION_HEADER, named, meta[VERSION_KEY])
    _check_same(METHOD_HEADER, headers.get(METHOD_HEADER), method)
    if key := NAMED_BY.get(method):
        if not isinstance(params.get(key), str):
            raise Fault(INVALID_PARAMS, f"params.{key}: expected a string")
        _check_same(NAME_HEADER, decoded(headers.get(NAME_HEADER)), params[key])


def _check_same(name: str, in_header: str | None, in_body: str) -> None:
    if in_header != in_body:
        found = "is missing" if in_header is None else f"is {in_header[:100]!r}"
        raise Fault(HEADER_MISMATCH, f"{name} {found}, the body says {in_body[:100]!r}")


def _unsupported(version: str | None) -> Fault:
    data = {"supported": list(VERSIONS), "requested": version}
    return Fault(UNSUPPORTED_VERSION, f"the protocol version {version!r} is not spoken here", data=data)


def decoded(value: str | None) -> str | None:
    """A header value that may be in base64; None where it is not what it says it is.

    >>> decoded("=?base64?d2Vi?="), decoded("web"), decoded("=?base64?!?=")
    ('web', 'web', None)
    """
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def encoded(value: str) -> str:
    """A value as it may stand in a header field: the other way round.

    >>> encoded("web"), encoded("wéb")
    ('web', '=?base64?d8OpYg==?=')
    """
    is_plain = value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?")
    return value if is_plain else f"=?base64?{base64.b64encode(value.encode()).decode()}?="


# what is sent back


def answered(request: Request, result: dict[str, Any], ttl_ms: int | None = None, scope: str = "private") -> bytes:
    """A request's result; one with a `ttl_ms` may be kept by its client for so long, and by others where `scope` is public."""
    if request.is_modern:
        result = {"resultType": "complete", **result, "_meta": {f"{_PREFIX}serverInfo": SERVER_INFO}}
        if ttl_ms is not None:
            result |= {"ttlMs": ttl_ms, "cacheScope": scope}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": result})


def refused(fault: Fault) -> bytes:
    """What is said of a fault; without an id where none could be read."""
    error = {"code": fault.code, "message": fault.message} | ({} if fault.data is None else {"data": fault.data})
    return msgspec.json.encode({"jsonrpc": "2.0", **({} if fault.id is None else {"id": fault.id}), "error": error})
