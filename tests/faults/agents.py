"""Agents that keep at it: each command has a key, and is repeated with that key until somebody answers."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from events.event import Recorded
from tests.faults.harness import PATIENCE_S, Answer, Server

GONE = (OSError, http.client.HTTPException)


@dataclass
class Order:
    """A command, and what it was first answered."""

    method: str
    path: str
    body: Any
    key: str
    answer: Answer | None = None


@dataclass
class Agent:
    """One client of a tenant, on a thread of its own. `orders` is all that it ever asked for, in order."""

    server: Server
    name: str
    api_key: str
    orders: list[Order] = field(default_factory=list)
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
        self._thread.join(PATIENCE_S)
        if self.failure:
            raise self.failure
        assert not self._thread.is_alive(), f"{self.name} does not come to its end: {self.orders[-1:]}"

    def order(self, method: str, path: str, body: Any = None) -> Any:
        """A command that is accepted in the end; what it was answered."""
        order = Order(method, path, body, f"{self.name}-{len(self.orders)}")
        self.orders.append(order)
        order.answer = self.repeat(order)
        assert 200 <= order.answer.status < 300, order
        return order.answer.json

    def repeat(self, order: Order) -> Answer:
        """The command again, with its key."""
        return self._insist(order.method, order.path, order.body, Idempotency_Key=f'"{order.key}"')

    def look(self, path: str) -> Any:
        """A read."""
        return self._insist("GET", path).json

    def _insist(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.server.ask(method, path, body, key=self.api_key, **headers)
                if answer.status != 503:
                    return answer
            except GONE:
                pass
            assert not self.give_up.is_set(), "told to give up"
            assert time.monotonic() < deadline, f"{method} {path}: nobody answered in time"
            time.sleep(0.01)

    @property
    def answered(self) -> list[Order]:
        return [order for order in self.orders if order.answer]


def check_acknowledged(server: Server, agents: list[Agent]) -> None:
    """What was answered stands in the log where the answer says, exactly once, and is answered the same again."""
    recorded = server.events
    at = {fact.position: (fact, event) for fact, event in recorded}
    told: set[int] = set()
    for agent in agents:
        for order in agent.answered:
            first = order.answer
            assert first
            fact, _ = at[first.position]
            assert fact.decoded_meta().cause == 0
            assert first.position not in told, "two commands, one position"
            told.add(first.position)
            again = agent.repeat(order)
            assert (again.status, again.body, again.position) == (first.status, first.body, first.position), order
            assert again.headers["idempotency-replayed"] == "true"
    requests = {(at.decoded_meta().actor, at.decoded_meta().correlation) for at, _ in recorded if is_service(at)}
    asked = [correlation for actor, correlation in requests if actor != "system"]
    assert len(asked) == sum(len(agent.orders) for agent in agents), "each command once, and no other"
    assert len(server.events) == len(recorded), "a repeat changed something"


def is_service(at: Recorded) -> bool:
    """Whether the event is about a service, and not about work or tenants."""
    return at.stream.startswith("service-")
