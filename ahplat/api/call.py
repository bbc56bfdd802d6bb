"""One request on its way through a handler: who calls, what is asked, and the ways to answer.

A handler is `async def handler(call: Call) -> Reply`. It reads views, or submits one command; it never sees a socket
unless it streams.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode

import apsw
import msgspec
from aiohttp import web
from msgspec import Struct

from ahplat.answers import Answer, Done, Key, answered
from ahplat.api import body as bodies
from ahplat.api import cursors, headers
from ahplat.api.application import Application
from ahplat.api.plans import look, plan_of
from ahplat.api.query import Dry, Paged, refuse_doubtful, refuse_unknown
from ahplat.api.query import parse as parse_query
from ahplat.clock import new_id
from ahplat.commands.command import Command
from ahplat.errors import Rejected, Unreadable
from events.event import canonical
from events.log import read_command

T = TypeVar("T")
Q = TypeVar("Q", bound=Struct)

Kind = Literal["anonymous", "tenant", "operator", "bootstrap"]

JSON = "application/json"
READS = ("GET", "HEAD")
_PLACES = ("limit", "offset", "cursor", "after", "min_position")  # parameters that say which part of a list


class Principal(Struct, frozen=True):
    """Who calls. `actor` is what events record."""

    kind: Kind = "anonymous"
    actor: str = "anonymous"
    tenant_id: str = ""
    label: str = ""
    key_id: str = ""
    scopes: frozenset[str] = frozenset()
    expires_at: int = 0
    service_id: str = ""  # the only one that its key is for, "" for all


ANONYMOUS = Principal()
OPERATOR = Principal("operator", "operator")
BOOTSTRAP = Principal("bootstrap", "bootstrap")


class Reply(Struct):
    """An answer on its way out. `stream` is one that was sent already."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = {}
    stream: web.StreamResponse | None = None


