"""How long a line of an instance's log takes to whoever follows it: over HTTP, beside the engine's own tool.

Both follow the same instance at the same time and hear the same lines, so that both figures begin with the same write.
"""

import asyncio
import http.client
import ipaddress
import json
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import IO
from urllib.parse import urlsplit

from ahplat.engines.docker import DockerEngine
from tests.bench.deploying import PIECES, POOL, deploy, installation_of, remove_networks, wipe
from tests.bench.figure import Figure
from tests.bench.process import Served, docker_is_here, platform, register, serving
from tests.parts import docker

PAUSE_S = 0.1  # between two lines
HEARD_S = 20  # until a line that is not heard counts as lost
_LINE = re.compile(rb"line-(\d+)")

Times = dict[int, float]  # number of the line → when


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Milliseconds from the write to the line, the median and the 95th percentile, on each engine that is here."""
    count = 20 if quick else 60
    yield from compared("embedded", *on_processes(folder / "embedded", count))
    if docker_is_here():
        yield from compared("docker", *on_docker(folder / "docker", count))


def compared(engine: str, written: Times, ours: Times, theirs: Times) -> Iterator[Figure]:
    """Two figures, from when each line was written and when it was heard."""
    late_ours, late_theirs = ([(heard[n] - written[n]) * 1e3 for n in written] for heard in (ours, theirs))
    yield Figure(f"a followed line, {engine}, p50", "ms", median(late_ours), median(late_theirs))
    p95_ours, p95_theirs = (quantiles(late, n=20)[18] for late in (late_ours, late_theirs))
    yield Figure(f"a followed line, {engine}, p95", "ms", p95_ours, p95_theirs)


def on_processes(folder: Path, count: int) -> tuple[Times, Times, Times]:
    """Lines written into the pipe that an embedded instance writes to. Beside: tail -f of its log."""
    folder.mkdir()
    data = folder / "data"
    with serving(platform(data), folder / "log") as server:
        key = register(server)
        service = deploy(server, "/v1/services", key, {"name": "web", "image": "ah/hello"})
        [run] = (data / "run").glob("ah-*")
        child = json.loads((run / "started.json").read_text())["child"]
        try:
            with Path(f"/proc/{child}/fd/1").open("wb", buffering=0) as out:
                tail = ["tail", "-n", "0", "-f", str(run / "log")]
                return heard(server, key, service["id"], tail, lambda n: out.write(b"line-%d\n" % n), count)
        finally:
            server.ask("POST", f"/v1/services/{service['id']}/stop", key, {}, Prefer="wait=30")


def on_docker(folder: Path, count: int) -> tuple[Times, Times, Times]:
    """Lines that a container prints when it is asked to. Beside: docker logs -f."""
    folder.mkdir()
    data = folder / "data"
    pool = f"{ipaddress.ip_address(POOL + secrets.randbelow(PIECES) * 4096)}/20"
    options = ("--docker-host", docker.HOST, "--tenant-pool", pool)
    try:
        with serving(platform(data, *options, engine="docker"), folder / "log") as server:
            key = register(server)
            service = deploy(server, "/v1/services", key, {"name": "web", "image": "hello:1", "memory_mb": 128})
            host = urlsplit(service["url"]).netloc
            follow = [docker.client_path(), "-H", docker.HOST, "logs", "-f", "--tail", "0", service["container_id"]]
            return heard(server, key, service["id"], follow, lambda n: say(server, host, n), count)
    finally:
        who = installation_of(data)
        asyncio.run(wipe([DockerEngine(who, data, base_url=docker.HOST)]))
        remove_networks([who])


def say(server: Served, host: str, number: int) -> None:
    """Has the app of the tests print a line."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HEARD_S)
    connection.request("GET", f"/say?line=line-{number}", headers={"Host": host})
    assert connection.getresponse().status == 200
    connection.close()


def heard(
    server: Served, key: str, service: str, theirs: list[str], write: Callable[[int], object], count: int
) -> tuple[Times, Times, Times]:
    """(when each line was written, when our follower had it, when the other)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HEARD_S)
    path = f"/v1/services/{service}/logs?follow=true&tail=1"
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    written: Times = {}
    ours: Times = {}
    others: Times = {}
    with subprocess.Popen(theirs, stdout=subprocess.PIPE) as process, connection.getresponse() as answer:
        assert process.stdout
        for source, into in ((answer, ours), (process.stdout, others)):
            threading.Thread(target=listen, args=(source, into), daemon=True).start()
        time.sleep(1)  # both have begun by then
        for number in range(count):
            time.sleep(PAUSE_S)
            written[number] = time.perf_counter()
            write(number)
        deadline = time.monotonic() + HEARD_S
        while len(ours) < count or len(others) < count:
            assert time.monotonic() < deadline, f"{len(ours)} and {len(others)} of {count} lines were heard"
            time.sleep(0.01)
        process.kill()
    return written, ours, others


def listen(source: IO[bytes], into: Times) -> None:
    """Notes when each line comes, to the end."""
    with suppress(OSError, ValueError):  # it is closed, or says nothing more
        while line := source.readline():
            if found := _LINE.search(line):
                into[int(found[1])] = time.perf_counter()
