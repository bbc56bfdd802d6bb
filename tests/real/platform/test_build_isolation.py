"""Builds without gVisor: refused, unless the operator wants them so; then they work, and health says how."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builds.git_server import GitServer, serving
from tests.parts.parts import Parts
from tests.real.platform.conftest import MakeServer
from tests.real.platform.server import OPEN, Server
from tests.real.platform.test_builds import APP, DOCKERFILE, build, ended, log_of

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def git_server() -> Iterator[GitServer]:
    with tempfile.TemporaryDirectory(prefix="ah-git-") as folder, serving(Path(folder)) as server:
        dockerfile = DOCKERFILE.format(sleep=0).replace("grep gvisor", "! grep gvisor")
        server.repository("web", {"main.py": APP, "said.txt": "one "})
        server.repository("docker", {"main.py": APP, "said.txt": "two ", "Dockerfile": dockerfile})
        yield server


def without_runsc(running: Parts) -> str:
    """A PATH that has all programs of builders but that one; the engine has it by itself."""
    folders = [str(folder) for folder in running.builders if not (folder / "runsc").exists()]
    return ":".join([*folders, os.environ["PATH"]])


@pytest.fixture(scope="module")
def refusing(running: Parts, make_server: MakeServer, git_server: GitServer) -> Server:
    return make_server(*OPEN, "--allow-git-host", git_server.host, PATH=without_runsc(running)).start()


@pytest.fixture(scope="module")
def trusting(running: Parts, make_server: MakeServer, git_server: GitServer) -> Server:
    options = (*OPEN, "--allow-git-host", git_server.host, "--build-isolation", "none")
    return make_server(*options, PATH=without_runsc(running)).start()


def health_of(server: Server) -> Any:
    return server.register("looks").call("GET", "/v1/system/health/detailed")["builds"]


def test_a_server_that_cannot_isolate_builds_refuses_them(refusing: Server, git_server: GitServer) -> None:
    found = health_of(refusing)
    assert (found["available"], found["detail"]) == (False, "not on the PATH: runsc")
    service = refusing.register("refused").create("web", "pending")
    answer = service.tenant.ask("POST", f"{service.path}/builds", {"git_url": git_server.url("web")})
    assert (answer.status, answer.json["code"]) == (503, "builds_unavailable")
    assert "runsc" in answer.json["error"]
    assert service.tenant.call("GET", "/v1/builds") == []


def test_a_server_that_is_told_not_to_says_so(trusting: Server) -> None:
    detail = "steps of builds are not isolated: --build-isolation none"
    assert health_of(trusting) == {"name": "buildkit", "available": True, "isolated": False, "detail": detail}


@pytest.mark.parametrize("builder", ["nixpacks", "dockerfile"])
def test_it_builds_and_deploys_all_the_same(trusting: Server, git_server: GitServer, builder: str) -> None:
    service = trusting.register(f"trusted-{builder}").create("web", "pending")
    name, said = {"nixpacks": ("web", "one "), "dockerfile": ("docker", "two ")}[builder]
    build_id = build(service, git_server, name, builder=builder)
    said_by_build = log_of(service, build_id)
    assert ended(service, build_id)["status"] == "succeeded", said_by_build
    service.until("running")
    assert service.get().text.startswith(f"{said}Linux version 4.19.0-gvisor")  # what runs is isolated, as always
