"""The web app of the tests: tells who it is, and does at its caller's wish what a tenant's code might try.

Listens on $PORT (8000). SIGTERM ends it as a good app ends: no new connections, those in flight are answered first.

Modules are imported where they are needed: under gVisor `http.server` alone is more than half of what a start costs, and
the tests start hundreds.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from socketserver import StreamRequestHandler, ThreadingTCPServer

LINE_BYTES = 65_536


def hello() -> str:
    """Who answers: version of the image, service and deployment as the platform told it."""
    env = os.environ
    return f"hello {env.get('VERSION')} service={env.get('AH_SERVICE')} deployment={env.get('AH_DEPLOYMENT')}\n"


def healthz() -> str:
    """200."""
    return "ok\n"


def env() -> str:
    """All variables, as JSON."""
    import json

    return json.dumps(dict(os.environ))


def dmesg() -> str:
    """What the kernel said: gVisor's says that it is gVisor's."""
    import subprocess

    done = subprocess.run(["dmesg"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def whoami() -> str:
    """User, groups and the capabilities' line of the kernel, as JSON."""
    import json
    from pathlib import Path

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
    from pathlib import Path

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


class Handler(StreamRequestHandler):
    """One request a connection (HTTP/1.0): calls the function of the path with the query as its arguments."""

    def handle(self) -> None:
        """404 for an unknown path, 400 where the arguments do not fit, 501 for another method than GET."""
        method, _, rest = self.rfile.readline(LINE_BYTES).decode("latin-1").partition(" ")
        while self.rfile.readline(LINE_BYTES).strip():
            pass
        status, text = answered(rest.partition(" ")[0]) if method == "GET" else ("501 Not Implemented", "GET only\n")
        body = text.encode()
        head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)


def answered(target: str) -> tuple[str, str]:
    """Status and text for the path and query of a request."""
    path, _, query = target.partition("?")
    try:
        return "200 OK", ROUTES[path](**arguments(query))
    except KeyError:
        return "404 Not Found", "not found\n"
    except (TypeError, ValueError) as error:
        return "400 Bad Request", f"{error}\n"


def arguments(query: str) -> dict[str, str]:
    """The fields of a query."""
    if not query:
        return {}
    from urllib.parse import parse_qsl

    return dict(parse_qsl(query))


class Server(ThreadingTCPServer):
    """Waits for its threads at the end, and lets a burst of callers in."""

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 512


def main() -> None:
    """Serves until SIGTERM."""
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"hello {os.environ.get('VERSION')} listens on {server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    print("drained", flush=True)


if __name__ == "__main__":
    main()
