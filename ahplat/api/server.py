"""The edge: every request comes in here, and every answer goes out from here, problems included.

In order: whose host is it (a service's is forwarded), which route, is the caller allowed to speak at all (https), does it
ask too often, who is it, what may it do, is there a body of sane size, then the handler. The invariant: whatever happens,
the caller gets one answer, every non-2xx of ours is application/problem+json, and no secret and no stack trace is in it.
"""

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus
from socket import AF_UNIX
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ahplat import limits
from ahplat.api import headers, problems, throttle
from ahplat.api.application import Application
from ahplat.api.auth import Gate, Throttled
from ahplat.api.call import Call, Principal, Reply
from ahplat.api.forward import Forwarder, target_host, tell_to_go_on
from ahplat.api.route import Route, Tree
from ahplat.clock import new_id
from ahplat.errors import AhError, PreconditionFailed, Rejected, Unavailable, Unknown
from projections import routes as routing
from projections.views import DAMAGE

logger = logging.getLogger("ahplat.api")

_OPERATOR = Principal("operator", "operator")
_BOOTSTRAP = Principal("bootstrap", "bootstrap")
_ANONYMOUS = Principal()
_ALLOWED_BY: dict[str, frozenset[str]] = {  # the scope that a route wants → scopes that grant it
    "read": frozenset({"read", "deploy", "admin"}),
    "deploy": frozenset({"deploy", "admin"}),
    "admin": frozenset({"admin"}),
}


