"""A platform on the embedded engine, and a git server beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builds.git_server import GitServer, serving
from tests.faults.harness import LAPTOP, Server, wiped
from tests.folders import memory_folder

APP = """\
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"built from git: %s" % open("said.txt", "rb").read())

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def git_server() -> Iterator[GitServer]:
    """With one repository, `web`, of a program that answers."""
    with memory_folder() as folder, serving(folder) as server:
        server.repository("web", {"main.py": APP, "said.txt": "one"})
        yield server


@pytest.fixture
def server(git_server: GitServer) -> Iterator[Server]:
    """A server that serves, and lets that git server in."""
    with memory_folder() as folder, platform(folder, git_server) as made:
        yield made.start()


@contextmanager
def platform(folder: Path, git_server: GitServer) -> Iterator[Server]:
    with wiped(Server(folder / "data", *LAPTOP, "--allow-git-host", git_server.host)) as made:
        yield made
