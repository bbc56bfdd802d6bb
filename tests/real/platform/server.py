"""The platform as its callers have it: a server process on the real engine, and a tenant that speaks HTTP to it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from docker import DockerClient
from docker.models.containers import Container

from events.catalog import decode
from events.database import open_reader
from events.log import read_all
from events.platform import LogCreated
from tests.forked import Forked, begun
from tests.parts import docker
from tests.real.beside import ranges

T = TypeVar("T")

PATIENCE_S = 60.0  # a deadline for what is expected to happen, not a wait
OPEN = ("--dev", "--open-registration")
_SERVES_ON = re.compile(r"serving on http://[\d.]+:(\d+),")
_pools = ranges("10.132.0.0", 2048, 256)


def a_pool() -> str:
    """A range for 16 tenants, which no other server of this run has."""
    return str(next(_pools))


def eventually(probe: Callable[[], T], within_s: float = PATIENCE_S) -> T:
    """What `probe` says as soon as that is something; fails when it says nothing in time."""
    deadline = time.monotonic() + within_s
    while not (found := probe()):
        assert time.monotonic() < deadline, f"nothing came of it within {within_s} s"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Answer:
    """One answer; `text` as it came, `json` where it is that."""

    status: int
    headers: dict[str, str]  # names in lower case
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def fetch(
    host: str, port: int, method: str, path: str, body: Any = None, timeout_s: float = PATIENCE_S + 10, **headers: str
) -> Answer:
    """One request over a connection of its own. `headers` with underscores for dashes."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, None if body is None else json.dumps(body), named)
        got = connection.getresponse()
        text = got.read().decode()
        return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, text)
    finally:
        connection.close()


class Server:
    """One installation: its data folder, and the process that serves it while it runs."""

    def __init__(self, folder: Path, *options: str, **env: str) -> None:
        self.folder = folder
        self.options = options
        self.env = env
        self.pool = a_pool()
        self.port = 0
        self.log_name = "server.log"
        self.runs_by: tuple[str, ...] = ()  # a program that becomes the server
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> "Server":
        """Starts it, and returns once it serves."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
        argv = ["--engine", "docker", "--docker-host", docker.HOST, "--port", "0", "--metrics-listen", ""]
        argv += ["--data-dir", str(self.folder), "--tenant-pool", self.pool, *self.options]
        self.folder.mkdir(exist_ok=True, parents=True)
        environ |= self.env
        self._process = begun(argv, environ, self.log, self.runs_by)
        self.port = eventually(self._port)
        return self

    @property
    def log(self) -> Path:
        """What it said since it was last started."""
        return self.folder / self.log_name

    def _port(self) -> int:
        assert self._process
        said = self.log.read_text()
        assert self._process.poll() is None, f"the server ended: {said[-2000:]}"
        return int(found[1]) if (found := _SERVES_ON.search(said)) else 0

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process and returns its exit code; nothing happens when it has ended."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(with_signal)
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        assert self._process
        return self._process.pid

    def pause(self, with_signal: signal.Signals = signal.SIGSTOP) -> None:
        """It is there and does nothing; SIGCONT lets it go on."""
        assert self._process
        self._process.send_signal(with_signal)

    def wait(self) -> int:
        """The exit code of a process that is about to end by itself."""
        assert self._process
        return self._process.wait(PATIENCE_S)

    @property
    def installation(self) -> str:
        """What its containers carry as `ah.instance`."""
        with open_reader(self.folder / "events.db") as log:
            first = read_all(log, 0, 1)[0]
        created = decode(first.type, first.data)
        assert isinstance(created, LogCreated)
        return created.installation

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request to the API."""
        return fetch("127.0.0.1", self.port, method, path, body, **headers)

    def operate(self, method: str, path: str, body: Any = None) -> Answer:
        """One request over the operator's socket."""
        connection = http.client.HTTPConnection("operator", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.folder / "operator.sock"))
            connection.request(method, path, None if body is None else json.dumps(body))
            got = connection.getresponse()
            return Answer(got.status, dict(got.getheaders()), got.read().decode())
        finally:
            connection.close()

    def register(self, name: str = "acme", **headers: str) -> "Tenant":
        """A new tenant."""
        body = {"name": name, "email": f"{name}@example.org"}
        made = self.ask("POST", "/v1/tenants/register", body, **headers)
        assert made.status == 201, made
        return Tenant(self, made.json["tenant_id"], made.json["api_key"], headers)


