"""`ah incident` beside a real server, whose service and build say what they were told to keep."""

import http.client
import json
import signal
from pathlib import Path

import pytest

from tests.builds.archives import of_files
from tests.faults.harness import Server
from tests.faults.operator import ah
from tests.seeing.test_incident import files_of

pytestmark = pytest.mark.embedded

PLANTED = "planted-value-of-a-variable"
TELLS = """
import http.server, os
print("it was told", os.environ["PLANTED"], flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_what_a_service_says_is_in_it_without_what_it_was_told_to_keep(
    server: Server, api_key: str, tmp_path: Path
) -> None:
    server.start()
    service = server.ask("POST", "/v1/services", {"name": "web", "env": {"PLANTED": PLANTED}}, key=api_key).json["id"]
    built = sent(server, api_key, service, of_files({"main.py": TELLS}))
    assert built["status"] == "succeeded", built
    server.settled(api_key)
    tenant, out = server.ask("GET", "/v1/tenant", key=api_key).json["id"], tmp_path / "it.tar.gz"
    done = ah("incident", tenant, "--from", "1", "--out", out, "--data-dir", server.folder)
    assert done.returncode == 0 and "left out" not in done.stderr, done.stderr
    files = files_of(out)
    [said] = [content for name, content in files.items() if name.startswith("logs/instance-")]
    assert b"it was told [sealed]" in said
    assert any(name.startswith("logs/build-") for name in files) and b"ahplat_" in files["metrics.txt"]
    assert json.loads(files["proof.json"])["holds"] is True
    assert files["checkpoints/signed"].endswith(b"\n") and files["checkpoints/key"].startswith(b"ahplat/")
    secret, master = api_key.partition(".")[2], (server.folder / "master.key").read_bytes().strip()
    for name, content in files.items():
        for planted in (PLANTED.encode(), secret.encode(), master):
            assert planted not in content, name
    server.end(signal.SIGTERM)
    again = ah("incident", tenant, "--from", "1", "--out", tmp_path / "2.tar.gz", "--data-dir", server.folder)
    assert again.returncode == 0 and "left out: metrics: no server runs" in again.stderr


def sent(server: Server, key: str, service: str, archive: bytes) -> dict[str, str]:
    """A build of an archive, as it ended."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    fields = {"Authorization": f"Bearer {key}", "Content-Type": "application/gzip", "Prefer": "wait=50"}
    connection.request("POST", f"/v1/services/{service}/builds", archive, fields)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return dict(answer)
