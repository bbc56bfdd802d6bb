"""A client that asks at a constant rate whatever the answers take, as many agents do: a process of its own, raw sockets.

    python -m tests.bench.mix PORT RATE SECONDS CONNECTIONS  < requests, as JSON: [[weight, latin-1 text], …]

A request that is due waits for a free connection and counts from when it was due, so a server that is slow for a moment
does not hide what came due meanwhile. Requests are drawn by weight. Prints one line of JSON, see `Said`.
"""

import json
import random
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque

import msgspec
from msgspec import Struct

from tests.bench.load import TIMEOUT_S, answer_bytes


class Said(Struct, frozen=True):
    """What came of it, by status or "hung up". `ms` has the latency of each answer 2xx with the second in which it was due."""

    statuses: dict[str, int]
    without_retry_after: int  # of 429 and 503
    late: int  # due, and without a free connection when it was over
    ms: list[tuple[int, float]]


def put(port: int, requests: list[tuple[int, bytes]], rate: int, seconds: float, connections: int) -> Said:
    """Asks from another process."""
    argv = [sys.executable, "-P", "-m", "tests.bench.mix", *map(str, (port, rate, seconds, connections))]
    given = json.dumps([[weight, text.decode("latin-1")] for weight, text in requests])
    done = subprocess.run(argv, input=given, capture_output=True, timeout=seconds + TIMEOUT_S, check=True, text=True)
    return msgspec.json.decode(done.stdout, type=Said)


class Client:
    """Connections, and what is due."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._by_number: dict[int, socket.socket] = {}
        self._free: deque[int] = deque()
        for _ in range(connections):
            self._connect()
        self._due: dict[int, float] = {}  # of what is under way on a connection
        self._parts: dict[int, bytes] = {}
        self.statuses: Counter[str] = Counter()
        self.without_retry_after = 0
        self.ms: list[tuple[int, float]] = []

    def ask(self, requests: list[bytes], rate: int, seconds: float) -> int:
        """All of them at their time, again and again; how many were due and not sent."""
        began = time.monotonic()
        number, all_of_them = 0, int(rate * seconds)
        while number < all_of_them or self._due:
            now = time.monotonic() - began
            if now > seconds + TIMEOUT_S / 2:
                break
            while number < all_of_them and self._free and number / rate <= now:
                connection = self._free.popleft()
                self._due[connection] = began + number / rate
                self._by_number[connection].sendall(requests[number % len(requests)])
                number += 1
            if now > seconds and number < all_of_them:
                break
            for connection, _ in self._poll.poll(0.0005 if self._free else 0.05):
                self._take(connection, began)
        return all_of_them - number

    def _connect(self) -> None:
        one = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._by_number[one.fileno()] = one
        self._poll.register(one, select.EPOLLIN)
        self._free.append(one.fileno())

    def _take(self, connection: int, began: float) -> None:
        try:
            got = self._by_number[connection].recv(65_536)
        except ConnectionError:
            got = b""
        if not got:
            self._hung_up(connection)
            return
        data = self._parts.pop(connection, b"") + got
        whole = answer_bytes(data)
        if not whole or len(data) < whole:
            self._parts[connection] = data
            return
        due = self._due.pop(connection)
        self._free.append(connection)
        status = data[9:12].decode()
        self.statuses[status] += 1
        if status.startswith("2"):
            self.ms.append((int(due - began), round((time.monotonic() - due) * 1e3, 3)))
        elif status in ("429", "503") and b"\r\nretry-after:" not in data.lower():
            self.without_retry_after += 1

    def _hung_up(self, connection: int) -> None:
        """Another connection takes its place; that a request was under way on it is counted."""
        if self._due.pop(connection, None):
            self.statuses["hung up"] += 1
        else:
            self._free.remove(connection)
        self._parts.pop(connection, None)
        self._by_number.pop(connection).close()
        self._connect()


def main(argv: list[str]) -> None:
    port, rate, seconds, connections = int(argv[0]), int(argv[1]), float(argv[2]), int(argv[3])
    given = [(weight, text.encode("latin-1")) for weight, text in json.load(sys.stdin)]
    drawn = random.Random(1).choices([text for _, text in given], [weight for weight, _ in given], k=10_000)
    client = Client(port, connections)
    late = client.ask(drawn, rate, seconds)
    said = Said(dict(client.statuses), client.without_retry_after, late, client.ms)
    print(msgspec.json.encode(said).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
