"""`ahc` in this process, before a server that a test writes down: what it asks is kept, and it never waits for real.

desk = Desk({"GET /v1/services": [WEB]})
done = desk.run("services", "--json")
assert done.code == 0 and done.json == [WEB]
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from ahplat.ahc.main import run
from ahplat.ahc.session import World
from tests.ahc.process import Done

Answer = httpx.Response | Exception | Any  # a body stands for 200
URL, KEY = "https://server.test", "keyid.secret"
WEB = {
    "id": "a" * 32,
    "name": "web",
    "status": "running",
    "image": "ah/hello",
    "url": "http://web.acme.localhost",
    "crash_count": 0,
    "circuit_open": False,
}


def problem(status: int, code: str, *, retryable: bool = False, retry_after: str = "", **more: Any) -> httpx.Response:
    """A problem as the server has them."""
    body = {"status": status, "code": code, "title": code, "detail": f"it is {code}", "retryable": retryable} | more
    fields = {"Content-Type": "application/problem+json"} | ({"Retry-After": retry_after} if retry_after else {})
    return httpx.Response(status, content=json.dumps(body), headers=fields)


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


class Desk:
    """`answers`: "METHOD /path" → an answer, or several, one after the other, the last for ever."""

    def __init__(self, answers: dict[str, Any], home: Path | None = None, **environ: str) -> None:
        self.answers = answers
        self.environ = {"HOME": str(home or "/nowhere"), "AH_URL": URL, "AH_KEY": KEY} | environ
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []
        self.terminal = False

    def run(self, *arguments: str) -> Done:
        """To its end."""
        out, err = io.StringIO(), Terminal() if self.terminal else io.StringIO()
        world = World(
            environ={name: value for name, value in self.environ.items() if value},
            out=out,
            err=err,
            sleep=self.slept.append,
            transport=httpx.MockTransport(self._answer),
        )
        code = run(list(arguments), world)
        assert "Traceback" not in out.getvalue() + err.getvalue()
        return Done(code, out.getvalue(), err.getvalue())

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        known = self.answers[f"{request.method} {request.url.path}"]
        if isinstance(known, Several):
            known = known.next()
        if callable(known):
            known = known(request)
        if isinstance(known, BaseException):
            raise known
        return known if isinstance(known, httpx.Response) else httpx.Response(200, json=known)

    @property
    def lines(self) -> list[str]:
        """What was asked."""
        return [f"{request.method} {request.url.path}" for request in self.asked]


class Several:
    """Answers one after the other, the last for ever."""

    def __init__(self, *answers: Answer | Callable[[httpx.Request], Any]) -> None:
        self._answers: Sequence[Any] = answers
        self._given = 0

    def next(self) -> Any:
        self._given += 1
        return self._answers[min(self._given, len(self._answers)) - 1]
