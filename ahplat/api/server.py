"""The edge: every request comes in here, and every answer goes out from here, problems included.

In order: whose host is it (a service's is forwarded), which route, is the caller allowed to speak at all (https), does it
ask too often, who is it, what may it do, is there a body of sane size, are the views where a read wants them, then the
handler. The invariant: whatever happens, the caller gets one answer, every non-2xx of ours is application/problem+json,
and no secret and no stack trace is in it.
"""

import asyncio
import logging
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from msgspec import Struct

from ahplat import limits
from ahplat.api import body as bodies
from ahplat.api import headers, incoming, past, problems, uploads
from ahplat.api.answered import Answered
from ahplat.api.application import Application
from ahplat.api.auth import Gate, Throttled, Token
from ahplat.api.call import ANONYMOUS, BOOTSTRAP, JSON, OPERATOR, READS, Call, Planned, Principal, Reply
from ahplat.api.forward import Forwarder, Place, abort, refusal
from ahplat.api.inside import Inside
from ahplat.api.peer import peer_of
from ahplat.api.query import Fresh
from ahplat.api.rates import Rates
from ahplat.api.route import Route, Tree
from ahplat.api.service_hosts import other_host, target_host
from ahplat.api.system import NotReady
from ahplat.clock import RequestIds
from ahplat.errors import AhError, Moved, PreconditionFailed, Rejected, Unavailable, Unknown, Unreadable
from ahplat.log_lines import about
from events.selection import position_in
from projections import routes as routing
from projections.views import DAMAGE, read_checkpoint

logger = logging.getLogger("ahplat.api")


class Nothing(Struct):
    """The body of a command that takes none: it may be absent or an object, but not anything."""


