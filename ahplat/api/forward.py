"""The built-in router: requests for `<service>.<tenant>.<domain>` go to the instance that serves, and back.

A reverse proxy in the terms of RFC 9110: both bodies are streamed, header fields pass as they are, those of the one
hop (7.6.1) stay behind, and what the client says of where it comes from is replaced by what we know. The invariant: a
request reaches a service at most once, except one without a body whose method is idempotent (9.2.2): it is sent a
second time when the connection ends before an answer. An answer that has begun and cannot be ended ends the client's
connection, so that half of it is never taken for the whole.

Bodies pass as they were sent only where the server that calls `forward` does not decompress them:
`AppRunner(…, auto_decompress=False)`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from types import TracebackType
from typing import Literal, Self

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    HttpVersion11,
    TCPConnector,
    WSCloseCode,
    WSMsgType,
    WSServerHandshakeError,
    hdrs,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from ahplat import limits
from ahplat.api import hop
from ahplat.api.problems import CONTENT_TYPE, PROBLEMS, problem

_AGAIN_S = 1  # until a service of which nothing runs is worth another request

_OF_THE_HANDSHAKE = frozenset(
    (
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "content-length",
    )
)
_NOT_MADE_UP = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)
_FINAL = range(200, 600)  # statuses that end an exchange (RFC 9110, 15)
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2

Place = tuple[str, int]  # host and port


class _Untaken(Exception):
    """Nobody took the connection, and nothing was sent. What to answer where there is no other place to ask."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Forwarder:
    """Forwards requests over connections that it keeps. Made and closed inside a running loop."""

    def __init__(self, *, answer_s: float = limits.FORWARD_ANSWER_S, gone_s: float = limits.FORWARD_GONE_S) -> None:
        self._answer_s = answer_s
        self._gone_s = gone_s
        self._held: Counter[str] = Counter()  # requests under way, by tenant
        self._kept = _session(keep=True)
        self._fresh = _session(keep=False)  # what cannot be sent twice: nobody can just have closed these connections

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections to services."""
        await self._kept.close()
        await self._fresh.close()

    def held(self, tenant: str) -> int:
        """Requests to services of a tenant that are under way."""
        return self._held[tenant]

    async def forward(
        self,
        request: web.BaseRequest,
        host: str,
        port: int,
        *,
        tenant: str = "",
        request_id: str = "",
        peer: str | None = None,
        proto: str = "http",
        instead: Callable[[], Place | None] = lambda: None,
    ) -> web.StreamResponse:
        """Has `host:port` answer the request. `peer` and `proto`: who asks and how, where a proxy before us knows better.

        Where nobody takes the connection nothing was sent yet, and what `instead` names is asked, as often as it names one.
        Answers 502 `bad_gateway` or 504 `gateway_timeout` by itself, and 503 `overloaded` where the services of `tenant`
        hold all the connections that are theirs. A client that went ends the service's work on it.
        """
        if self.held(tenant) >= limits.FORWARDED_TO_TENANT:
            detail = f"{limits.FORWARDED_TO_TENANT} requests to services of this tenant are waiting for their answers"
            return refusal("overloaded", detail, request_id)
        self._held[tenant] += 1
        try:
            place = (host, port)
            while True:
                try:
                    return await self._forward(request, place, request_id, peer or request.remote or "", proto)
                except _Untaken as untaken:
                    elsewhere = None if is_gone(request) else instead()
                    if elsewhere is None:
                        return _gone(request) or refusal(untaken.code, untaken.detail, request_id)
                    place = elsewhere
        finally:
            self._held[tenant] -= 1
            if not self._held[tenant]:
                del self._held[tenant]

    async def _forward(
        self, request: web.BaseRequest, place: Place, request_id: str, peer: str, proto: str
    ) -> web.StreamResponse:
        target = hop.target(request, *place)
        if target is None:
            return refusal("validation_failed", f"{request.method}: expected a path that begins with /", request_id)
        headers = hop.request_headers(request, peer, proto)
        is_websocket = request.method == "GET" and request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
        try:
            async with _Patience(request, self._answer_s, self._gone_s) as patience:
                if is_websocket:
                    return await self._tunnel(request, target, headers, patience)
                return await self._exchange(request, target, headers, patience)
        except ConnectionTimeoutError:
            detail = f"the service took no connection within {limits.FORWARD_CONNECT_S:g} s"
            raise _Untaken("gateway_timeout", detail) from None
        except TimeoutError:
            detail = f"the service gave no answer within {self._answer_s:g} s"
            return _gone(request) or refusal("gateway_timeout", detail, request_id)
        except (ClientError, ConnectionError) as error:
            if isinstance(error, ClientConnectorError):
                raise _Untaken("bad_gateway", "the service takes no connection") from error
            detail = "the service broke its answer off, or it cannot be read"
            return _gone(request) or refusal("bad_gateway", detail, request_id)

    async def _exchange(
        self, request: web.BaseRequest, target: URL, headers: CIMultiDict[str], patience: "_Patience"
    ) -> web.StreamResponse:
        session = self._kept if request.method in _REPEATABLE and not request.body_exists else self._fresh
        async with session.request(
            request.method,
            target,
            headers=headers,
            data=_upload(request, patience) if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            patience.answered()
            if answer.status not in _FINAL:
                raise ClientError(f"status {answer.status}")
            reason = answer.reason if (answer.reason or "").isascii() and (answer.reason or "").isprintable() else None
            response = _Passed(status=answer.status, reason=reason, headers=hop.end_to_end(answer.headers))
            await response.prepare(request)
            try:
                async for piece in answer.content.iter_any():
                    await response.write(piece)
            except BaseException:
                abort(request)
                raise
            await response.write_eof()
            return response

    async def _tunnel(
        self, request: web.BaseRequest, target: URL, headers: CIMultiDict[str], patience: "_Patience"
    ) -> web.StreamResponse:
        """Both ends speak WebSocket with us, message by message, without extensions.

        A service that does not want to, or takes no notice of the wish (RFC 9110, 7.8), is asked once more for its answer.
        """
        offered = [name.strip() for name in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")]
        try:
            service = await self._fresh.ws_connect(
                target,
                headers={name: value for name, value in headers.items() if name.lower() not in _OF_THE_HANDSHAKE},
                protocols=[name for name in offered if name],
                timeout=ClientWSTimeout(ws_close=limits.WEBSOCKET_CLOSE_S),
                autoclose=False,
                autoping=False,
                max_msg_size=limits.WEBSOCKET_MESSAGE_BYTES,
                decode_text=False,
            )
        except WSServerHandshakeError:  # which has no body
            headers.update({hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "Upgrade"})
            return await self._exchange(request, target, headers, patience)
        patience.answered()
        client: web.WebSocketResponse[Literal[False]] = web.WebSocketResponse(
            protocols=[service.protocol] if service.protocol else (),
            timeout=limits.WEBSOCKET_CLOSE_S,
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=limits.WEBSOCKET_MESSAGE_BYTES,
            decode_text=False,
        )
        try:
            await client.prepare(request)
            ways = [asyncio.create_task(_carry(client, service)), asyncio.create_task(_carry(service, client))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            await service.close(code=WSCloseCode.GOING_AWAY)
            await client.close(code=WSCloseCode.GOING_AWAY)
        return client


def _session(*, keep: bool) -> ClientSession:
    return ClientSession(
        connector=TCPConnector(
            limit=limits.FORWARDED,
            limit_per_host=limits.FORWARDED_TO_ONE,
            force_close=not keep,
            keepalive_timeout=limits.FORWARD_KEEPALIVE_S if keep else None,
        ),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_MADE_UP,
        timeout=ClientTimeout(total=None, connect=limits.FORWARD_CONNECT_S, sock_read=limits.FORWARD_SILENCE_S),
        max_line_size=limits.FORWARD_HEAD_BYTES,
        max_field_size=limits.FORWARD_HEAD_BYTES,
    )


class _Patience:
    """Ends what is inside with TimeoutError: when no answer has begun `answer_s` after `asked`, or the client has gone.

    While a service is silent nothing else tells that nobody waits for it any longer.
    """

    def __init__(self, request: web.BaseRequest, answer_s: float, gone_s: float) -> None:
        self._request = request
        self._answer_s = answer_s
        self._gone_s = gone_s
        self._loop = asyncio.get_running_loop()
        self._waiting = True
        self._limit = asyncio.timeout(answer_s)

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._look_again()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next_look.cancel()
        self._waiting = False
        await self._limit.__aexit__(kind, error, trace)

    def asked(self) -> None:
        """A part of the request went out: the service has the whole time from here."""
        if self._waiting and not self._limit.expired():
            self._limit.reschedule(self._loop.time() + self._answer_s)

    def answered(self) -> None:
        """The head of the answer is there."""
        self._waiting = False
        if not self._limit.expired():
            self._limit.reschedule(None)

    def _look_again(self) -> None:
        self._next_look = self._loop.call_later(self._gone_s, self._look)

    def _look(self) -> None:
        if self._limit.expired():
            return
        if is_gone(self._request):
            self._limit.reschedule(self._loop.time())
        else:
            self._look_again()


def is_gone(request: web.BaseRequest) -> bool:
    """Whether the client's connection is closed."""
    transport = request.transport
    return transport is None or transport.is_closing()


