"""Builds that take what they can get, side by side: each fails by itself with its reason in the log, others are untouched."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ahplat import limits
from events.builds import BuildFailed
from tests.builds.git_server import GitServer, serving
from tests.parts.parts import Parts
from tests.real.platform.conftest import MakeServer
from tests.real.platform.server import OPEN, Server, Service
from tests.real.platform.test_builds import APP, build, events, log_of

pytestmark = pytest.mark.real

BASE = "FROM railwayapp/nixpacks:ubuntu-1745885067\n"
TIMEOUT_S = 120  # what ends by itself takes 20 s on a quiet machine
HOSTILE = {
    "memory": BASE + "RUN python3 -c \"b = [bytearray(b'x' * 50_000_000) for _ in range(60)]\"\n",
    "forks": BASE + "RUN sh -c 'f() { f | f & }; f; sleep 300'\n",
    "endless": BASE + "RUN while :; do sleep 1; done\n",
    "chatty": BASE + "RUN head -c 30000000 /dev/zero | tr '\\0' x; yes | head -c 30000000; false\n",
    "link": BASE,
}
MEANS = {
    "memory": ({"out_of_memory"}, "600 MB"),
    "forks": ({"build_timeout", "deadline", "build_failed", "out_of_memory"}, ""),
    "endless": ({"build_timeout", "deadline"}, "did not"),
    "chatty": ({"build_failed"}, "exit code: 1"),
    "link": ({"link_outside"}, "/etc/shadow"),
}


@pytest.fixture(scope="module")
def git_server() -> Iterator[GitServer]:
    with tempfile.TemporaryDirectory(prefix="ah-git-") as folder, serving(Path(folder)) as server:
        for name, dockerfile in HOSTILE.items():
            links = {"x": "/etc/shadow"} if name == "link" else {}
            server.repository(name, {"Dockerfile": dockerfile}, links)
        server.repository("innocent", {"main.py": APP, "said.txt": "one ", "Dockerfile": BASE + "RUN echo innocent\n"})
        yield server


@pytest.fixture(scope="module")
def server(running: Parts, make_server: MakeServer, git_server: GitServer) -> Server:
    path = ":".join([*map(str, running.builders), os.environ["PATH"]])
    bounds = ("--build-memory-mb", "600", "--build-timeout-s", str(TIMEOUT_S))
    return make_server(*OPEN, "--allow-git-host", git_server.host, *bounds, PATH=path).start()


@contextmanager
def visited(service: Service) -> Iterator[list[str]]:
    """Somebody asks the service all the time; each answer that is none."""
    wrong: list[str] = []
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            try:
                answer = service.get()
                if answer.status != 200:
                    wrong.append(answer.text)
            except OSError as error:
                wrong.append(str(error))
            time.sleep(0.2)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join()


def ended(service: Service, build_id: str) -> Any:
    """The build once it has come to an end: each may have waited for two others that took all their time."""
    path = f"{service.path}/builds/{build_id}?wait=failed&timeout=30"
    for _ in range(12):
        found = service.tenant.call("GET", path)
        if found["status"] in ("failed", "succeeded"):
            break
    return found


def test_hostile_builds_fail_by_themselves(server: Server, git_server: GitServer) -> None:
    victim = server.register("victim").create("web", "hello:1")
    victim.until("running")
    services = {name: server.register(name).create("web", "pending") for name in HOSTILE}
    with visited(victim) as wrong:
        ids = {name: build(service, git_server, name, builder="dockerfile") for name, service in services.items()}
        innocent = server.register("innocent").create("web", "pending")
        last = build(innocent, git_server, "innocent", builder="dockerfile")
        found = {name: ended(services[name], ids[name]) for name in ids}
        assert ended(innocent, last)["status"] == "succeeded"
        for name, (codes, words) in MEANS.items():
            said, error = log_of(services[name], ids[name]), found[name]["error"]
            told = f"{name}: {found[name]['error_code']}: {error}, and its log {said[-1000:]}"
            assert (found[name]["status"], found[name]["error_code"] in codes) == ("failed", True), told
            assert words in error, told
            assert said.splitlines()[-1].startswith(("==> failed: ", "==> it was ended: ")), said[-500:]
            assert len(said) < 2 * limits.BUILD_LOG_BYTES
            assert "\n" not in error
            assert services[name].now["status"] == "failed"
            assert not (server.folder / "builds" / ids[name]).exists()
    assert wrong == [], wrong
    assert len([event for event in events(server) if isinstance(event, BuildFailed)]) == len(HOSTILE)
    for name in ("forks", "endless", "memory"):  # a tenant whose build took all it could is not shut out
        again = build(services[name], git_server, "innocent", builder="dockerfile")
        assert ended(services[name], again)["status"] == "succeeded"
