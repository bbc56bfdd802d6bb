"""Archives that are sent, on a laptop: a real server builds and runs them; killed wherever it may be."""

import http.client
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from events.services import ServiceDeployRequested
from tests.builds.archives import Entry, entry, link, of_files, packed
from tests.builds.conftest import APP
from tests.builds.marked import of_build
from tests.faults.harness import Server, eventually, wiped
from tests.folders import memory_folder

pytestmark = pytest.mark.embedded

SENT = of_files({"main.py": APP, "said.txt": "sent"})
CRASHES = [
    "after-intent:2",
    "after-attempt:1",
    "after-effect:1",
    "after-outcome:1",
    "after-effect:3",
    "after-attempt:4",
]


class Sender:
    """A tenant's service that waits, and archives sent to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.key = server.register()
        body = {"name": "web", "image": "pending"}
        self.service = server.ask("POST", "/v1/services", body, key=self.key).json["id"]

    @property
    def path(self) -> str:
        return f"/v1/services/{self.service}/builds"

    def send(self, sent: bytes = SENT, **headers: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        fields = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/gzip"} | headers
        try:
            connection.request("POST", self.path, sent, fields)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 202, body
            return self.server.ask("GET", answer.headers["Location"], key=self.key).json
        finally:
            connection.close()

    def ended(self, build_id: str) -> Any:
        """The build once it has its outcome, and nothing of it is left."""
        found = self.server.ask("GET", f"{self.path}/{build_id}?wait=succeeded&timeout=30", key=self.key).json
        eventually(lambda: not (self.server.folder / "builds" / build_id).exists() and not of_build(build_id))
        return found

    def visit(self) -> str:
        found = self.server.ask("GET", f"/v1/services/{self.service}?wait=running&timeout=30", key=self.key).json
        assert found["status"] == "running", found
        return self.server.ask("GET", "/", Host=found["url"].removeprefix("http://")).body.decode()


@pytest.fixture
def server() -> Iterator[Server]:
    with memory_folder() as folder, wiped(Server(folder / "data")) as made:
        yield made.start()


def killed_with_one_sent(sender: Sender, crash_at: str) -> None:
    """A server that is killed there, having been sent an archive that it may or may not have answered."""
    assert sender.server.end() == 0
    sender.server.start(crash_at)
    with suppress(OSError, http.client.HTTPException):
        sender.send()
    assert sender.server.wait() == -signal.SIGKILL


def test_a_folder_that_is_sent_is_built_and_answers(server: Server) -> None:
    sender = Sender(server)
    build = sender.ended(sender.send()["id"])
    assert (build["status"], build["source_type"], build["commit"]) == (
        "succeeded",
        "upload",
        build["source_url"].removeprefix("upload:"),
    )
    assert sender.visit() == "built from git: sent"
    log = server.ask("GET", f"{sender.path}/{build['id']}/logs", key=sender.key).body.decode()
    assert log.startswith("==> unpacking what was sent, sha256:")
    assert str(server.folder) not in log
    sender.ended(sender.send(of_files({"main.py": APP, "said.txt": "again"}))["id"])
    eventually(lambda: sender.visit() == "built from git: again")


def test_links_that_lead_out_by_way_of_others_fail_the_build(server: Server) -> None:
    sender = Sender(server)
    chain: list[Entry] = [entry("a/b/c/x", b"x"), link("a/b/c/up", "../.."), link("s", "a/b/c/up/../..")]
    build = sender.ended(sender.send(packed(*chain))["id"])
    assert (build["status"], build["error_code"], build["step"]) == ("failed", "link_outside", "clone")


@pytest.mark.parametrize("crash_at", CRASHES)
def test_a_server_that_is_killed_there_is_followed_by_one_that_builds_it_once(server: Server, crash_at: str) -> None:
    sender = Sender(server)
    killed_with_one_sent(sender, crash_at)
    server.start()
    (build,) = server.ask("GET", sender.path, key=sender.key).json
    assert sender.ended(build["id"])["status"] == "succeeded"
    assert sender.visit() == "built from git: sent"
    server.settled(sender.key)
    assert len([event for _, event in server.events if isinstance(event, ServiceDeployRequested)]) == 1
    assert server.end() == 0
    server.check_files()


def test_an_archive_that_is_lost_between_two_servers_fails_its_build_in_words(server: Server) -> None:
    sender = Sender(server)
    killed_with_one_sent(sender, "after-attempt:1")
    for path in (server.folder / "builds").glob("*/upload.tar.gz"):
        path.unlink()
    server.start()
    (build,) = server.ask("GET", sender.path, key=sender.key).json
    build = sender.ended(build["id"])
    assert (build["status"], build["error_code"]) == ("failed", "upload_lost")
    assert "send it again" in build["error"]


def test_a_server_that_is_killed_while_one_comes_leaves_nothing_to_its_successor(server: Server) -> None:
    sender = Sender(server)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST {sender.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sender.key}\r\n"
        head += f"Content-Type: application/gzip\r\nContent-Length: {len(SENT)}\r\n\r\n"
        connection.sendall(head.encode() + SENT[:60])
        builds = server.folder / "builds"
        eventually(lambda: list(builds.glob("*/upload.tar.gz")))
        server.end(signal.SIGKILL)
    assert list(builds.iterdir())
    server.start()
    assert not list(builds.iterdir())
    assert server.ask("GET", sender.path, key=sender.key).json == []
