"""Clients that others wrote follow the event stream through restarts: no gap, no duplicate, no step back, at any speed.

Three that have nothing in common: `requests-sse`, `httpx-sse`, and `curl`, whose lines are read as a person would.
"""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import requests
from httpx_sse import connect_sse
from requests_sse import EventSource, InvalidStatusCodeError

from events.event import Meta
from events.log import EventLog
from events.services import ServiceEnvSet
from tests.faults.harness import LAPTOP, Server, eventually, wiped
from tests.folders import memory_folder

pytestmark = pytest.mark.embedded

PATIENCE_S = 300.0
SLOW_EVERY, SLOW_S = 50, 0.002  # the slow one rests that long, once in so many events


class Follower:
    """A client on a thread of its own. `seen` is what it got, in order; it ends once it has `wanted`."""

    def __init__(self, server: Server, key: str, wanted: int) -> None:
        self.url = f"http://127.0.0.1:{server.options[-1]}/v1/events"
        self.headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
        self.wanted = wanted
        self.seen: list[int] = []
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> "Follower":
        self._thread.start()
        return self

    def _run(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        try:
            while not self.ended.is_set() and time.monotonic() < deadline:
                for position in self.follow(self.seen[-1] if self.seen else 0):
                    self.seen.append(position)
                    if position >= self.wanted:
                        self.ended.set()
                        break
        except BaseException as error:
            self.failure = error

    def follow(self, after: int) -> Iterator[int]:
        """The ids of one connection, or of as many as the client makes by itself."""
        raise NotImplementedError


class WithHttpx(Follower):
    """Fast."""

    def follow(self, after: int) -> Iterator[int]:
        sent = self.headers | {"Last-Event-ID": str(after)}
        try:
            with httpx.Client(timeout=20) as client, connect_sse(client, "GET", self.url, headers=sent) as source:
                for event in source.iter_sse():
                    if event.data:
                        yield int(event.id)
        except httpx.HTTPError:
            time.sleep(0.05)  # the server is not there


class WithRequests(Follower):
    """Slow: what it is sent waits in the connection until that is full."""

    def follow(self, after: int) -> Iterator[int]:
        def lost() -> None:  # it would come back by itself, each time twice as late
            raise requests.ConnectionError

        try:
            with EventSource(
                self.url,
                headers=self.headers,
                timeout=20,
                latest_event_id=str(after),
                max_connect_retry=0,
                on_error=lost,
            ) as source:
                for n, event in enumerate(source):
                    if n % SLOW_EVERY == 0:
                        time.sleep(SLOW_S)
                    if event.data:
                        yield int(event.last_event_id)
        except (requests.RequestException, InvalidStatusCodeError):
            time.sleep(0.05)


class WithCurl(Follower):
    """Comes back with the last id of what it wrote."""

    def follow(self, after: int) -> Iterator[int]:
        argv = ["curl", "-sN", "--max-time", "60", self.url, "-H", f"Last-Event-ID: {after}"]
        argv += [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as curl:
            assert curl.stdout
            position = ""
            for line in curl.stdout:
                if line.startswith("id: "):
                    position = line[4:]
                elif line.startswith("data: "):
                    yield int(position)
            curl.terminate()
        time.sleep(0.05)


@pytest.fixture
def fixed() -> Iterator[Server]:
    """A server whose port stays, as a client expects it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with memory_folder() as folder, wiped(Server(folder / "data", *LAPTOP, "--port", str(port))) as server:
        yield server


def a_long_log(server: Server, events: int) -> tuple[str, str]:
    """A tenant of whom there are so many events, its key, and the id of its service."""
    key = server.start().register()
    service_id = server.ask("POST", "/v1/services", {"name": "web"}, key=key).json["id"]
    tenant_id = server.ask("GET", "/v1/tenant", key=key).json["id"]
    server.end()
    log = EventLog(server.folder / "events.db", "", 0)
    meta = Meta("key:test", "SetEnv")
    while log.position < events:
        log.begin()
        facts = [ServiceEnvSet({"A": b"sealed"}) for _ in range(min(2_000, events - log.position))]
        log.append(f"service-{service_id}", facts, "exists", tenant_id, log.last_us + 1, meta)
        log.commit()
    log.close()
    return key, service_id


def positions_of_tenant(server: Server, tenant: str) -> list[int]:
    return [at.position for at, _ in server.events if at.tenant == tenant]


def until(follower: Follower, position: int) -> None:
    """Waits until a follower has come so far."""
    eventually(lambda: follower.seen and follower.seen[-1] >= position, within_s=PATIENCE_S)


def followed_through(server: Server, events: int, restarts: int) -> None:
    key, service_id = a_long_log(server, events)
    server.start()
    wanted = events + 2 * restarts
    followers = [kind(server, key, wanted).begin() for kind in (WithHttpx, WithRequests, WithCurl)]
    for n in range(restarts):
        until(followers[n % 3], events * (n + 1) // (restarts + 1))
        server.end(signal.SIGKILL if n % 2 else signal.SIGTERM)
        server.start()
        for name in ("B", "C"):  # some of it is new
            answer = server.ask("POST", f"/v1/services/{service_id}/env", {name: str(n)}, key=key)
            assert answer.status == 200
    tenant_id = server.ask("GET", "/v1/tenant", key=key).json["id"]
    expected = positions_of_tenant(server, tenant_id)
    assert expected[-1] == wanted
    for follower in followers:
        assert follower.ended.wait(PATIENCE_S), (type(follower).__name__, len(follower.seen), follower.failure)
        assert follower.seen == expected, type(follower).__name__


def test_three_clients_of_others_follow_through_restarts(fixed: Server) -> None:
    followed_through(fixed, 12_000, 5)


@pytest.mark.long
def test_three_clients_of_others_follow_a_hundred_thousand_events_through_twenty_restarts(fixed: Server) -> None:
    followed_through(fixed, 100_000, 20)
