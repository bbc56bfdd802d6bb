"""A server as a process that can be killed and followed by another, and a look at what it left.

    server = Server(folder).start(crash_at="after-effect:2")
    server.ask("GET", "/v1/services", key=key)
    server.wait()                                # its exit code, -9 where it was killed
    server.start()                               # its successor over the same folder

Processes are found by the folder that they were started for, and each is ended by its pid.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ahplat.cli.entry import run
from events import chain
from events.catalog import decode
from events.database import open_reader
from events.event import Event, Recorded
from events.log import read_all
from projections.views import digests, open_views, read_checkpoint
from tests.folds import digests_in_shares
from tests.forked import AS_A_PROGRAM, TREE, Forked, begun

T = TypeVar("T")

PATIENCE_S = 30.0  # a deadline for what is expected to happen, not a wait
LAPTOP = ("--dev", "--open-registration", "--engine", "embedded", "--drain-s", "0", "--no-rate-limits")
_forked: list[tuple[Path, Forked]] = []  # servers, and their folders, which their command lines do not show
_SERVES_ON = re.compile(r"serving on http://127\.0\.0\.1:(\d+)")


def eventually(probe: Callable[[], T], within_s: float = PATIENCE_S) -> T:
    """What `probe` says as soon as that is something; fails when it says nothing in time."""
    deadline = time.monotonic() + within_s
    while not (found := probe()):
        assert time.monotonic() < deadline, f"nothing came of it within {within_s} s"
        time.sleep(0.01)
    return found


@dataclass(frozen=True)
class Answer:
    """One answer; `json` where it is that, `position` where its events end in the log."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def position(self) -> int:
        return int(self.headers["event-position"])


