"""Agents that keep at it: each command has a key, and is repeated with that key until somebody answers.

What they were told and what they saw, and when, they keep: `history_of` puts it beside the log, for `history.py` to judge.
"""

import http.client
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from events.event import Event, Recorded
from tests.faults.harness import PATIENCE_S, Answer
from tests.faults.history import History, Range, Seen, Told, faults

GONE = (OSError, http.client.HTTPException)
STAYS_S = 4 * PATIENCE_S  # how long an agent keeps at it, through servers that die one after another
_ONE = re.compile(r"/v1/(service|database)s/([0-9a-f-]+)(?:\?|$)")
_TAG = re.compile(r'"\d+\.(\d+)[."]')


class Platform(Protocol):
    """Whoever answers, whichever process that is by now."""

    def ask(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Answer:
        """One request. Raises OSError, HTTPException."""

    @property
    def events(self) -> Sequence[tuple[Recorded, Event]]:
        """The whole log."""

    @property
    def commands(self) -> Sequence[Range]:
        """Where each command stands in it."""

    @property
    def running(self) -> frozenset[str]:
        """The ids of the instances that run."""


@dataclass
class Order:
    """A command, and what it was first answered. `began_s` is when it was first asked for."""

    method: str
    path: str
    body: Any
    key: str
    began_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0
    answer: Answer | None = None


@dataclass
class Agent:
    """One client of a tenant, on a thread of its own. `orders` is all that it ever asked for, in order."""

    server: Platform
    name: str
    api_key: str
    headers: dict[str, str] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    give_up: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None
    _thread: threading.Thread | None = None

    def begin(self, story: "Callable[[Agent], None]") -> "Agent":
        def run() -> None:
            try:
                story(self)
            except BaseException as error:
                self.failure = error

        self._thread = threading.Thread(target=run, name=self.name, daemon=True)
        self._thread.start()
        return self

    def join(self) -> None:
        """Waits until its story is told. Raises what broke it off."""
        assert self._thread
        self._thread.join(STAYS_S)
        if self.failure:
            raise self.failure
        assert not self._thread.is_alive(), f"{self.name} does not come to its end: {self.orders[-1:]}"

    @property
    def is_done(self) -> bool:
        """Whether its story is told, or broken off."""
        return self._thread is not None and not self._thread.is_alive()

    def order(self, method: str, path: str, body: Any = None, too_late: tuple[int, ...] = ()) -> Any:
        """A command that is accepted in the end; what it was answered.

        `too_late` is what who asks again may be answered after the command took away what its answer needs.
        """
        order = Order(method, path, body, f"{self.name}-{len(self.orders)}")
        self.orders.append(order)
        answer = self.repeat(order)
        order.ended_s = time.monotonic()
        if answer.status in too_late:
            return None
        assert 200 <= answer.status < 300, (order, answer)
        order.answer = answer
        return answer.json if answer.body else None

    def repeat(self, order: Order) -> Answer:
        """The command again, with its key."""
        return self._insist(
            order.method, order.path, order.body, Idempotency_Key=f'"{order.key}"', X_Request_Id=order.key
        )[0]

    def look(self, path: str) -> Any:
        """A read, which shows at least what was told before."""
        told = max((order.answer.position for order in self.answered if order.answer), default=0)
        answer, began_s = self._insist("GET", f"{path}{'&' if '?' in path else '?'}min_position={told}")
        if (one := _ONE.match(path)) and (tag := _TAG.match(answer.headers.get("etag", ""))):
            stream = f"{one[1]}-{one[2]}"
            self.seen.append(Seen(self.name, stream, int(tag[1]), began_s, time.monotonic()))
        return answer.json

    def settled(self) -> None:
        """Waits until no work is open. Somebody may have told it to give up before."""
        self.give_up.clear()
        deadline = time.monotonic() + STAYS_S
        while self.look("/v1/system/health/detailed")["effects"]["open"]:
            assert time.monotonic() < deadline, "work is open and does not come to its end"
            time.sleep(0.01)

    def _insist(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[Answer, float]:
        """The answer, and when what it answers was asked."""
        deadline = time.monotonic() + STAYS_S
        while True:
            began_s = time.monotonic()
            try:
                answer = self.server.ask(method, path, body, key=self.api_key, **self.headers, **headers)
                if answer.status != 503 or b'"retryable":false' in answer.body:
                    return answer, began_s
            except GONE:
                pass
            assert not self.give_up.is_set(), "told to give up"
            assert time.monotonic() < deadline, f"{method} {path}: nobody answered in time"
            time.sleep(0.01)

    @property
    def answered(self) -> list[Order]:
        return [order for order in self.orders if order.answer]


def history_of(server: Platform, agents: list[Agent], running: frozenset[str]) -> History:
    """What the agents were told and saw, beside the log. A command's answer shows its stream as the command left it."""
    log = server.events
    at = {recorded.position: recorded for recorded, _ in log}
    told, seen = [], [one for agent in agents for one in agent.seen]
    for agent in agents:
        for order in agent.answered:
            assert order.answer
            told.append(Told(order.key, order.answer.position))
            if stands := at.get(order.answer.position):
                seen.append(Seen(agent.name, stands.stream, stands.version, order.began_s, order.ended_s))
    asked = frozenset(order.key for agent in agents for order in agent.orders)
    return History(log, server.commands, asked, told, seen, running)


def check_repeats(server: Platform, agents: list[Agent]) -> None:
    """Each command that was answered is answered the same again, and that changes nothing."""
    before = len(server.events)
    for agent in agents:
        for order in agent.answered:
            first = order.answer
            assert first
            again = agent.repeat(order)
            assert (again.status, again.body, again.position) == (first.status, first.body, first.position), order
            assert again.headers["idempotency-replayed"] == "true"
    assert len(server.events) == before, "a repeat changed something"


def check_acknowledged(server: Platform, agents: list[Agent]) -> None:
    """What agents were told, what they saw, what the log holds and what runs fit together; and a repeat says the same."""
    assert faults(history_of(server, agents, server.running)) == []
    check_repeats(server, agents)
