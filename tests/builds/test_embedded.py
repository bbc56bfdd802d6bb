"""Builds on a laptop: a real server, a real git repository over real HTTP, real processes; killed wherever it may be."""

import http.client
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from events.builds import BuildSucceeded
from events.services import ServiceDeployRequested
from tests.builds.conftest import platform
from tests.builds.git_server import GitServer
from tests.builds.marked import of_build
from tests.faults.harness import Server, eventually
from tests.folders import memory_folder

pytestmark = pytest.mark.embedded

CRASHES = [f"{point}:{n}" for point in ("after-attempt", "after-effect", "after-outcome") for n in range(1, 6)]
CRASHES += ["after-intent:1", "after-intent:3", "between-commits:4", "between-commits:7"]


class Builds:
    """A tenant's service, and its builds."""

    def __init__(self, server: Server, git: GitServer) -> None:
        self.server = server
        self.git = git
        self.key = server.register()
        self.service = self.ask("POST", "/v1/services", {"name": "web", "image": "pending"})["id"]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.server.ask(method, path, body, key=self.key, **headers)
        assert answer.status < 300, answer
        return answer.json if answer.body.startswith((b"{", b"[")) else answer.body.decode()

    @property
    def path(self) -> str:
        return f"/v1/services/{self.service}/builds"

    def build(self, **body: str) -> str:
        return str(self.ask("POST", self.path, {"git_url": self.git.url("web")} | body)["id"])

    def now(self, build_id: str, wait: str = "") -> Any:
        return self.ask("GET", f"{self.path}/{build_id}" + (f"?wait={wait}&timeout=30" if wait else ""))

    def log(self, build_id: str, **headers: str) -> str:
        return str(self.ask("GET", f"{self.path}/{build_id}/logs", **headers))

    def visit(self) -> str:
        found = self.ask("GET", f"/v1/services/{self.service}?wait=running&timeout=30")
        assert found["status"] == "running", found
        return self.server.ask("GET", "/", Host=found["url"].removeprefix("http://")).body.decode()

    def is_gone(self, build_id: str) -> bool:
        return not of_build(build_id) and not (self.server.folder / "builds" / build_id).exists()


@pytest.fixture
def builds(server: Server, git_server: GitServer) -> Builds:
    return Builds(server, git_server)


@pytest.mark.parametrize("fields", [{}, {"branch": "main"}, {"branch": "refs/heads/main"}])
def test_a_repository_is_built_and_answers(builds: Builds, fields: dict[str, str]) -> None:
    build_id = builds.build(**fields)
    assert "commit " in builds.log(build_id)
    assert builds.visit() == "built from git: one"
    found = builds.now(build_id)
    assert (found["status"], found["source_url"]) == ("succeeded", builds.git.url("web"))
    assert builds.is_gone(build_id)


def test_a_commit_is_built_by_its_name_also_when_the_branch_has_moved_on(builds: Builds) -> None:
    first = builds.git.repository("web", {"said.txt": "two"})
    builds.git.repository("web", {"said.txt": "three"})
    body = {"source_type": "git", "source_url": builds.git.url("web"), "source_ref": first}
    build = builds.ask("POST", builds.path, body, Prefer="wait=30")
    assert (build["status"], build["commit"]) == ("succeeded", first)
    assert builds.visit() == "built from git: two"


def test_a_ref_that_is_not_there_fails_the_service_that_waits(builds: Builds) -> None:
    build_id = builds.build(branch="nowhere")
    found = builds.now(build_id, wait="failed")
    assert (found["status"], found["error_code"], found["step"]) == ("failed", "ref_not_found", "clone")
    service = builds.ask("GET", f"/v1/services/{builds.service}?wait=failed&timeout=10")
    assert service["status"] == "failed"
    assert "ref_not_found" in service["last_error"]
    assert builds.is_gone(build_id)


def test_a_repository_that_names_no_way_to_start_says_which_there_are(builds: Builds) -> None:
    builds.git.repository("plain", {"README": "nothing to run"})
    build = builds.ask("POST", builds.path, {"git_url": builds.git.url("plain")}, Prefer="wait=30")
    assert (build["status"], build["error_code"]) == ("failed", "image_unusable")
    assert "Procfile" in build["error"]


def test_a_log_is_followed_to_its_clean_end_while_the_build_runs(builds: Builds) -> None:
    held = threading.Event()
    builds.git.delay.append(("git-upload-pack", held))
    build_id = builds.build()
    connection = http.client.HTTPConnection("127.0.0.1", builds.server.port, timeout=20)
    connection.request("GET", f"{builds.path}/{build_id}/logs", headers={"Authorization": f"Bearer {builds.key}"})
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.readline().startswith(b"==> cloning")
    held.set()
    rest = answer.read().decode().splitlines()
    connection.close()
    assert rest[-1].startswith("==> deploying")
    assert builds.log(build_id).splitlines()[1:] == rest