class Edge:
    """See the module. `handle` is what aiohttp's low-level server calls."""

    def __init__(self, app: Application, routes: list[Route], gate: Gate, rates: Rates, forwarder: Forwarder) -> None:
        self._app = app
        self._tree = Tree(routes)
        self._gate = gate
        self._rates = rates
        self._forwarder = forwarder
        self._turn = 0
        self._ids = RequestIds()
        self.answered = Answered()
        self.in_flight = 0  # requests being answered; open streams are not counted

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, one answer."""
        raw_path = request.raw_path
        incoming = request.headers
        if labels := self._service_of(incoming.get("Host", "")):
            return await self._forward(request, labels)
        if raw_path[:1] != "/" or not raw_path.isascii():
            raw_path = _origin_form(request)
        request_id = headers.request_id(incoming.get("X-Request-Id"), self._fresh_id)
        path, _, query = raw_path.partition("?")
        call = Call(self._app, request, request_id, path, query, ())
        about.set(call)
        route: Route | None = None
        counted = 0
        try:
            route = self._find(call)
            call.asks = route.asks_by_query
            self.in_flight += (counted := not route.stream)
            await self._admit(call, route)
            if request.can_read_body:
                await self._take_body(call, route)
            if call.principal is ANONYMOUS and route.auth not in ("none", "metrics"):
                call.principal = self._by_body(call, route)
            if query:
                call.check_query()
            if (query and "min_position" in query) or "If-Position" in incoming:
                await self._come_to(call)
            if query and "as_of" in call.query:
                await past.go_back(call, route)
            reply = await self._answer(call, route)
            if reply.stream is not None:
                return reply.stream
            await self._let_out(call)
        except AhError as error:
            reply = self._problem(call, route, error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            if isinstance(error, DAMAGE):
                self._app.read_damage(error)
            logger.exception("%s %s broke", request.method, path)
            if request.writer.output_size:
                abort(request)
                raise ConnectionError("an answer had begun") from error
            reply = self._problem(call, route, AhError("internal", "something broke on our side"))
        finally:
            self.in_flight -= counted
            about.set(None)  # else task, context, call and request would hold each other
        return self._respond(call, reply)

    def _fresh_id(self) -> str:
        return self._ids.new(self._app.clock.now_us())

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
            raise MethodNotAllowed(method, sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
        return route

    async def _admit(self, call: Call, route: Route) -> None:
        """Lets the caller in as somebody. Raises Rejected, Throttled, Unavailable."""
        app = self._app
        config = app.config
        peer = peer_of(call.request, config.trusted_proxies)
        call.address = peer.address
        is_plain = not (peer.is_secure or peer.is_operator or config.dev)
        if is_plain and not (peer.is_local and route.path == "/v1/system/health"):
            raise Rejected("https_required", "this server is reached through its proxy, over https")
        if app.closing and not route.early:
            raise Unavailable("stopping", "the server is stopping", 2)
        is_limited = config.rate_limits and not isinstance(call.request, Inside)
        if is_limited and not route.early:
            self._rates.take_of_all()
        if not (app.ready.is_set() or route.early):
            await self._until_ready()
        call.principal = await self._identify(call, route, peer.is_operator)
        if call.principal.tenant_id and is_limited:
            call.limited = self._rates.take(call.principal.tenant_id)
        elif isinstance(call.request, Inside):
            call.limited = call.request.limited
        if call.principal.kind == "tenant" and (why := route.forbids(call.principal, call.values)):
            raise Rejected("forbidden_scope", why)

    async def _until_ready(self) -> None:
        try:
            await asyncio.wait_for(self._app.ready.wait(), limits.READY_WAIT_S)
        except TimeoutError as error:
            done, total = self._app.progress
            raise Unavailable("starting", f"the views are being built: {done} of {total} events", 5) from error

    async def _identify(self, call: Call, route: Route, is_operator: bool) -> Principal:
        is_vouched = is_operator or "X-Bootstrap-Token" in call.request.headers
        if route.auth == "key" or (route.auth == "key_or_operator" and not is_vouched):
            return await self._gate.tenant(call)
        if route.auth == "none" or (route.auth == "metrics" and self._app.config.dev):
            return ANONYMOUS
        if is_operator:
            return OPERATOR
        token = call.request.headers.get("X-Bootstrap-Token")
        if not token and route.body is not None:
            return ANONYMOUS  # it may be in the body
        return self._by_token(call, route, token or "")

    def _by_token(self, call: Call, route: Route, token: str) -> Principal:
        config = self._app.config
        is_open = route.auth == "registration" and config.dev and config.open_registration
        if is_open and not (token and config.bootstrap_tokens and self._gate.bootstrap(token, call.address)):
            return ANONYMOUS
        if not self._gate.bootstrap(token, call.address):
            code = "operator_only" if route.auth in ("operator", "metrics") and not token else "bootstrap_token_invalid"
            raise Rejected(
                code, "this wants X-Bootstrap-Token, or bootstrap_token in the body, or the operator's socket"
            )
        return OPERATOR if route.auth in ("operator", "key_or_operator", "metrics") else BOOTSTRAP

    def _by_body(self, call: Call, route: Route) -> Principal:
        """Who calls a route of the operator's without the header: the token is in the body, or there is none."""
        try:
            token = bodies.parse(call.raw, Token, strict=False).bootstrap_token
        except Rejected:
            token = ""
        return self._by_token(call, route, token)

    async def _take_body(self, call: Call, route: Route) -> None:
        """Reads the body. Whose key died while it was on its way is not let in any more.

        An archive is left to its handler, which may refuse it unread; one that was accepted before is only compared.
        """
        if route.archive and uploads.is_archive(call):
            if not call.is_dry and call.came_before():
                await uploads.hash_again(call)
            return
        was_whole = call.request.content.is_eof()
        is_known = call.principal is not ANONYMOUS
        call.raw = await incoming.whole(call.request, limits.BODY_BYTES if is_known else limits.OPEN_BODY_BYTES)
        if call.principal.tenant_id and not was_whole:
            call.principal = await self._gate.tenant(call)
        if route.body is None and call.request.method not in READS:
            call.body(Nothing)

    async def _come_to(self, call: Call) -> None:
        """Waits until the views are at the position that a read wants. Raises Rejected, and Unavailable when it is late."""
        if call.request.method not in READS or not self._app.ready.is_set():
            return
        wanted = call.asked(Fresh).min_position
        given = position_in(call.request.headers.get("If-Position", "0"))
        if given is None:
            raise headers.invalid_header("If-Position", "expected a position")
        wanted = max(wanted, given)
        if not await self._app.hub.until_committed(lambda: self._position() >= wanted, limits.POSITION_WAIT_S):
            raise Unavailable("projection_lag", f"the views are at position {self._position()}, not yet at {wanted}")

    def _position(self) -> int:
        checkpoint = read_checkpoint(self._app.views)
        return checkpoint.position if checkpoint else 0

    async def _let_out(self, call: Call) -> None:
        """Whose key died while a read waited is told nothing any more. Raises Rejected."""
        is_late = self._app.clock.monotonic() - call.began_s > limits.KEY_ASKED_AGAIN_S
        if is_late and call.principal.kind == "tenant" and call.request.method in READS:
            await self._gate.tenant(call)

    async def _answer(self, call: Call, route: Route) -> Reply:
        """The handler's answer; the first one, where a command came before and could not be accepted again."""
        try:
            if route.grows:
                self._app.disks.refuse()
            return await route.handler(call)
        except Planned as planned:
            return planned.reply
        except (Rejected, Unavailable) as error:
            if (isinstance(error, Rejected) or error.code == "disk_full") and (before := call.recalled()):
                return before
            raise

    # the way out

    def _problem(self, call: Call, route: Route | None, error: AhError) -> Reply:
        if isinstance(error, Unreadable):
            logger.warning("%s", error)
            error = Rejected("tenant_not_found", "the tenant was erased")
        outgoing, extra = self._told(call, error)
        code = error.code if error.code in problems.PROBLEMS else "internal"
        if code == "internal" and not isinstance(error, Rejected | Unknown):
            logger.error("%s", error)
        call.code = code
        status, body = problems.problem(
            code,
            error.detail,
            request_id=call.request_id,
            violations=error.violations if isinstance(error, Rejected) else (),
            retry_after_s=error.retry_after_s if isinstance(error, Unavailable | Throttled) else None,
            params=route.named(call.values) if route and call.values else None,
            extra=extra,
        )
        if status == HTTPStatus.UNAUTHORIZED:
            outgoing["WWW-Authenticate"] = 'Bearer realm="ahplat"'
        return Reply(status, body, problems.CONTENT_TYPE, outgoing)

    def _told(self, call: Call, error: AhError) -> tuple[dict[str, str], dict[str, Any]]:
        """What an error says of itself: (header fields, further members of the problem)."""
        if isinstance(error, Throttled):
            call.limited = error.headers or call.limited
        if isinstance(error, Throttled | Unavailable):
            return {"Retry-After": str(error.retry_after_s)}, dict(error.parts) if isinstance(error, NotReady) else {}
        if isinstance(error, MethodNotAllowed):
            return {"Allow": ", ".join(error.methods)}, {}
        if isinstance(error, PreconditionFailed):
            sent = call.request.headers.get("If-Match", "")[:200]
            tag = {"ETag": call.etag(error.actual)} if error.actual else {}
            return tag, {
                "expected": sent if error.expected == headers.NEVER else error.expected,
                "actual": error.actual,
            }
        if isinstance(error, Moved):
            return {}, {"moved_by": error.position}
        if error.code == "encoding_unsupported":
            return {"Accept-Encoding": "identity"}, {}  # RFC 9110, 12.5.3
        return {}, {}

    def _respond(self, call: Call, reply: Reply) -> web.Response:
        outgoing = {
            "Content-Type": reply.content_type,
            "X-Request-Id": call.request_id,
            "X-Content-Type-Options": "nosniff",
            **reply.headers,
        }
        if call.limited:
            outgoing.update(call.limited)
        tag = None
        if reply.status == HTTPStatus.OK and call.request.method in READS:
            if reply.content_type == JSON and "Cache-Control" not in outgoing:
                outgoing.setdefault("ETag", headers.content_tag(reply.body))
            tag = outgoing.get("ETag")
        if tag and headers.if_none_match(call.request.headers.get("If-None-Match"), tag):
            reply = Reply(HTTPStatus.NOT_MODIFIED)
        if reply.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED) or not reply.content_type:
            del outgoing["Content-Type"]
        self.answered.note(call, reply.status)
        return web.Response(body=reply.body, status=reply.status, headers=outgoing)

    def refuse(self, status: int, error: BaseException | None) -> web.Response:
        """The answer to what never became a request: it cannot be read as HTTP, or the handler itself broke."""
        request_id = self._fresh_id()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("request %s broke", request_id, exc_info=error)
            return refusal("internal", "something broke on our side", request_id)
        if isinstance(error, LineTooLong):
            code = "uri_too_long" if error.args[1] == limits.REQUEST_LINE_BYTES else "headers_too_large"
            return refusal(code, f"more than {error.args[1]} bytes", request_id)
        return refusal("bad_request", f"this cannot be read as HTTP ({type(error).__name__})", request_id)

    # services' hosts

    def _service_of(self, host: str) -> tuple[str, str] | None:
        """(service label, tenant label) of a host that is a service's: its own name, or one that was verified for it."""
        domain = self._app.config.domain
        if "." not in host:
            return None
        if labels := target_host(host, domain):
            return labels
        name = other_host(host, domain)
        return routing.labels_of_domain(self._app.views, name) if name and self._app.ready.is_set() else None

    async def _forward(self, request: web.BaseRequest, labels: tuple[str, str]) -> web.StreamResponse:
        """The built-in router: sends a service's request where the routes view says, replicas in turn."""
        app = self._app
        peer = peer_of(request, app.config.trusted_proxies)
        request_id = headers.request_id(request.headers.get("X-Request-Id"), self._fresh_id)
        if not (peer.is_secure or app.config.dev):
            return refusal("https_required", "this server is reached through its proxy, over https", request_id)
        if app.closing:
            return refusal("stopping", "the server is stopping", request_id)
        tried: set[str] = set()

        def place() -> Place | None:
            """Where an instance of the service answers that was not asked yet: it may have gone while it was."""
            found = routing.targets_of(app.views, *labels) if app.ready.is_set() else []
            targets = [one for one in found if one.instance not in tried]
            if not targets:
                return None
            self._turn += 1
            target = targets[self._turn % len(targets)]
            tried.add(target.instance)
            return target.host, target.port

        first = place()
        if first is None:
            code = "no_instance" if app.ready.is_set() and routing.is_routed(app.views, *labels) else "no_route"
            return refusal(code, f"no service answers under {'.'.join(labels)}.{app.config.domain}", request_id)
        proto = "https" if peer.is_secure else "http"
        counted = "Upgrade" not in request.headers
        self.in_flight += counted
        try:
            return await self._forwarder.forward(
                request,
                *first,
                tenant=labels[1],
                request_id=request_id,
                peer=peer.address,
                proto=proto,
                instead=place,
            )
        finally:
            self.in_flight -= counted

    async def idle(self, timeout_s: float) -> None:
        """Returns once nothing is being answered any more, streams and tunnels apart, or after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.in_flight:  # noqa: ASYNC110 — requests should not pay for an event that is wanted once
                    await asyncio.sleep(limits.SHUTDOWN_POLL_S)


def _origin_form(request: web.BaseRequest) -> str:
    """Path and query of a request line that names a whole URL (RFC 9112, 3.2.2), or holds bytes that no URL has."""
    path = request.raw_path
    if path.lower().startswith(("http://", "https://")):
        path = request.rel_url.raw_path_qs
    return headers.readable(path)


class MethodNotAllowed(Rejected):
    """The path is there, the method is not; `methods` are."""

    def __init__(self, method: str, methods: list[str]) -> None:
        super().__init__("method_not_allowed", f"{method[:20]} is not one of {', '.join(methods)}")
        self.methods = methods