class Server:
    """One data folder, and the process that serves it while it runs."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options or LAPTOP
        self.runs_by: tuple[str, ...] = ()  # a program that becomes the server
        self.main: Callable[[], None] = run
        self.port = 0
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.said = folder.with_name(folder.name + ".stderr")

    def launch(self, crash_at: str = "", **env: str) -> "Server":
        """Starts the process, and does not wait for it."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
        environ |= {"AH_CRASH_AT": crash_at, "PYTHONPATH": str(TREE)} | env
        argv = ["--metrics-listen", "", "--log-level", "warning", *self.options, "--data-dir", str(self.folder)]
        if "--port" not in self.options:
            argv += ["--port", "0"]
        runs_by = self.runs_by or (AS_A_PROGRAM if any(name.startswith("PYTHON") for name in env) else ())
        self.process = begun(argv, environ, self.said, runs_by, self.main)
        if isinstance(self.process, Forked):
            _forked.append((self.folder, self.process))
        self.port = 0
        return self

    def start(self, crash_at: str = "", **env: str) -> "Server":
        """Starts it, and returns once it serves; or once it was killed, where that was wanted."""
        self.launch(crash_at, **env)
        self.port = eventually(lambda: self._port(bool(crash_at)))
        return self

    def _port(self, may_die: bool) -> int:
        assert self.process
        if found := _SERVES_ON.search(self.said.read_text()):
            return int(found[1])
        assert self.process.poll() is None or may_die, f"the server ended: {self.said.read_text()[-2000:]}"
        return -1 if self.process.poll() is not None else 0

    def wait(self, within_s: float = PATIENCE_S) -> int:
        """The exit code of a process that is about to end."""
        assert self.process
        return self.process.wait(within_s)

    def poll(self) -> int | None:
        """The exit code of a process that has ended; None where it has not."""
        return self.process.poll() if self.process else None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process and returns its exit code; nothing happens when it has ended."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.wait()
        finally:
            self.process.kill()

    def ask(
        self, method: str, path: str, body: Any = None, key: str = "", timeout_s: float = PATIENCE_S, **headers: str
    ) -> Answer:
        """One request over a connection of its own. `headers` with underscores for dashes. Raises OSError, HTTPException."""
        if self.port <= 0:
            raise ConnectionError("no server")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if key:
                named["Authorization"] = f"Bearer {key}"
            connection.request(method, path, None if body is None else json.dumps(body), named)
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        finally:
            connection.close()

    def register(self, name: str = "acme") -> str:
        """A tenant's key."""
        answer = self.ask("POST", "/v1/tenants/register", {"name": name, "email": f"{name}@example.org"})
        assert answer.status == 201, answer
        return str(answer.json["api_key"])

    def settled(self, key: str) -> None:
        """Waits until no work is open."""

        def nothing_open() -> bool:
            return bool(self.ask("GET", "/v1/system/health/detailed", key=key).json["effects"]["open"] == 0)

        eventually(nothing_open)

    # what it leaves

    @property
    def events(self) -> list[tuple[Recorded, Event]]:
        """The whole log."""
        with open_reader(self.folder / "events.db") as log:
            return [(at, decode(at.type, at.data)) for at in read_all(log, 0, 1_000_000)]

    @property
    def commands(self) -> list[tuple[int, int]]:
        """The first and the last position of each command that had a key."""
        with open_reader(self.folder / "events.db") as log:
            return list(log.execute("SELECT first_position, last_position FROM command"))

    def check_files(self) -> None:
        """The chain holds from its beginning, and the views are what the log gives. The server must have ended."""
        again = self.folder.with_name(self.folder.name + ".again.db")
        with open_reader(self.folder / "events.db") as log, open_reader(self.folder / "views.db") as views:
            events = read_all(log, 0, 1_000_000)
            chain.verify(chain.GENESIS, 0, events)
            checkpoint = read_checkpoint(views)
            assert checkpoint and checkpoint.position == events[-1].position
            fresh = open_views(again, log, checkpoint.installation, lambda done, of: None)
            try:
                assert digests(fresh.db) == digests(views) == digests_in_shares(log, again.parent)
            finally:
                fresh.close()
                again.unlink()

    @property
    def instances(self) -> dict[str, int]:
        """What runs: the name of each instance and the pid of its shim."""
        found = {}
        for path in sorted((self.folder / "run").glob("ah-*")):
            with_pid = path / "started.json"
            if with_pid.exists() and not (path / "exit.json").exists():
                found[path.name] = int(json.loads(with_pid.read_text())["pid"])
        return found

    @property
    def running(self) -> frozenset[str]:
        """The ids of the instances that run."""
        records = [self.folder / "run" / name / "instance.json" for name in self.instances]
        return frozenset(json.loads(path.read_text())["id"] for path in records)

    @property
    def strays(self) -> dict[int, str]:
        """Processes that no instance started, which runs: pid and command line."""
        shims = {*self.instances.values(), 0, 1}
        return {pid: argv for pid, argv in self.processes.items() if shims.isdisjoint(_line_of(pid))}

    @property
    def processes(self) -> dict[int, str]:
        """Every process that was started for this folder, but the server: pid and command line."""
        found = {one.pid: "ah" for folder, one in _forked if folder == self.folder and one.poll() is None}
        if self.process:
            found.pop(self.process.pid, None)
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                argv = (proc / "cmdline").read_bytes()
                ours = str(self.folder).encode() in argv or str(self.folder).encode() in (proc / "environ").read_bytes()
            except OSError:
                continue
            if ours and argv and (self.process is None or int(proc.name) != self.process.pid):
                found[int(proc.name)] = argv.replace(b"\0", b" ").decode()
        return found

    def wipe(self) -> None:
        """Ends all that is left of it, by pid."""
        self.end(signal.SIGKILL)
        for _ in range(10):
            for pid in self.processes:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if not self.processes:
                return
            time.sleep(0.02)
        raise AssertionError(f"left behind: {self.processes}")


def _line_of(pid: int) -> list[int]:
    """A process and those that it descends from; it may end meanwhile."""
    line = []
    while pid > 1:
        line.append(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return [0]
    return line


@contextmanager
def wiped(server: Server) -> Iterator[Server]:
    """A server of which nothing is left afterwards but what it said."""
    try:
        yield server
    finally:
        print(server.said.read_text() if server.said.exists() else "")
        server.wipe()
