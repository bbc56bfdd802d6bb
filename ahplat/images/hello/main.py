"""ah/hello: the smallest service there is, to see that a deploy works from end to end.

Answers on $PORT of the loopback, says which service and deployment it is, and on SIGTERM finishes what it is answering
before it ends: so nothing is lost when a newer one takes its place.
"""

import os
import select
import signal
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer


def greeting() -> str:
    service, deployment = os.environ.get("AH_SERVICE", "nobody"), os.environ.get("AH_DEPLOYMENT", "none")
    return f"Hello from ahplat! This is service {service}, deployment {deployment}.\n"


class Hello(BaseHTTPRequestHandler):
    timeout = 5  # seconds that a silent client may hold us up

    def do_GET(self) -> None:
        answers = {"/": greeting(), "/healthz": "ok\n"}
        path = self.path.partition("?")[0]
        self.answer(200 if path in answers else 404, answers.get(path, "there is only / and /healthz here\n"))

    do_HEAD = do_GET

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingTCPServer):
    """Not http.server's own, which asks DNS for the host's name before it listens."""

    allow_reuse_address = True
    daemon_threads = False  # so that server_close waits for the answers under way
    request_queue_size = 128

    def answer_who_waits(self) -> None:
        """Who had connected before we stopped is answered too, and not sent away by the kernel."""
        for _ in range(self.request_queue_size):
            if not select.select([self], [], [], 0)[0]:
                return
            self.handle_request()


def main() -> None:
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Hello)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{greeting().strip()} Listening on port {server.server_address[1]}.", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.answer_who_waits()
    server.server_close()


if __name__ == "__main__":
    main()
