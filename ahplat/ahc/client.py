"""The HTTP side: one request, repeated where that is safe and can help, and the server's problems as failures.

Theory of operation. Every command carries an Idempotency-Key that is made once per invocation, so that a repeat is never
done twice: an answer that was lost, 429, 503 and whatever else calls itself retryable is asked for again, with back-off and
jitter, for as long as Retry-After wants, within PATIENCE_S in all. A command whose last answer was lost too has an unknown
outcome, and its failure says with what key it may be repeated. Reads are repeated in the same way.
"""

import json
import re
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from msgspec import Struct

from ahplat.ahc.failures import FAILED, MISSING, UNAVAILABLE, UNKNOWN, USAGE, Failure, of_problem
from ahplat.ahc.settings import LOOPBACK
from ahplat.version import VERSION

TRIES = 8
PATIENCE_S = 60.0  # for all repeats of one request
BACKOFF_S = (0.25, 5.0)  # the first wait at most, and what it rises to; each is half of that, and by chance up to all
TIMEOUT_S = 45.0  # of one answer; the server waits up to 30 s for a command that says so
BUSY = frozenset({429, 502, 503, 504})
PAGE = 200
REPLAY_FIELD = "Idempotency-Replayed"

_PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")  # what a field of a request may hold, and a key or a name is
_NOT_OURS = "and not as ahplat does"
_chance = secrets.SystemRandom()


def segment(word: str) -> str:
    """What somebody typed as one part of a path, which it cannot leave. Raises Failure.

    >>> segment("a/../b?c#d")
    'a%2F..%2Fb%3Fc%23d'
    """
    if word in ("", ".", ".."):
        raise Failure(MISSING, f"nothing is called {word!r}")
    return quote(word, safe="")


def field(name: str, value: str) -> str:
    """A value that can go into a field of a request. Raises Failure, without the value: it may be a secret."""
    if not _PRINTABLE.fullmatch(value):
        raise Failure(USAGE, f"{name} is empty, or holds what is no printable ASCII", "look for spaces and line ends")
    return value


class Reply(Struct, frozen=True):
    """An answer; `json` is None where it has no body."""

    status: int
    headers: Mapping[str, str]
    json: Any = None

    def json_of(self, url: str, *kinds: type) -> Any:
        """Its JSON, which is an object or a list of objects, as `kinds` say. Raises Failure: who answers is no ahplat."""
        rows = self.json if isinstance(self.json, list) else [self.json]
        if not isinstance(self.json, kinds) or not all(isinstance(row, dict) for row in rows):
            raise Failure(USAGE, f"{url} answered {self.status}, {_NOT_OURS}", "check AH_URL")
        return self.json

    @property
    def was_replayed(self) -> bool:
        """Whether this is the answer that was lost before."""
        return self.headers.get(REPLAY_FIELD.lower()) == "true"


def delay_s(attempt: int, retry_after: str | None, chance: Callable[[], float] = _chance.random) -> float:
    """How long to wait after a try, counted from 0.

    >>> [delay_s(n, None, lambda: 1.0) for n in (0, 1, 2, 9)], delay_s(0, None, lambda: 0.0), delay_s(0, "3", lambda: 0.0)
    ([0.25, 0.5, 1.0, 5.0], 0.125, 3.0)
    """
    at_most = min(BACKOFF_S[0] * 2.0**attempt, BACKOFF_S[1])
    wait_s = at_most * (1 + chance()) / 2
    try:
        return max(wait_s, float(retry_after or 0))
    except ValueError:  # a date, which no server of ours sends
        return wait_s


