"""A Traefik of a test's own, started with the static configuration of `deploy/traefik`: own ports, own folder."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.parts import docker, traefik
from tests.real.platform.server import PATIENCE_S, Answer, Service, eventually, fetch

DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "traefik"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Traefik:
    """One router: its folder, its ports, and the process while it runs."""

    def __init__(self, folder: Path, static: str = "traefik-http.yml", told: bool = False) -> None:
        """With `told` its log has each request, and what went wrong with it."""
        self.folder = folder
        self.config_dir = folder / "dynamic"
        self.web, self.secure, self.api = free_port(), free_port(), free_port()
        self.static = folder / static
        text = (DEPLOY / static).read_text()
        for ours, theirs in (
            ('":80"', f'"127.0.0.1:{self.web}"'),
            ('":443"', f'"127.0.0.1:{self.secure}"'),
            ("127.0.0.1:8099", f"127.0.0.1:{self.api}"),
            ("unix:///var/run/docker.sock", docker.HOST),
            ("/var/lib/ah/traefik", str(self.config_dir)),
            ("/var/lib/ah-traefik/acme.json", str(folder / "acme.json")),
        ):
            text = text.replace(ours, theirs)
        if told:
            text = text.replace("level: INFO", "level: DEBUG") + "\naccessLog:\n  format: json\n"
        folder.mkdir(parents=True, exist_ok=True)
        self.config_dir.mkdir(exist_ok=True)
        self.static.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """What a server is started with to be routed by it."""
        api = f"http://127.0.0.1:{self.api}"
        return "--traefik-config-dir", str(self.config_dir), "--traefik-api", api, "--public-port", str(self.web)

    @property
    def label_options(self) -> tuple[str, ...]:
        """The same, of a server whose containers say by their labels where they answer."""
        return "--router", "labels", "--traefik-api", f"http://127.0.0.1:{self.api}", "--public-port", str(self.web)

    @property
    def log(self) -> Path:
        """What it said since it was last started."""
        return self.folder / "traefik.log"

    def failures(self) -> list[str]:
        """Of its log: what it did not answer with 200, where it was `told`, and its errors with a server."""
        return [line for line in self.log.read_text().splitlines() if _is_of_a_failure(line)]

    def start(self) -> "Traefik":
        """Starts it, and returns once its API answers."""
        argv = [str(traefik.path()), f"--configfile={self.static}"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TRAEFIK_")}
        with self.log.open("w") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        eventually(self._answers)
        return self

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, f"traefik ended: {self.log.read_text()[-2000:]}"
        try:
            return bool(self.ask("/api/version"))
        except OSError:
            return False

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Ends the process; nothing happens when it has ended."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(with_signal)
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()

    def pause(self, with_signal: signal.Signals = signal.SIGSTOP) -> None:
        """It is there and does not answer; SIGCONT lets it go on."""
        assert self._process
        self._process.send_signal(with_signal)

    def ask(self, path: str) -> Any:
        """What its API says; None for 404."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api}{path}", timeout=5) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def get(self, host: str, path: str = "/", method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request through it, for a host."""
        return fetch("127.0.0.1", self.web, method, path, body, Host=host, **headers)

    def servers(self, service: Service) -> set[str]:
        """Where it sends the service's requests."""
        found = self.ask(f"/api/http/services/ah-{service.id}@file")
        return {one["url"] for one in found["loadBalancer"].get("servers") or []} if found else set()


def _is_of_a_failure(line: str) -> bool:
    return ('"DownstreamStatus":' in line and '"DownstreamStatus":200' not in line) or " error" in line.lower()