def _gone(request: web.BaseRequest) -> web.StreamResponse | None:
    """What a handler returns when there is nobody left to answer; None when there is."""
    return web.Response(status=499, reason="Client Closed Request") if is_gone(request) else None


def abort(request: web.BaseRequest) -> None:
    """Ends the client's connection, so that half an answer is never taken for the whole."""
    if request.transport is not None:
        request.transport.abort()


async def tell_to_go_on(request: web.BaseRequest) -> None:
    """Sends 100 Continue to a client that waits for it before its body (RFC 9110, 10.1.1).

    For requests of aiohttp's low-level server; an Application has done it before any handler runs.
    """
    if isinstance(request, web.Request) or request.version < HttpVersion11:
        return
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and not request.content.total_bytes:
        writer = request.writer
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.output_size = 0  # nothing of the answer itself has begun


async def _upload(request: web.BaseRequest, patience: _Patience) -> AsyncIterator[bytes]:
    await tell_to_go_on(request)
    async for piece in request.content.iter_any():
        patience.asked()
        yield piece


class _Passed(web.StreamResponse):
    """An answer whose header fields are the service's; only Date is added where it has none (RFC 9110, 6.6.1)."""

    async def _prepare_headers(self) -> None:
        made_up = [name for name in (hdrs.CONTENT_TYPE, hdrs.SERVER) if name not in self.headers]
        await super()._prepare_headers()
        for name in made_up:
            self.headers.pop(name, None)


