"""The web app of the tests: tells who it is, and does at its caller's wish what a tenant's code might try.

Listens on $PORT (8000). SIGTERM ends it as a good app ends: no new connections, those in flight are answered first.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit


def hello() -> str:
    """Who answers: version of the image, service and deployment as the platform told it."""
    env = os.environ
    return f"hello {env.get('VERSION')} service={env.get('AH_SERVICE')} deployment={env.get('AH_DEPLOYMENT')}\n"


def healthz() -> str:
    """200."""
    return "ok\n"


def env() -> str:
    """All variables, as JSON."""
    return json.dumps(dict(os.environ))


def dmesg() -> str:
    """What the kernel said: gVisor's says that it is gVisor's."""
    done = subprocess.run(["dmesg"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def whoami() -> str:
    """User, groups and the capabilities' line of the kernel, as JSON."""
    status = Path("/proc/self/status").read_text().splitlines()
    capabilities = [line for line in status if line.startswith("Cap")]
    return json.dumps({"uid": os.getuid(), "gid": os.getgid(), "capabilities": capabilities})


def connect(host: str, port: str) -> str:
    """`open` or `closed`, and why: a TCP connect with 2 s of patience."""
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as error:
        return f"closed: {error}\n"
    return "open\n"


def resolve(host: str) -> str:
    """The IPv4 addresses of a name, or `unknown` and why."""
    try:
        found = socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"unknown: {error}\n"
    return "".join(f"{address[0]}\n" for *_, address in found)


def write(path: str) -> str:
    """`written` or `refused`, and why."""
    try:
        Path(path).write_text("x")
    except OSError as error:
        return f"refused: {error}\n"
    return "written\n"


def say(line: str) -> str:
    """Writes a line to stdout, for the logs."""
    print(line, flush=True)
    return "said\n"


def slow(seconds: str) -> str:
    """Answers after a while."""
    time.sleep(float(seconds))
    return hello()


def allocate(mb: str) -> str:
    """Takes memory, written to so that it counts, and keeps it."""
    HELD.append(b"x" * (int(mb) << 20))
    return "held\n"


def leave(code: str) -> str:
    """Ends the process at once: a crash."""
    os._exit(int(code))


HELD: list[bytes] = []
ROUTES: dict[str, Callable[..., str]] = {
    "/": hello,
    "/healthz": healthz,
    "/env": env,
    "/dmesg": dmesg,
    "/whoami": whoami,
    "/connect": connect,
    "/resolve": resolve,
    "/write": write,
    "/say": say,
    "/slow": slow,
    "/allocate": allocate,
    "/exit": leave,
}


class Handler(BaseHTTPRequestHandler):
    """Calls the function of the path with the query as its arguments."""

    def do_GET(self) -> None:
        """404 for an unknown path, 400 where the arguments do not fit."""
        url = urlsplit(self.path)
        try:
            code, text = 200, ROUTES[url.path](**dict(parse_qsl(url.query)))
        except KeyError:
            code, text = 404, "not found\n"
        except (TypeError, ValueError) as error:
            code, text = 400, f"{error}\n"
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing of requests: what stands in the log is what `say` put there."""


class Server(ThreadingHTTPServer):
    """Waits for its threads at the end, and lets a burst of callers in."""

    daemon_threads = False
    request_queue_size = 512


def main() -> None:
    """Serves until SIGTERM."""
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"hello {os.environ.get('VERSION')} listens on {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    print("drained", flush=True)


if __name__ == "__main__":
    main()
