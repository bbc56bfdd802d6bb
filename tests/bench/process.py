"""Processes that are measured: started, asked what they cost (from /proc), ended by their pid."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.parts import docker, parts

START_S = 600  # a server that builds the views of 1M events is slow to be ready
END_S = 30
ANSWER_S = 60
_SAYS_PORT = re.compile(r"on http://[\d.]+:(\d+)")


class Served:
    """A server in a process of its own, ready to be asked."""

    def __init__(self, process: subprocess.Popen[str], port: int, ready_s: float) -> None:
        self.pid = process.pid
        self.port = port
        self.ready_s = ready_s  # from the spawn to the line that says where it serves
        self.process = process

    def cpu_s(self) -> float:
        """What all its threads have spent on a CPU so far (nanoseconds in /proc; those of ended threads are lost)."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def resident_mb(self) -> float:
        """VmRSS."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0]) / 1024

    def ask(self, method: str, path: str, key: str = "", body: Any = None, **headers: str) -> Any:
        """One request; the answer's JSON. Raises RuntimeError for what is not 2xx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                headers | ({"Authorization": f"Bearer {key}"} if key else {}),
            )
            answer = connection.getresponse()
            text = answer.read()
            if not 200 <= answer.status < 300:
                raise RuntimeError(f"{method} {path} answers {answer.status}: {text.decode(errors='replace')}")
            return json.loads(text) if text else None
        finally:
            connection.close()


@contextmanager
def serving(argv: list[str], said: Path) -> Iterator[Served]:
    """Runs a Python module that says `on http://<host>:<port>` on stderr once it serves. `said` keeps all it says."""
    began = time.perf_counter()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    with said.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environ,
            text=True,
        )
    try:
        port = _port(process, said, began + START_S)
        yield Served(process, port, time.perf_counter() - began)
    finally:
        end(process)


def _port(process: subprocess.Popen[str], said: Path, deadline: float) -> int:
    while not (found := _SAYS_PORT.search(said.read_text())):
        if process.poll() is not None or time.perf_counter() > deadline:
            raise RuntimeError(f"{process.args!r} does not serve: {said.read_text()[-2000:]}")
        time.sleep(0.001)
    return int(found[1])


def end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, and SIGKILL where that is not enough."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)


def docker_is_here() -> bool:
    """Whether figures on Docker can be measured; says so where they cannot."""
    lacks = "; ".join(parts.missing()) or ("" if docker.answers() else "no engine answers: bin/parts up starts it")
    if lacks:
        print(f"left out on Docker: {lacks}", file=sys.stderr)
    return not lacks


def platform(folder: Path, *options: str, engine: str = "embedded") -> list[str]:
    """The command line of our server, with its data in `folder`."""
    return [
        *("ahplat.cli.entry", "--dev", "--open-registration", "--host", "127.0.0.1", "--port", "0"),
        *("--engine", engine, "--data-dir", str(folder), "--log-level", "warning", "--drain-s", "0", *options),
    ]


def register(server: Served, name: str = "bench") -> str:
    """A tenant's key."""
    body = {"name": name, "email": f"{name}@example.org"}
    return str(server.ask("POST", "/v1/tenants/register", body=body)["api_key"])