_End = ClientWebSocketResponse[Literal[False]] | web.WebSocketResponse[Literal[False]]


async def _carry(source: _End, sink: _End) -> None:
    """Hands on every message, ping, pong and close of one end to the other, until it closes."""
    while True:
        message = await source.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG):
            await sink.send_frame(message.data, message.type)
        elif message.type is WSMsgType.CLOSE:
            reason = (message.extra or "").encode()
            await sink.close(code=message.data or WSCloseCode.OK, message=reason)
            await source.close(code=message.data or WSCloseCode.OK, message=reason)
            return
        else:
            return


def refusal(code: str, detail: str, request_id: str) -> web.Response:
    """A problem as an answer of its own, where no handler of the API is at work."""
    retry_after_s = _AGAIN_S if PROBLEMS[code].status == HTTPStatus.SERVICE_UNAVAILABLE else None
    status, body = problem(code, detail, request_id=request_id, retry_after_s=retry_after_s)
    fields = {hdrs.CONTENT_TYPE: CONTENT_TYPE, "X-Content-Type-Options": "nosniff"}
    if retry_after_s:
        fields[hdrs.RETRY_AFTER] = str(retry_after_s)
    if request_id:
        fields["X-Request-Id"] = request_id
    return web.Response(status=status, body=body, headers=fields)