class Client:
    """See the module. `tell` is given a line whenever it is worth saying why nothing happens."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        invocation: str,
        agent: Mapping[str, str],
        sleep: Callable[[float], None],
        tell: Callable[[str], None],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self.heard = False  # whether anything was answered that is no problem
        self.as_of = ""  # the position or time that reads are about; "" for now
        self.invocation = invocation
        self._sleep = sleep
        self._tell = tell
        fields = {"User-Agent": f"ahc/{VERSION}", "Accept": "application/json"}
        fields |= {name: field(name, value) for name, value in agent.items()}
        if key:
            fields["Authorization"] = f"Bearer {field('the key', key)}"
        is_here = urlsplit(url).hostname in LOOPBACK
        self._http = httpx.Client(
            base_url=url,
            headers=fields,
            timeout=httpx.Timeout(TIMEOUT_S, connect=10.0),
            transport=transport,
            trust_env=not is_here,  # a proxy has no part in what stays on this machine
        )

    def close(self) -> None:
        """Lets go of its connections."""
        self._http.close()

    # reading

    def read(self, path: str, **query: Any) -> Any:
        """What is there, as JSON. Raises Failure."""
        return self._repeated("GET", path, query | {"as_of": self.as_of}).json_of(self.url, dict, list)

    def pages(self, path: str, **query: Any) -> list[Any]:
        """A list, to its end."""
        rows: list[Any] = []
        reply = self._repeated("GET", path, {"limit": PAGE} | query | {"as_of": self.as_of})
        while True:
            rows += (found := reply.json_of(self.url, list))
            link = httpx.Response(200, headers={"Link": reply.headers.get("link", "")}).links.get("next")
            if not link or not found:
                return rows
            reply = self._repeated("GET", link["url"], {})

    # commands

    def order(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        file: Path | None = None,
        query: Mapping[str, Any] | None = None,
        fields: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Has something done, once however often it is asked for. `file` is sent as it is, in place of `body`.

        All commands of an invocation have one key: for the server it is another one at each method and path.
        """
        sent = {"Idempotency-Key": f'"{field("--idempotency-key", self.invocation)}"'}
        sent |= {name: field(name, value) for name, value in (fields or {}).items()}
        try:
            reply = self._repeated(method, path, query or {}, body, file, sent, timeout_s)
            if reply.status != 204:
                reply.json_of(self.url, dict)
            return reply
        except Failure as failure:
            if failure.code == UNKNOWN:
                failure.advise(f"run it again with --idempotency-key {self.invocation}: it is not done twice")
                failure.problem["idempotency_key"] = self.invocation
            raise

    def _repeated(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any = None,
        file: Path | None = None,
        fields: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        waited_s, may_have_come = 0.0, False
        for attempt in range(TRIES):
            answer, lost = None, None
            try:
                answer = self._once(method, path, query, body, file, fields, timeout_s)
            except httpx.TransportError as error:
                if why := _never(error):
                    raise Failure(UNAVAILABLE, f"{self.url} cannot be reached: {why}", "check AH_URL") from error
                lost = error
                may_have_come = may_have_come or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            if answer is not None and not _is_passing(answer):
                self.heard = self.heard or answer.is_success
                return _reply(answer)
            wait_s = delay_s(attempt, answer.headers.get("Retry-After") if answer is not None else None)
            if attempt == TRIES - 1 or waited_s + wait_s > PATIENCE_S:
                break
            why = f"the server answered {answer.status_code}" if answer is not None else f"no answer: {_why(lost)}"
            self._tell(f"{why}; trying again in {wait_s:.1f} s")
            self._sleep(wait_s)
            waited_s += wait_s
        if answer is not None:
            return _reply(answer)
        if may_have_come and method != "GET":
            raise Failure(
                UNKNOWN, f"the answer of {self.url} was lost ({_why(lost)}): it may or may not have been done"
            )
        raise Failure(
            UNAVAILABLE, f"{self.url} does not answer ({_why(lost)})", "check AH_URL, and that the server runs"
        )

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any,
        file: Path | None,
        fields: Mapping[str, str] | None,
        timeout_s: float,
    ) -> httpx.Response:
        params = {name: value for name, value in query.items() if value not in (None, "")} or None
        timeout = httpx.Timeout(timeout_s, connect=10.0)
        if file is None:
            return self._http.request(method, path, params=params, json=body, headers=fields, timeout=timeout)
        with file.open("rb") as content:  # anew for each try
            size = {"Content-Length": str(file.stat().st_size)}
            sent = {**(fields or {}), **size}
            return self._http.request(method, path, params=params, content=content, headers=sent, timeout=timeout)

    # what has no end

    @contextmanager
    def opened(self, path: str, query: Mapping[str, Any], fields: Mapping[str, str]) -> Iterator[httpx.Response]:
        """An answer that comes bit by bit; nothing is said for at most 60 s. Raises Failure, httpx.TransportError."""
        params = {name: value for name, value in query.items() if value not in (None, "")} or None
        timeout = httpx.Timeout(60.0, connect=10.0)
        with self._http.stream("GET", path, params=params, headers=fields, timeout=timeout) as answer:
            if not answer.is_success:
                answer.read()
                _reply(answer)
            self.heard = True
            yield answer


def _is_passing(answer: httpx.Response) -> bool:
    """Whether the same request can succeed later."""
    if answer.is_success or answer.status_code < 400:
        return False
    found = _problem(answer)
    if found is None:
        return answer.status_code in BUSY
    return bool(found.get("retryable")) and found.get("code") != "disk_full"


def _problem(answer: httpx.Response) -> dict[str, Any] | None:
    if "json" not in answer.headers.get("Content-Type", ""):
        return None
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(found, dict) and isinstance(found.get("code"), str) and isinstance(found.get("status"), int)
    return found if is_ours else None


def _reply(answer: httpx.Response) -> Reply:
    """What was answered. Raises Failure for whatever is no success."""
    if answer.is_success:
        is_json = answer.content and "json" in answer.headers.get("Content-Type", "")
        try:
            return Reply(answer.status_code, dict(answer.headers), json.loads(answer.content) if is_json else None)
        except (ValueError, RecursionError) as error:
            raise Failure(FAILED, f"the server's answer cannot be read: {error}", "check AH_URL") from error
    if problem := _problem(answer):
        raise of_problem(problem)
    where = f"{answer.request.url.scheme}://{answer.request.url.netloc.decode()}"
    if answer.is_redirect:
        there = answer.headers.get("Location", "elsewhere")
        raise Failure(USAGE, f"{where} sends us to {there[:200]}", "set AH_URL to that server: a key is not sent on")
    code = UNAVAILABLE if answer.status_code in BUSY else FAILED if answer.status_code >= 500 else USAGE
    raise Failure(code, f"{where} answered {answer.status_code}, {_NOT_OURS}", "check AH_URL")


def _never(error: BaseException | None) -> str:
    """Why another try would end in the same way: there is no TLS, or no such host; "" where it need not."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return str(error) if "VERIFY" in str(error) else f"{error} (is it http, not https?)"
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
            return "there is no such host"
        error = error.__cause__ or error.__context__
    return ""


def _why(error: Exception | None) -> str:
    text = str(error) if error else ""
    return text[:200] or type(error).__name__
