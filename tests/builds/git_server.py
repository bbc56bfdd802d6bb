"""A real git server on loopback: `git http-backend` behind the smallest of CGI servers, and repositories made for a test.

    with serving(folder) as server:
        server.repository("web", {"main.py": "…"})      # committed on `main`
        server.url("web")                               # http://127.0.0.1:PORT/web.git

`server.delay` is a list of (part of a path, threading.Event): a request for such a path is answered once that is set.
`server.answers` maps a path to a raw answer of the test's own, for servers that misbehave.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BACKEND = "/usr/lib/git-core/git-http-backend"
AUTHOR = {
    **{f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    **{f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": os.environ["PATH"],
}


def git(folder: Path, *argv: str, stdin: bytes = b"") -> str:
    """Runs git in a folder; its output."""
    done = subprocess.run(["git", *argv], cwd=folder, env=AUTHOR, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


class Handler(BaseHTTPRequestHandler):
    """One request, handed to git's own program as CGI has it."""

    protocol_version = "HTTP/1.0"
    server: "GitServer"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append(self.path)
        for part, event in self.server.delay:
            if part in self.path:
                event.wait(30)
        if made := next((made for at, made in self.server.answers.items() if path.startswith(at)), None):
            return made(self)
        env = {
            "GIT_PROJECT_ROOT": str(self.server.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "PATH": os.environ["PATH"],
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run([BACKEND], env=env, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(fields.pop("Status", "200").split()[0])
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        return None

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class GitServer(ThreadingHTTPServer):
    """See the module."""

    daemon_threads = True

    def __init__(self, folder: Path, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.delay: list[tuple[str, threading.Event]] = []
        self.answers: dict[str, Callable[[Handler], None]] = {}

    @property
    def host(self) -> str:
        """HOST:PORT, as `--allow-git-host` takes it."""
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, name: str) -> str:
        return f"http://{self.host}/{name}.git"

    def repository(self, name: str, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> str:
        """Makes a repository, or a further commit in it; the commit."""
        bare, tree = self.folder / f"{name}.git", self.folder / f"{name}.tree"
        if not bare.exists():
            git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
            git(self.folder, "clone", "--quiet", str(bare), str(tree))
            git(tree, "checkout", "--quiet", "-B", "main")
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content.encode() if isinstance(content, str) else content)
        for path, target in (links or {}).items():
            (tree / path).symlink_to(target)
        git(tree, "add", "--all")
        git(tree, "commit", "--quiet", "--allow-empty", "-m", "a commit")
        git(tree, "push", "--quiet", "origin", "main")
        return git(tree, "rev-parse", "HEAD")


@contextmanager
def serving(folder: Path) -> Iterator[GitServer]:
    """A server over a folder of repositories, until the end of the block."""
    server = GitServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        for _, event in server.delay:
            event.set()
        server.shutdown()
        server.server_close()
