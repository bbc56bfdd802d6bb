"""A registry whose one layer takes for ever: pulls that are cut, and what Docker does about it."""

import hashlib
import http.server
import json
import secrets
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def a_slow_registry(layer_code: int = 200) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """Serves an image whose layer takes for ever. The events: Docker asked for the layer; Docker hung up."""
    asked, gone = threading.Event(), threading.Event()
    layer = "sha256:" + secrets.token_hex(32)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer]}})
    digest = "sha256:" + hashlib.sha256(config.encode()).hexdigest()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(config),
            "digest": digest,
        },
        "layers": [
            {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1_000_000, "digest": layer}
        ],
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if layer in self.path:
                return self.trickle()
            body = (json.dumps(manifest) if "/manifests/" in self.path else config).encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
            return None

        def trickle(self) -> None:
            self.send_response(layer_code)
            self.send_header("Content-Length", "1000000" if layer_code == 200 else "0")
            self.end_headers()
            asked.set()
            if layer_code != 200:
                return
            with suppress(OSError):  # Docker hung up
                for _ in range(600):
                    self.wfile.write(b"x" * 100)
                    time.sleep(0.1)
                return
            gone.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", asked, gone
        server.shutdown()
