"""What an operator's server is for, run inside of one: deploy, build from git, run a command. Says what came of it."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.builds.git_server import serving
from tests.real.platform.server import Answer, fetch

ENV = Path("/etc/ahplat/ahplat.env")
APP = """\
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"built " + open("/proc/version", "rb").read())

HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""


def main() -> None:
    """Prints one JSON object."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as git:
        ENV.write_text(ENV.read_text() + f"AH_ALLOW_GIT_HOST={git.host}\n")
        subprocess.run(["systemctl", "restart", "ahplat"], check=True)
        git.repository("app", {"main.py": APP})
        made = ask("POST", "/v1/tenants/register", {"name": "acme", "email": "dev@acme.example"})
        key = {"Authorization": f"Bearer {made.json['api_key']}"}
        body = {"name": "web", "image": "hello:1", "memory_mb": 128, "egress": "internet", "volumes": {"d": "/data"}}
        web = ask("POST", "/v1/services", body, Prefer="wait=60", **key).json
        app = ask("POST", "/v1/services", {"name": "app", "image": "pending", "memory_mb": 128}, **key).json
        path = f"/v1/services/{app['id']}"
        build = ask("POST", f"{path}/builds", {"git_url": git.url("app")}, **key).json
        built = ask("GET", f"{path}/builds/{build['id']}?wait=succeeded&timeout=60", **key).json
        app = ask("GET", f"{path}?wait=running&timeout=60", **key).json
        done = ask("POST", f"{path}/exec", {"command": ["true"]}, Idempotency_Key="once", **key).json
    answer = fetch("127.0.0.1", 80, "GET", "/", Host=app["url"].removeprefix("http://"))
    statuses = {"web": web["status"], "build": built["status"], "app": app["status"], "exec": done["outcome"]}
    print(json.dumps({**statuses, "answer": answer.text}))


def ask(method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One request that succeeds."""
    answer = fetch("127.0.0.1", 8080, method, path, body, **headers)
    assert answer.status < 300, answer
    return answer


if __name__ == "__main__":
    os.umask(0o022)
    main()
