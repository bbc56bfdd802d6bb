"""A busy platform for a while, and then far more than it takes: does it stay as it is, does it refuse well, does it come back.

80 % of what all tenants together may ask (requests a second, `limits.GLOBAL_RATE`), a quarter of it commands, beside 200
open event streams and restarts one after the other. Then three times that rate, while somebody asks for health.
"""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import quantiles

from ahplat import limits
from tests.bench import load, mix
from tests.bench.figure import Figure
from tests.bench.over_http import ENV
from tests.bench.process import Served, platform, register, serving
from tests.bench.streaming import close, opened

SECONDS, QUICK_SECONDS = 600, 60
WINDOW_S, QUICK_WINDOW_S = 60, 10  # at the beginning and at the end, set against each other
TENANTS, STREAMS, CONNECTIONS = 5, 200, 256
RATE = limits.GLOBAL_RATE * 8 // 10
OVER_RATE, OVER_SECONDS = limits.GLOBAL_RATE * 3, 20
COMMANDS, READS = 1, 3  # of four requests
HEALTH_EVERY_S = 0.1


class Tenant:
    """One with a service that runs."""

    def __init__(self, server: Served, number: int) -> None:
        self.server = server
        self.key = register(server, f"bench{number}")
        body = {"name": "web", "image": "ah/hello"}
        made = server.ask("POST", "/v1/services", self.key, body, Prefer="wait=30")
        if made["status"] != "running":
            raise RuntimeError(f"the service of tenant {number} is {made['status']}")
        self.path = f"/v1/services/{made['id']}"

    def requests(self) -> list[tuple[int, bytes]]:
        """What it asks, with weights."""
        port, key = self.server.port, self.key
        return [
            (COMMANDS, load.request("POST", f"{self.path}/env", port, key, ENV)),
            (READS, load.request("GET", self.path, port, key)),
        ]

    def is_let_in(self) -> bool:
        """Whether it may ask right now."""
        try:
            self.server.ask("GET", self.path, self.key)
        except RuntimeError:
            return False
        return True


class Beside:
    """What goes on beside the requests until it is closed: streams that are read, and restarts one after the other."""

    def __init__(self, tenants: list[Tenant]) -> None:
        self._tenants = tenants
        self._over = threading.Event()
        self._streams: list[socket.socket] = []
        self.read_bytes = 0
        self.restarts = 0
        self.wrong: list[str] = []
        for tenant in tenants:
            request = load.request("GET", "/v1/events", tenant.server.port, tenant.key, accept="text/event-stream")
            self._streams += opened(request, tenant.server.port, STREAMS // len(tenants))
        self._threads = [threading.Thread(target=work) for work in (self._read, self._restart)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        close(self._streams)

    def _read(self) -> None:
        poll = select.epoll()
        by_number = {stream.fileno(): stream for stream in self._streams}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        while not self._over.is_set():
            for number, _ in poll.poll(0.2):
                data = by_number[number].recv(65_536)
                self.read_bytes += len(data)
                if not data:
                    poll.unregister(number)
                    self.wrong.append("a stream ended")

    def _restart(self) -> None:
        while not self._over.is_set():
            tenant = self._tenants[self.restarts % len(self._tenants)]
            try:
                said = tenant.server.ask("POST", f"{tenant.path}/restart", tenant.key, Prefer="wait=30")
                if said["status"] != "running":
                    self.wrong.append(f"after a restart it is {said['status']}")
            except (OSError, RuntimeError) as error:
                self.wrong.append(str(error)[:200])
            self.restarts += 1


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Of each half what was aimed at."""
    seconds, window = (QUICK_SECONDS, QUICK_WINDOW_S) if quick else (SECONDS, WINDOW_S)
    with serving(platform(folder / "data"), folder / "log") as server:
        tenants = [Tenant(server, number) for number in range(TENANTS)]
        requests = [one for tenant in tenants for one in tenant.requests()]
        with closing(Beside(tenants)) as beside:
            memory = Memory(server, window)
            said = mix.put(server.port, requests, RATE, seconds, CONNECTIONS)
            resident = memory.taken()
        wrong = sum(count for status, count in said.statuses.items() if not status.startswith("2"))
        first, last = (
            [ms for second, ms in said.ms if begin <= second < begin + window] for begin in (0, seconds - window)
        )
        yield Figure(f"{RATE}/s for {seconds} s: answers other than 2xx", "", wrong + said.late)
        yield Figure("… of streams and restarts beside it", "", len(beside.wrong))
        yield Figure("… restarts", "", beside.restarts)
        yield Figure("… sent on streams", "MB", beside.read_bytes / 1e6)
        yield Figure("… p50 in the end, bare: at first", "ms", quantiles(last, n=100)[49], quantiles(first, n=100)[49])
        yield Figure("… p99 in the end, bare: at first", "ms", quantiles(last, n=100)[98], quantiles(first, n=100)[98])
        yield Figure("… resident in the end, bare: at first", "MB", resident[1], resident[0])
        yield from too_much(server, tenants, requests)


class Memory:
    """What a server has resident after a window, and when it is asked again."""

    def __init__(self, server: Served, after_s: float) -> None:
        self._server = server
        self._first = 0.0
        self._timer = threading.Timer(after_s, self._look)
        self._timer.start()

    def _look(self) -> None:
        self._first = self._server.resident_mb()

    def taken(self) -> tuple[float, float]:
        """(at first, now) in MB."""
        self._timer.join()
        return self._first, self._server.resident_mb()


def too_much(server: Served, tenants: list[Tenant], requests: list[tuple[int, bytes]]) -> Iterator[Figure]:
    """Three times what all may ask; health is asked for meanwhile, and each tenant right after it."""
    health_ms: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(HEALTH_EVERY_S):
            began = time.monotonic()
            server.ask("GET", "/v1/system/health")
            health_ms.append((time.monotonic() - began) * 1e3)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        said = mix.put(server.port, requests, OVER_RATE, OVER_SECONDS, CONNECTIONS)
    finally:
        over.set()
        looking.join()
    began = time.monotonic()
    for tenant in tenants:
        while not tenant.is_let_in():
            pass
    back_ms = (time.monotonic() - began) * 1e3
    taken = sum(count for status, count in said.statuses.items() if status.startswith("2"))
    refused = sum(said.statuses.get(status, 0) for status in ("429", "503"))
    other = sum(said.statuses.values()) - taken - refused + said.without_retry_after + said.late
    yield Figure(f"{OVER_RATE}/s for {OVER_SECONDS} s: neither 2xx nor refused with Retry-After", "", other)
    yield Figure("… taken", "/s", taken / OVER_SECONDS)
    yield Figure("… refused", "/s", refused / OVER_SECONDS)
    yield Figure("… health meanwhile, at most", "ms", max(health_ms))
    yield Figure("… until every tenant was let in again", "ms", back_ms)
