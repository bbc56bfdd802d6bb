"""What lies around a builder, made for a test: an internet, a private network, a metadata service, a neighbour.

All are HTTP servers that answer `reached`: one network namespace has a public address (TEST-NET-3, RFC 5737), a private
and the metadata one; the host listens on all of its own. The host forwards to them as to any network.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.parts.cache import locked

NETWORK_BITS = 28  # no more than that: a package index may be at the rest, for a test beside this one
INTERNET, PRIVATE, METADATA = "203.0.113.7", "172.31.255.7", "169.254.169.254"
PORT = 8099


@dataclass(frozen=True)
class Outside:
    """Where things are."""

    host_port: int
    namespace: str


class Reached(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"reached")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)


@contextmanager
def outside() -> Iterator[Outside]:
    """Has it all there until the end of the block. Its addresses are always the same: one test at a time has it."""
    with locked("outside"):
        yield from _outside()


def _outside() -> Iterator[Outside]:
    name = f"out{secrets.token_hex(4)}"
    host = ThreadingHTTPServer(("0.0.0.0", 0), Reached)
    threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    web = None
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "index.html").write_text("reached")
        ip("netns", "add", name)
        try:
            ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("address", "add", f"203.0.113.1/{NETWORK_BITS}", "dev", name)
            ip("link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "address", "add", f"{INTERNET}/{NETWORK_BITS}", "dev", "eth0")
            for address in (PRIVATE, METADATA):
                ip("-n", name, "address", "add", f"{address}/32", "dev", "eth0")
                ip("route", "replace", f"{address}/32", "via", INTERNET)
            ip("-n", name, "route", "add", "default", "via", "203.0.113.1")
            argv = ["ip", "netns", "exec", name, sys.executable, "-m", "http.server", str(PORT), "--directory", folder]
            web = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
            for address in (INTERNET, PRIVATE, METADATA):
                _until_it_answers(f"http://{address}:{PORT}/")
            yield Outside(host.server_address[1], name)
        finally:
            if web is not None:
                web.kill()
                web.wait()
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
            host.shutdown()
            host.server_close()


def _until_it_answers(url: str) -> None:
    """The test itself reaches it: so what a build does not reach is closed, not absent."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                assert answer.read() == b"reached"
                return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.05)
