"""A repository, through Nixpacks and BuildKit with gVisor, to a registry and to a container that answers."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from events.builds import BuildSucceeded
from events.catalog import decode
from events.database import open_reader
from events.event import Event
from events.log import read_all
from events.services import ServiceDeployRequested
from tests.builds.git_server import GitServer, serving
from tests.builds.marked import of_builds
from tests.parts.parts import Parts
from tests.real.platform.conftest import MakeServer
from tests.real.platform.server import OPEN, Server, Service, Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

APP = """\
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open("said.txt", "rb").read() + open("/proc/version", "rb").read())

HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""
DOCKERFILE = """\
FROM railwayapp/nixpacks:ubuntu-1745885067
WORKDIR /app
COPY . .
RUN cat /proc/version > built.txt && sleep {sleep} && grep gvisor built.txt
CMD ["python3", "main.py"]
"""


@pytest.fixture(scope="module")
def git_server() -> Iterator[GitServer]:
    with tempfile.TemporaryDirectory(prefix="ah-git-") as folder, serving(Path(folder)) as server:
        server.repository("web", {"main.py": APP, "said.txt": "one "})
        server.repository("docker", {"main.py": APP, "said.txt": "two ", "Dockerfile": DOCKERFILE.format(sleep=0)})
        server.repository("slow", {"main.py": APP, "said.txt": "slow ", "Dockerfile": DOCKERFILE.format(sleep=8)})
        yield server


@pytest.fixture(scope="module")
def server(running: Parts, make_server: MakeServer, git_server: GitServer) -> Server:
    """One that has the programs of builders on its PATH."""
    path = ":".join([*map(str, running.builders), os.environ["PATH"]])
    return make_server(*OPEN, "--allow-git-host", git_server.host, PATH=path).start()


def build(service: Service, git: GitServer, name: str, **fields: str) -> str:
    body = {"git_url": git.url(name)} | fields
    return str(service.tenant.call("POST", f"{service.path}/builds", body)["id"])


def ended(service: Service, build_id: str) -> Any:
    return service.tenant.call("GET", f"{service.path}/builds/{build_id}?wait=succeeded&timeout=60")


def log_of(service: Service, build_id: str) -> str:
    return service.tenant.ask("GET", f"{service.path}/builds/{build_id}/logs").text


def events(server: Server) -> list[Event]:
    with open_reader(server.folder / "events.db") as log:
        return [decode(at.type, at.data) for at in read_all(log, 0, 100_000)]


def test_a_repository_becomes_a_container_that_answers(
    tenant: Tenant, git_server: GitServer, sdk: DockerClient
) -> None:
    service = tenant.create("web", "pending")
    assert service.now["status"] == "created"
    build_id = build(service, git_server, "web")
    assert "Nixpacks" in log_of(service, build_id)
    found = ended(service, build_id)
    assert (found["status"], found["image"].partition("/")[0]) == ("succeeded", "127.0.0.1:5000")
    assert service.until("running")["image_digest"] == found["image_digest"]
    assert service.get().text.startswith("one Linux version")
    assert "gvisor" in service.get().text
    (deployment,) = service.deployments()
    assert (deployment["build_id"], deployment["trigger"]) == (build_id, "build")
    assert service.container(sdk).attrs["HostConfig"]["Runtime"] == "runsc"


def test_a_dockerfile_is_built_when_that_is_asked_for(tenant: Tenant, git_server: GitServer) -> None:
    service = tenant.create("web", "placeholder:latest")
    build_id = build(service, git_server, "docker", builder="dockerfile")
    assert ended(service, build_id)["status"] == "succeeded"
    service.until("running")
    assert service.get().text.startswith("two ")


def test_a_build_that_is_cancelled_in_a_step_ends_there(server: Server, tenant: Tenant, git_server: GitServer) -> None:
    service = tenant.create("web", "pending")
    build_id = build(service, git_server, "slow", builder="dockerfile")
    eventually(lambda: "RUN cat" in _stored(service, build_id))
    assert tenant.call("DELETE", f"{service.path}/builds/{build_id}") == {"status": "cancelled"}
    log_of(service, build_id)  # it ends once all is cleaned up
    assert not (server.folder / "builds" / build_id).exists()
    assert service.now["status"] == "created"
    assert service.deployments() == []


def test_a_server_that_is_killed_in_a_step_is_followed_by_one_that_builds_and_deploys_once(
    server: Server, git_server: GitServer
) -> None:
    tenant = server.register("killed")
    service = tenant.create("web", "pending")
    build_id = build(service, git_server, "slow", builder="dockerfile")
    eventually(lambda: "RUN cat" in _stored(service, build_id))
    before = [event for event in events(server) if isinstance(event, ServiceDeployRequested)]
    server.end(signal.SIGKILL)
    server.start()
    found = ended(service, build_id)
    assert (found["status"], found["attempt"]) == ("succeeded", 1)
    assert "attempt 2 at build" in log_of(service, build_id)
    service.until("running")
    assert service.get().text.startswith("slow ")
    after = [event for event in events(server) if isinstance(event, ServiceDeployRequested)]
    assert len(after) - len(before) == 1
    assert len([event for event in events(server) if isinstance(event, BuildSucceeded)]) >= 1


def test_a_server_that_is_killed_while_it_clones_leaves_no_sandbox(server: Server, git_server: GitServer) -> None:
    service = server.register("cloning").create("web", "pending")
    held = threading.Event()
    git_server.delay.append(("web.git/git-upload-pack", held))
    fetched = len(git_server.asked)
    build_id = build(service, git_server, "web")
    eventually(lambda: "/web.git/git-upload-pack" in git_server.asked[fetched:])
    orphans = of_builds(server.folder / "builds")
    assert orphans
    server.end(signal.SIGKILL)
    git_server.delay.clear()
    server.start()
    assert ended(service, build_id)["status"] == "succeeded"
    held.set()
    assert "attempt 2 at clone" in log_of(service, build_id)
    assert not set(of_builds(server.folder / "builds")) & set(orphans)
    assert not (server.folder / "builds" / build_id).exists()


def test_a_server_that_is_killed_leaves_no_sandbox_that_waited_for_a_build(
    server: Server, git_server: GitServer
) -> None:
    service = server.register("waiting").create("web", "pending")
    assert ended(service, build(service, git_server, "web"))["status"] == "succeeded"
    folder = server.folder / "builds"
    eventually(lambda: of_builds(folder))
    server.end(signal.SIGKILL)
    eventually(lambda: not of_builds(folder))
    server.start()
    assert list(folder.iterdir()) == []


def test_health_says_that_builds_are_isolated(tenant: Tenant) -> None:
    found = tenant.call("GET", "/v1/system/health/detailed")["builds"]
    assert found == {"name": "buildkit", "available": True, "isolated": True}


def _stored(service: Service, build_id: str) -> str:
    return service.tenant.ask("GET", f"{service.path}/builds/{build_id}/logs?follow=false").text