class Planned(Exception):
    """A dry run came to its end: `reply` is its plan, and nothing that its handler would do after it is done."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("a dry run")
        self.reply = reply


class Page(Struct, frozen=True):
    """A part of a list: at most `limit` rows, those after `before` where it is given."""

    limit: int
    offset: int
    before: str


class Call:
    """See the module."""

    __slots__ = (
        "_query",
        "address",
        "app",
        "as_of",
        "asks",
        "began_s",
        "code",
        "limited",
        "past",
        "path",
        "position",
        "principal",
        "query_text",
        "raw",
        "request",
        "request_id",
        "values",
    )

    def __init__(
        self,
        app: Application,
        request: web.BaseRequest,
        request_id: str,
        path: str,
        query_text: str,
        values: tuple[str, ...],
    ) -> None:
        self.app = app
        self.request = request
        self.request_id = request_id
        self.path = path
        self.query_text = query_text
        self.values = values
        self.asks: tuple[type[Struct], ...] = ()  # what its route can be asked by its query
        self.principal = ANONYMOUS
        self.address = ""  # of who calls, as far as it is known
        self.raw = b""  # the body, or the hash of an archive
        self.position = 0  # where the events of its command end in the log, once they are there
        self.began_s = app.clock.monotonic()
        self.code = ""  # of the problem that it is answered with
        self.as_of = 0  # the position that `?as_of=` means,
        self.past: apsw.Connection | None = None  # the views as they were there; None for now
        self.limited: Mapping[str, str] | None = None  # the header fields that say how often more may be asked
        self._query: Mapping[str, str] | None = None

    # what is asked

    @property
    def views(self) -> apsw.Connection:
        """What reads are answered from: the views as they are, or as they were where that is asked."""
        return self.app.views if self.past is None else self.past

    @property
    def head(self) -> int:
        """Up to where the log is read: what lies beyond is later, or on the disk with its answers not out yet."""
        return self.as_of or self.app.hub.position

    @property
    def tenant_id(self) -> str:
        """Of who calls; "" for the operator and the anonymous."""
        return self.principal.tenant_id

    @property
    def traceparent(self) -> str:
        """The trace that the request is part of, "" where it is in none."""
        return headers.traceparent(self.request.headers.get("traceparent"))

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters; of one that is given twice, the first."""
        if self._query is None:
            pairs = parse_qsl(self.query_text, keep_blank_values=True) if self.query_text else []
            self._query = dict(reversed(pairs))
        return self._query

    def path_id(self, position: int = 0) -> str:
        """The n-th variable part of the path."""
        return self.values[position]

    def body(self, type_: type[T]) -> T:
        """The body as a struct. Raises Rejected with the pointer of the field."""
        return bodies.parse(self.raw, type_, strict="Prefer" in self.request.headers and self.prefer.strict)

    @property
    def prefer(self) -> headers.Prefer:
        """RFC 7240."""
        return headers.prefer(self.request.headers.getall("Prefer", []))

    def check_query(self) -> None:
        """Raises Rejected where a command's query is doubtful, and where one is not known that has to be."""
        is_read, may_be_strict = self.request.method in READS, "Prefer" in self.request.headers
        if is_read and not may_be_strict:
            return
        pairs = parse_qsl(self.query_text, keep_blank_values=True)
        if not is_read:
            refuse_doubtful([name for name, _ in pairs], may_be_dry=Dry in self.asks)
        if may_be_strict and self.prefer.strict:
            refuse_unknown(pairs, self.asks)

    def asked(self, type_: type[Q]) -> Q:
        """The query's parameters as a struct. Raises Rejected with the pointer of the parameter."""
        return parse_query(self.query, type_)

    def page(self, kind: str, asked: Paged) -> "Page":
        """Which part of a list is wanted. Raises Rejected `cursor_gone` for a cursor that is not one of ours."""
        before = cursors.read(self.app.keyring, self.scope(kind), asked.cursor) if asked.cursor else ""
        return Page(asked.limit, asked.offset, before)

    def scope(self, kind: str) -> str:
        """What a cursor is bound to: the kind of list, its holder, the life of the log."""
        return f"{kind} {self.tenant_id or self.principal.kind} {self.app.epoch} {self.path}"

    def listing(self, kind: str, page: "Page", rows: list[Any], last: str) -> Reply:
        """A list as a bare array; `Link: rel=next` where there may be more after `last`."""
        reply = json_reply(rows)
        if len(rows) == page.limit:
            token = cursors.write(self.app.keyring, self.scope(kind), last)
            reply.headers["Link"] = self.link_next(limit=str(page.limit), cursor=token)
        return reply

    def link_next(self, **place: str) -> str:
        """`Link: rel=next` (RFC 8288): the same question, from another place on."""
        asked = {name: value for name, value in self.query.items() if name not in _PLACES}
        return f'<{self.path}?{urlencode(asked | place)}>; rel="next"'

    def new_id(self) -> str:
        """An id for something that is to be."""
        return new_id(self.app.clock.now_us())

    def etag(self, version: int, body: bytes = b"") -> str:
        """The entity tag of a stream at a version; with a body, of what is shown beside it, too."""
        return headers.etag(self.app.epoch, version, body)

    def unsealed(self, tenant_id: str, stream: str, field: str, sealed: bytes | None) -> str:
        """A sealed field of a stream; "" where there is none, or no key any more."""
        if not sealed:
            return ""
        try:
            return self.app.keyring.unseal(tenant_id, stream, field, sealed).decode()
        except Unreadable:
            return ""

    # commands

    async def submit(
        self,
        command: Command,
        answer: Callable[[apsw.Connection], Answer] | None = None,
        keeps_secret: bool = True,
        cause: int = 0,
        seen: int = 0,
    ) -> Done:
        """Has a command decided; returns when its events are durable. Raises Planned where the call is a dry run.

        `cause` is the position of the event that led to it. `seen` is the version of its stream that it was made for:
        raises PreconditionFailed at any other.
        """
        agent, run, key = self.agent, self.run, self._key(keeps_secret)
        expected = seen or self.expected()
        if self.is_dry:
            raise Planned(await self._planned(command, key, expected))
        done = await self.app.writer.submit(
            command,
            actor=self.principal.actor,
            cause=cause,
            correlation=self.request_id,
            traceparent=self.traceparent,
            agent=agent,
            run=run,
            expected=expected,
            answer=answer,
            key=key,
        )
        self.position = done.last_position
        return done

    @property
    def is_dry(self) -> bool:
        """Whether a command is only asked what it would do. Raises Rejected."""
        return bool(self.query_text) and self.request.method not in READS and self.asked(Dry).dry_run

    async def _planned(self, command: Command, key: Key | None, expected: Any) -> "Reply":
        rehearsal = await self.app.writer.rehearse(
            command,
            partial(look, tenant_id=command.tenant_id),
            actor=self.principal.actor,
            expected=expected,
            key=key,
        )
        etag = self.etag(rehearsal.version)
        headers = {"Cache-Control": "no-store"} | ({"ETag": etag} if rehearsal.version else {})
        return Reply(200, msgspec.json.encode(plan_of(rehearsal, etag)), headers=headers)

    def came_before(self) -> bool:
        """Whether a command with this key was accepted before, whatever its body was."""
        key = self._key(keeps_secret=True)
        return key is not None and read_command(self.app.log, key.id) is not None

    def recalled(self) -> "Reply | None":
        """The first answer to this command, where it came before. Raises Rejected where that had another body.

        The writer looks first of all, but a handler may find that what the command was about is gone by now.
        """
        key = None if self.is_dry else self._key(keeps_secret=True)
        found = answered(self.app.log, self.app.keyring, key, self.app.clock.now_us()) if key else None
        if isinstance(found, Rejected):
            raise found
        return self.reply(found) if found else None

    @property
    def agent(self) -> str:
        """What the caller calls itself. Raises Rejected."""
        return self._named("X-Agent-Name")

    @property
    def run(self) -> str:
        """What the caller calls the work that it is at. Raises Rejected."""
        return self._named("X-Agent-Run")

    def _named(self, field: str) -> str:
        sent = self.request.headers.get(field)
        return "" if sent is None else headers.agent(field, sent)

    def expected(self) -> Any:
        """The version that the caller wants the command's stream to be at: "any" where it says none."""
        value = self.request.headers.get("If-Match")
        return "any" if value is None else headers.if_match(value, self.app.epoch)

    def _key(self, keeps_secret: bool) -> Key | None:
        if self.request.method in READS:
            return None
        sent = self.request.headers.getall("Idempotency-Key", ())
        text = headers.idempotency_key(", ".join(sent) if sent else None)  # RFC 9110, 5.3: two lines are one list
        if text is None:
            return None
        who = self.tenant_id or self.principal.kind
        mac = self.app.keyring.mac
        scope = canonical([who, self.request.method, self.path, text])
        return Key(mac("fingerprints", scope), mac("fingerprints", self._asked_for()), self.tenant_id, keeps_secret)

    def _asked_for(self) -> bytes:
        """What tells a command from another at the same path, however it was written: query and body.

        Of the query what is the route's own counts, and not whether this is a dry run.
        """
        meant = [self.asked(one) if self.query_text else one() for one in self.asks if one is not Dry]
        try:
            return canonical([meant, msgspec.json.decode(self.raw or b"{}")])
        except (msgspec.DecodeError, RecursionError):  # the hash of an archive
            return canonical([meant, self.raw])

    async def order(
        self, command: Command, value: Callable[[apsw.Connection], Any], status: int = 200, **fields: Any
    ) -> Reply:
        """Has a command decided and answers with what `value` reads from the views right after it."""
        return self.reply(await self.submit(command, lambda views: answer(value(views), status, **fields)))

    def reply(self, done: Done) -> Reply:
        """The answer to a command: as the writer rendered it, with where it stands in the log."""
        answer = done.answer
        extra = {"Event-Position": str(done.last_position)}
        if done.replayed:
            extra["Idempotency-Replayed"] = "true"
        if answer.location:
            extra["Location"] = answer.location
        if answer.version:
            extra["ETag"] = headers.etag(self.app.epoch, answer.version)
        text = answer.secret or answer.body
        if answer.secret or done.secret_expired:
            extra["Cache-Control"] = "no-store"
        if done.secret_expired:
            text = text[:-1] + b',"secret_expired":true}'
        return Reply(answer.status, text, headers=extra)


def answer(value: Any, status: int = 200, location: str = "", version: int = 0, secret: Any = None) -> Answer:
    """A command's answer; `secret` is the value that also holds what is told once."""
    return Answer(
        status=status,
        body=b"" if value is None else msgspec.json.encode(value),
        secret=b"" if secret is None else msgspec.json.encode(secret),
        location=location,
        version=version,
    )


def json_reply(value: Any, status: int = 200, **extra: str) -> Reply:
    """A struct, or a list of them, as compact JSON."""
    return Reply(
        status, msgspec.json.encode(value), headers={key.replace("_", "-"): text for key, text in extra.items()}
    )
