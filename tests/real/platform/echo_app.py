"""A web app that keeps its connections: GET and POST over HTTP/1.1, and an echo over WebSocket (RFC 6455).

It runs inside a container, by the standard library only; `image_of` makes the image. SIGTERM ends it as a good app
ends: no new connections, and what was asked is answered.
"""

import base64
import hashlib
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUSY: set[int] = set()


class Handler(BaseHTTPRequestHandler):
    """Says its version, and what was posted."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """`/slow` takes 3 s; `/ws` is the echo."""
        if self.path == "/ws":
            return self.echo()
        BUSY.add(id(self))
        if self.path == "/slow":
            time.sleep(3)
        self.answer(f"echo {os.environ.get('VERSION')}".encode())
        return None

    def do_POST(self) -> None:
        """Gives back what came."""
        BUSY.add(id(self))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(f"echo {os.environ.get('VERSION')} ".encode() + body)

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        BUSY.discard(id(self))

    def echo(self) -> None:
        """Short text frames of one piece only."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while (head := self.rfile.read(2)) and head[0] & 15 == 1:
            size = head[1] & 127
            mask, body = self.rfile.read(4), self.rfile.read(size)
            text = bytes(byte ^ mask[n % 4] for n, byte in enumerate(body))
            self.wfile.write(bytes([129, len(text)]) + text)
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """With room for the connections of a busy second. gVisor resets, or forgets, those that a full backlog has no room for."""

    request_queue_size = 128


def main() -> None:
    """Serves until SIGTERM."""
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.socket.close()
    until = time.monotonic() + 9
    while BUSY and time.monotonic() < until:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