class Edge:
    """See the module. `handle` is what aiohttp's low-level server calls."""

    def __init__(self, app: Application, routes: list[Route], gate: Gate, forwarder: Forwarder) -> None:
        self._app = app
        self._tree = Tree(routes)
        self._gate = gate
        self._forwarder = forwarder
        self._tenants = throttle.Buckets(
            limits.QUOTAS["api_rate_limit"], limits.QUOTAS["api_rate_limit"] * limits.RATE_BURST, limits.AUTH_CACHE
        )
        self._everybody = throttle.Buckets(limits.GLOBAL_RATE, limits.GLOBAL_BURST, 1)
        self._rates: dict[str, int] = {}  # of tenants whose operator set one
        self._turn = 0
        self.statuses: dict[int, int] = {}
        self.in_flight = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, one answer."""
        raw_path = request.raw_path
        incoming = request.headers
        if self._is_service_host(incoming.get("Host", "")):
            return await self._forward(request)
        request_id = headers.request_id(incoming.get("X-Request-Id"), self._fresh_id)
        path, _, query = raw_path.partition("?")
        call = Call(self._app, request, request_id, path, query, ())
        limited: Mapping[str, str] | None = None
        self.in_flight += 1
        try:
            route = self._find(call)
            limited = await self._admit(call, route)
            if request.can_read_body:
                call.raw = await self._read(request)
            reply = await route.handler(call)
            if reply.stream is not None:
                return reply.stream
        except AhError as error:
            reply, more = self._problem(call, error)
            limited = more or limited
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            if isinstance(error, DAMAGE):
                self._app.broken(error)
            logger.exception("request %s: %s %s broke", request_id, request.method, path)
            reply, _ = self._problem(call, AhError("internal", "something broke on our side"))
        finally:
            self.in_flight -= 1
        return self._respond(call, reply, limited)

    def _fresh_id(self) -> str:
        return new_id(self._app.clock.now_us())

    # which route, and whether it may be asked

    def _find(self, call: Call) -> Route:
        if len(call.path) + len(call.query_text) > limits.URI_CHARS:
            raise Rejected("uri_too_long", f"at most {limits.URI_CHARS} characters")
        found = self._tree.find(call.path)
        if found is None:
            raise Rejected("not_found", f"there is nothing at {call.path[:200]}")
        methods, call.values = found
        method = call.request.method
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise MethodNotAllowed(method, sorted(methods))
        return route

    async def _admit(self, call: Call, route: Route) -> Mapping[str, str] | None:
        """Lets the caller in as somebody. Raises Rejected, Throttled, Unavailable."""
        app = self._app
        call.address, is_secure, is_local, is_operator = self._peer(call.request)
        if not (is_secure or is_operator or app.config.dev or (is_local and route.path == "/v1/system/health")):
            raise Rejected("https_required", "this server is reached through its proxy, over https")
        if app.closing:
            raise Unavailable("stopping", "the server is stopping", 2)
        if app.config.rate_limits and not route.early:
            taken = self._everybody.take("", app.clock.monotonic())
            if not taken.allowed:
                raise Throttled("rate_limited", "the platform has too many requests", taken.retry_after_s)
        if not (app.ready.is_set() or route.early):
            await self._until_ready()
        call.principal = await self._identify(call, route, is_operator)
        if route.auth == "key" and not call.principal.scopes & _ALLOWED_BY[route.scope]:
            raise Rejected("forbidden_scope", f"this needs a key with the scope {route.scope!r}")
        return self._limit_tenant(call) if call.principal.tenant_id and app.config.rate_limits else None

    async def _until_ready(self) -> None:
        try:
            await asyncio.wait_for(self._app.ready.wait(), limits.READY_WAIT_S)
        except TimeoutError as error:
            done, total = self._app.progress
            raise Unavailable("starting", f"the views are being built: {done} of {total} events", 5) from error

    async def _identify(self, call: Call, route: Route, is_operator: bool) -> Principal:
        if route.auth == "key":
            return await self._gate.tenant(call)
        if route.auth == "none" or (route.auth == "metrics" and self._app.config.dev):
            return _ANONYMOUS
        if is_operator:
            return _OPERATOR
        token = call.request.headers.get("X-Bootstrap-Token")
        if token is None and route.auth in ("bootstrap", "registration"):
            return _ANONYMOUS  # it may be in the body, or not be needed: the handler looks
        if not self._gate.bootstrap(token, call.address):
            code = "bootstrap_token_invalid" if token else "operator_only"
            raise Rejected(code, "this wants the operator's bootstrap token, or the operator's socket")
        return _BOOTSTRAP if route.auth in ("bootstrap", "registration") else _OPERATOR

    def _limit_tenant(self, call: Call) -> Mapping[str, str]:
        rate = self._rates.get(call.principal.tenant_id)
        taken = self._tenants.take(call.principal.tenant_id, self._app.clock.monotonic(), rate)
        shown = self._tenants.headers(taken, rate)
        if not taken.allowed:
            raise Throttled("rate_limited", "too many requests of this tenant", taken.retry_after_s, shown)
        return shown

    def _peer(self, request: web.BaseRequest) -> tuple[str, bool, bool, bool]:
        """(address, came over https, from loopback, over the operator's socket). Only a known proxy is believed."""
        transport = request.transport
        if transport is None:
            return "", False, False, False
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple):
            return "unix", True, True, transport.get_extra_info("socket").family == AF_UNIX
        address = peer[0]
        if address in self._app.config.trusted_proxies:
            forwarded = request.headers.get("X-Forwarded-For")
            is_secure = request.headers.get("X-Forwarded-Proto", "").lower() == "https"
            if forwarded:
                return throttle.network(forwarded.rpartition(",")[2].strip()[:64]), is_secure, False, False
            return address, is_secure, address in ("127.0.0.1", "::1"), False
        return throttle.network(address), False, False, False

    async def _read(self, request: web.BaseRequest) -> bytes:
        length = request.content_length
        if length is not None and length > limits.BODY_BYTES:
            raise Rejected("payload_too_large", f"{length} bytes, {limits.BODY_BYTES} allowed")
        await tell_to_go_on(request)
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise Rejected("payload_too_large", f"more than {limits.BODY_BYTES} bytes") from error
        except (web.HTTPException, ValueError) as error:
            raise Rejected("invalid_json", f"the body cannot be read: {error}") from error

    # the way out

    def _problem(self, call: Call, error: AhError) -> tuple[Reply, Mapping[str, str] | None]:
        extra: dict[str, Any] = {}
        retry_after_s = None
        outgoing: dict[str, str] = {}
        shown: Mapping[str, str] | None = None
        if isinstance(error, Unavailable | Throttled):
            retry_after_s = error.retry_after_s
            outgoing["Retry-After"] = str(retry_after_s)
        if isinstance(error, Throttled):
            shown = error.headers
        if isinstance(error, PreconditionFailed):
            extra = {"expected_version": error.expected, "current_version": error.actual}
        if isinstance(error, MethodNotAllowed):
            outgoing["Allow"] = ", ".join(error.methods)
        code = error.code if error.code in problems.PROBLEMS else "internal"
        if code == "internal" and not isinstance(error, Rejected | Unknown):
            logger.error("request %s: %s", call.request_id, error)
        status, body = problems.problem(
            code,
            error.detail,
            request_id=call.request_id,
            violations=error.violations if isinstance(error, Rejected) else (),
            retry_after_s=retry_after_s,
            extra=extra,
        )
        if status == HTTPStatus.UNAUTHORIZED:
            outgoing["WWW-Authenticate"] = 'Bearer realm="ahplat"'
        return Reply(status, body, problems.CONTENT_TYPE, outgoing), shown

    def _respond(self, call: Call, reply: Reply, limited: Mapping[str, str] | None) -> web.Response:
        outgoing = {
            "Content-Type": reply.content_type,
            "X-Request-Id": call.request_id,
            "X-Content-Type-Options": "nosniff",
            **reply.headers,
        }
        if limited:
            outgoing.update(limited)
        tag = outgoing.get("ETag") if reply.status == HTTPStatus.OK and call.request.method in ("GET", "HEAD") else None
        if tag and headers.if_none_match(call.request.headers.get("If-None-Match"), tag):
            reply = Reply(HTTPStatus.NOT_MODIFIED)
        if reply.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            del outgoing["Content-Type"]
        self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
        return web.Response(body=reply.body, status=reply.status, headers=outgoing)

    # services' hosts

    def _is_service_host(self, host: str) -> bool:
        return host.count(".") >= 2 and target_host(host, self._app.config.domain) is not None

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        """The built-in router: sends a service's request where the routes view says, replicas in turn."""
        app = self._app
        address, is_secure, _, _ = self._peer(request)
        request_id = headers.request_id(request.headers.get("X-Request-Id"), self._fresh_id)
        labels = target_host(request.headers["Host"], app.config.domain)
        assert labels, "asked before"
        targets = routing.targets_of(app.views, *labels) if app.ready.is_set() else []
        if not targets:
            status, body = problems.problem(
                "no_route", f"no service answers under {'.'.join(labels)}.{app.config.domain}", request_id=request_id
            )
            return web.Response(status=status, body=body, headers={"Content-Type": problems.CONTENT_TYPE})
        self._turn += 1
        target = targets[self._turn % len(targets)]
        proto = "https" if is_secure else "http"
        return await self._forwarder.forward(
            request, target.host, target.port, request_id=request_id, peer=address, proto=proto
        )


class MethodNotAllowed(Rejected):
    """The path is there, the method is not; `methods` are."""

    def __init__(self, method: str, methods: list[str]) -> None:
        super().__init__("method_not_allowed", f"{method[:20]} is not one of {', '.join(methods)}")
        self.methods = methods


class Protocol(RequestHandler):
    """aiohttp's connection, but what is not even HTTP gets a problem too."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer is not None and request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        code = "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
        _, body = problems.problem(code, (message or "").splitlines()[0] if message else "not HTTP", request_id="-")
        response = web.Response(status=status, body=body, headers={"Content-Type": problems.CONTENT_TYPE})
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's low-level server with our Protocol: no router, no middlewares, one handler."""

    def __call__(self) -> RequestHandler:
        return Protocol(self, loop=self._loop, **self._kwargs)