def test_a_log_goes_on_after_any_line_as_text_and_as_events(builds: Builds) -> None:
    build_id = builds.build()
    lines = builds.log(build_id).splitlines()
    for after in range(len(lines) + 2):
        found = builds.ask("GET", f"{builds.path}/{build_id}/logs?after={after}")
        assert found.splitlines() == lines[after:]
    events = builds.ask("GET", f"{builds.path}/{build_id}/logs", Accept="text/event-stream", Last_Event_ID="1")
    frames = [frame for frame in events.split("\n\n") if frame]
    assert frames[0] == "retry: 2000\nid: 1"
    assert frames[1] == f"id: 2\nevent: line\ndata: {lines[1]}"
    assert frames[-1] == 'event: end\ndata: {"status":"succeeded"}'


def test_a_build_that_clones_is_cancelled_with_all_its_processes(builds: Builds) -> None:
    held = threading.Event()
    builds.git.delay.append(("git-upload-pack", held))
    build_id = builds.build()
    eventually(lambda: builds.git.asked and of_build(build_id))
    assert builds.ask("DELETE", f"{builds.path}/{build_id}") == {"status": "cancelled"}
    eventually(lambda: builds.is_gone(build_id))
    held.set()
    assert builds.now(build_id)["status"] == "cancelled"
    assert builds.log(build_id).startswith("==> cloning")
    builds.server.settled(builds.key)
    assert not [event for _, event in builds.server.events if isinstance(event, ServiceDeployRequested)]


def test_a_program_that_will_not_end_is_ended_with_what_it_started(git_server: GitServer, tmp_path: Path) -> None:
    """A nixpacks that ignores SIGTERM and leaves a child in a session of its own."""
    program = tmp_path / "nixpacks"
    program.write_text("#!/bin/sh\ntrap '' TERM HUP\nsetsid sleep 300 &\nsleep 300\n")
    program.chmod(0o755)
    with memory_folder() as folder, platform(folder, git_server) as server:
        server.start(PATH=f"{tmp_path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        builds = Builds(server, git_server)
        build_id = builds.build()
        eventually(lambda: len(of_build(build_id)) >= 3)
        builds.ask("DELETE", f"{builds.path}/{build_id}")
        eventually(lambda: builds.is_gone(build_id))
        assert server.end() == 0


def test_a_killed_servers_git_is_ended_by_the_next_which_builds_again(builds: Builds) -> None:
    held = threading.Event()
    builds.git.delay.append(("git-upload-pack", held))
    build_id = builds.build()
    orphans = eventually(lambda: builds.git.asked and of_build(build_id))  # git itself, which waits by now
    builds.server.end(signal.SIGKILL)
    assert set(of_build(build_id)) & set(orphans)
    builds.git.delay.clear()
    builds.server.start()
    assert builds.visit() == "built from git: one"
    assert not set(of_build(build_id)) & set(orphans)
    held.set()
    assert builds.now(build_id)["status"] == "succeeded"
    assert "attempt 2 at clone" in builds.log(build_id)


def test_a_build_that_was_cancelled_when_its_server_died_leaves_nothing(builds: Builds) -> None:
    held = threading.Event()
    builds.git.delay.append(("git-upload-pack", held))
    build_id = builds.build()
    eventually(lambda: builds.git.asked and of_build(build_id))
    builds.ask("DELETE", f"{builds.path}/{build_id}")
    builds.server.end(signal.SIGKILL)
    builds.server.start()
    assert builds.is_gone(build_id)
    held.set()


@pytest.mark.parametrize("crash_at", CRASHES)
def test_a_server_that_is_killed_there_is_followed_by_one_that_builds_and_deploys_once(
    git_server: GitServer, crash_at: str
) -> None:
    with memory_folder() as folder, platform(folder, git_server) as server:
        builds = Builds(server.start(), git_server)
        assert server.end() == 0
        server.start(crash_at)
        build_id = ""
        try:
            build_id = builds.build()
        except (OSError, http.client.HTTPException):
            assert crash_at.startswith(("between-commits", "after-intent"))
        assert server.wait() == -signal.SIGKILL
        server.start()
        build_id = build_id or builds.ask("GET", "/v1/builds")[0]["id"]
        assert builds.now(build_id, wait="succeeded")["status"] == "succeeded"
        assert builds.visit() == "built from git: one"
        server.settled(builds.key)
        assert builds.is_gone(build_id)
        (image,) = (server.folder / "images").glob("*/*")
        assert image.name == build_id
        assert len([event for _, event in server.events if isinstance(event, ServiceDeployRequested)]) == 1
        assert len([event for _, event in server.events if isinstance(event, BuildSucceeded)]) == 1
        assert server.end() == 0
        server.check_files()
