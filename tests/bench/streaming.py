"""How long it takes from the log's COMMIT to the frame at the client, on every stream that is open."""

import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from tests.bench import load
from tests.bench.figure import Figure
from tests.bench.over_http import ENV
from tests.bench.process import register, serving

STREAMS = (1, 100)
_ACCEPT = "text/event-stream"
RATE = 40  # commands a second, each of which is one event
_OURS = re.compile(rb"id: (\d+)\nevent: service.env_set\n")
_BARE = re.compile(rb'"committed_ns":(\d+)')

Heard = tuple[int, int]  # what a frame says (a position, a time), and when it was there


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Milliseconds, the median and the 99th percentile over all streams and events."""
    seconds = 2.0 if quick else 8.0
    (folder / "body").write_bytes(b"{}")
    for count in STREAMS:
        named = f"{count} stream{'s' if count > 1 else ''}"
        ours, bare = latencies(folder / f"ours-{count}", count, seconds), bare_latencies(folder, count, seconds)
        for name, of in (("p50", median), ("p99", lambda all: quantiles(all, n=100)[98])):
            yield Figure(f"commit to frame, {named}, {name}", "ms", of(ours), of(bare))


def latencies(folder: Path, count: int, seconds: float) -> list[float]:
    """Ours: events of a service whose variables are set from another process."""
    with serving(["tests.bench.noting", str(folder)], folder.with_suffix(".log")) as server:
        key = register(server)
        service = server.ask("POST", "/v1/services", key, {"name": "web"})["id"]
        streams = opened(load.request("GET", "/v1/events", server.port, key, accept=_ACCEPT), server.port, count)
        post = load.request("POST", f"/v1/services/{service}/env", server.port, key, ENV)
        loading = threading.Thread(target=load.put, args=(server.port, post, 1, RATE, seconds))
        loading.start()
        heard = listen(streams, _OURS, seconds + 1)
        loading.join()
        close(streams)
    committed = dict(json.loads((folder / "commits.json").read_text()))
    found = [(at_ns - committed[position]) / 1e6 for position, at_ns in heard]
    assert len(found) >= count * RATE * seconds * 0.9, f"{len(found)} frames came"
    return found


def bare_latencies(folder: Path, count: int, seconds: float) -> list[float]:
    """aiohttp alone: a thread says something, the loop writes it to every stream."""
    with serving(["tests.bench.bare", str(folder), str(folder / "body")], folder / f"bare-{count}.log") as server:
        streams = opened(load.request("GET", "/stream", server.port, accept=_ACCEPT), server.port, count)
        heard = listen(streams, _BARE, seconds)
        close(streams)
    return [(at_ns - said_ns) / 1e6 for said_ns, at_ns in heard]


def opened(request: bytes, port: int, count: int) -> list[socket.socket]:
    """Streams whose heads have come."""
    streams = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(count)]
    for stream in streams:
        stream.sendall(request)
        assert stream.recv(65_536).startswith(b"HTTP/1.1 200"), "the stream was refused"
    return streams


def close(streams: list[socket.socket]) -> None:
    for stream in streams:
        stream.close()


def listen(streams: list[socket.socket], frame: re.Pattern[bytes], seconds: float) -> list[Heard]:
    """What comes on all streams, each frame with the time at which it was there."""
    by_number = {stream.fileno(): stream for stream in streams}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    heard: list[Heard] = []
    deadline = time.monotonic() + seconds
    while (left_s := deadline - time.monotonic()) > 0:
        for number, _ in poll.poll(left_s):
            data = by_number[number].recv(65_536)
            at_ns = time.monotonic_ns()
            assert data, "the server ended a stream"
            heard += [(int(found), at_ns) for found in frame.findall(data)]
    return heard
