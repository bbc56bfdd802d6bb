"""The load client: a process of its own, on raw sockets, so that it costs little beside what it measures.

    python -m tests.bench.load PORT CONNECTIONS RATE SECONDS  < the request's bytes

RATE 0 is a closed loop: each connection asks again as soon as it was answered. Else that many requests a second are
sent at even distances, over the connections in turn. No pipelining. Prints one line of JSON.
"""

import json
import select
import socket
import subprocess
import sys
import time

from msgspec import Struct

TIMEOUT_S = 30


class Load(Struct, frozen=True):
    """What came of it: answers, those of them that were not 2xx, and how long it took."""

    answers: int
    refused: int
    seconds: float


def put(port: int, request: bytes, connections: int, rate: int, seconds: float) -> Load:
    """Puts load on a server from another process. Raises RuntimeError where an answer was not 2xx."""
    argv = [sys.executable, "-P", "-m", "tests.bench.load", *map(str, (port, connections, rate, seconds))]
    done = subprocess.run(argv, input=request, capture_output=True, timeout=seconds + TIMEOUT_S, check=True)
    load = Load(**json.loads(done.stdout))
    if load.refused or not load.answers:
        raise RuntimeError(f"{load.refused} of {load.answers} answers were not 2xx")
    return load


def request(
    method: str, path: str, port: int, key: str = "", body: bytes = b"", accept: str = "application/json"
) -> bytes:
    """A request's bytes, as an agent's HTTP client sends it."""
    fields = [f"Host: 127.0.0.1:{port}", f"Accept: {accept}", "User-Agent: bench"]
    if key:
        fields.append(f"Authorization: Bearer {key}")
    if body:
        fields += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""]).encode() + body


def answer_bytes(data: bytes) -> int:
    """How long the answer is that `data` begins with; 0 while its head is not whole.

    >>> answer_bytes(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    40
    """
    head = data.find(b"\r\n\r\n") + 4
    if head < 4:
        return 0
    field = data.lower().find(b"\r\ncontent-length:", 0, head)
    return head if field < 0 else head + int(data[field + 17 : data.index(b"\r\n", field + 17)])


def even(sockets: list[socket.socket], request: bytes, rate: int, seconds: float) -> tuple[int, int]:
    """(answers, refused) of requests at even distances."""
    answers = refused = 0
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        wait_s = began + number / rate - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        one = sockets[number % len(sockets)]
        one.sendall(request)
        data = one.recv(65_536)
        while not (whole := answer_bytes(data)) or len(data) < whole:
            data += one.recv(65_536)
        answers += 1
        refused += not data.startswith(b"HTTP/1.1 2")
    return answers, refused


def closed(sockets: list[socket.socket], request: bytes, seconds: float) -> tuple[int, int]:
    """(answers, refused) of a closed loop."""
    answers = refused = 0
    by_number = {one.fileno(): one for one in sockets}
    parts: dict[int, bytes] = {}
    poll = select.epoll()
    for one in sockets:
        poll.register(one, select.EPOLLIN)
        one.sendall(request)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for number, _ in poll.poll(1.0):
            data = by_number[number].recv(65_536)
            if not data:
                raise ConnectionError("the server hung up")
            if number in parts:
                data = parts.pop(number) + data
            whole = answer_bytes(data)
            if not whole or len(data) < whole:
                parts[number] = data
                continue
            answers += 1
            refused += not data.startswith(b"HTTP/1.1 2")
            by_number[number].send(request)
    return answers, refused


def main(argv: list[str]) -> None:
    port, connections, rate, seconds = int(argv[0]), int(argv[1]), int(argv[2]), float(argv[3])
    request = sys.stdin.buffer.read()
    sockets = [socket.create_connection(("127.0.0.1", port), TIMEOUT_S) for _ in range(connections)]
    for one in sockets:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began = time.monotonic()
    answers, refused = even(sockets, request, rate, seconds) if rate else closed(sockets, request, seconds)
    print(json.dumps({"answers": answers, "refused": refused, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main(sys.argv[1:])