@dataclass
class Tenant:
    """A tenant with its key. Its calls fail the test where they are not answered with 2xx."""

    server: Server
    id: str
    key: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request with its key, whatever the answer."""
        return self.server.ask(
            method, path, body, Authorization=f"Bearer {self.key}", Accept="application/json", **self.headers, **headers
        )

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One request that is to succeed; what its answer holds."""
        answer = self.ask(method, path, body, **headers)
        assert 200 <= answer.status < 300, answer
        return answer.json if answer.text else None

    def create(self, name: str, image: str = "hello:1", **settings: Any) -> "Service":
        """A new service, small where the test does not say how large. Returns at once."""
        body = {"name": name, "image": image, "memory_mb": 128, "cpu_count": 0.5, **settings}
        return Service(self, self.call("POST", "/v1/services", body)["id"])

    def run(self, name: str, image: str = "hello:1", **settings: Any) -> "Service":
        """The same, and waits until it runs."""
        service = self.create(name, image, **settings)
        service.until("running")
        return service


@dataclass(frozen=True)
class Service:
    """One service of a tenant."""

    tenant: Tenant
    id: str

    @property
    def path(self) -> str:
        return f"/v1/services/{self.id}"

    @property
    def now(self) -> Any:
        """The service as the API tells it."""
        return self.tenant.call("GET", self.path)

    def until(self, status: str) -> Any:
        """The service once it has that status."""
        found = self.tenant.call("GET", f"{self.path}?wait={status}&timeout=60")
        assert found["status"] == status, found
        return found

    def settled(self) -> Any:
        """The service once nothing is under way for it, draining included."""
        eventually(lambda: self._is_settled() or None)
        return self.now

    def _is_settled(self) -> bool:
        events = [event for event in self.events() if event["type"].startswith("service.")]
        ended = {event["data"].get("intent") for event in events}
        intents = ("requested", "instance_healthy", "routed")
        return all(one["position"] in ended for one in events if one["type"].endswith(intents))

    def order(self, verb: str, body: Any = None, wait_s: int = 0) -> Any:
        """A command; with `wait_s` its answer comes once what it set in motion has ended."""
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        return self.tenant.call("POST", f"{self.path}/{verb}", body, **headers)

    def deploy(self, image: str) -> "Deployment":
        """Asks for a deployment and returns at once."""
        return Deployment(self, self.order("deploy", {"image": image})["id"])

    def deployments(self) -> Any:
        """All of them, newest first."""
        return self.tenant.call("GET", f"{self.path}/deployments")

    def events(self) -> list[Any]:
        """All that happened to it, oldest first."""
        found: list[Any] = []
        after = 0
        while page := self.tenant.call("GET", f"/v1/events?after={after}&limit=200&resource={self.id}"):
            found += page
            after = page[-1]["position"]
        return found

    def get(self, path: str = "/", timeout_s: float = PATIENCE_S) -> Answer:
        """One request to its URL, as the server's port takes it."""
        url = urlsplit(self.now["url"])
        named = {"Host": url.netloc, **self.tenant.headers}
        return fetch("127.0.0.1", self.tenant.server.port, "GET", path, timeout_s=timeout_s, **named)

    def containers(self, sdk: DockerClient) -> list[Container]:
        """What Docker has of it, in any state."""
        label = f"ah.service={self.id}"
        return sdk.containers.list(all=True, filters={"label": label}, ignore_removed=True)

    def container(self, sdk: DockerClient) -> Container:
        """Its only container."""
        (found,) = self.containers(sdk)
        return found


@dataclass(frozen=True)
class Deployment:
    """One deployment of a service."""

    service: Service
    id: str

    @property
    def path(self) -> str:
        return f"{self.service.path}/deployments/{self.id}"

    def until(self, status: str) -> Any:
        """The deployment once it has that status."""
        found = self.service.tenant.call("GET", f"{self.path}?wait={status}&timeout=60")
        assert found["status"] == status, found
        return found


def direct(container: Container, path: str = "/", timeout_s: float = PATIENCE_S) -> Answer:
    """One request to a container over its own address."""
    container.reload()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    env = dict(entry.split("=", 1) for entry in container.attrs["Config"]["Env"])
    return fetch(network["IPAddress"], int(env["PORT"]), "GET", path, timeout_s=timeout_s)
