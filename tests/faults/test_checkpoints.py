"""SIGKILL while clients change things and ask for proofs: whatever was signed is in the log, and goes on from there."""

import http.client
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ahplat import limits
from ahplat.checkpoints import path_in
from events.checkpoint import notes_in, opened, parse_key
from tests.faults.harness import TREE, Server, eventually

pytestmark = pytest.mark.embedded

KILLS, CLIENTS, PROOFS = 4, 8, 16


def ask_until_it_dies(server: Server, key: str, service: str, notes: list[str]) -> None:
    """Changes a variable and has the change proved, over and over."""
    try:
        while True:
            changed = server.ask("POST", f"/v1/services/{service}/env", {"A": str(len(notes))}, key=key)
            proof = server.ask("GET", f"/v1/events/{changed.position}/proof", key=key)
            assert proof.status == 200, proof.body
            notes.append(proof.json["checkpoint"]["note"])
    except (OSError, http.client.HTTPException):
        return


def test_what_was_signed_before_a_kill_is_in_the_log_after_it(server: Server, api_key: str, tmp_path: Path) -> None:
    server.start()
    service = server.ask("POST", "/v1/services", {"name": "web"}, key=api_key).json["id"]
    notes: list[str] = []
    for kill in range(KILLS):
        clients = [
            threading.Thread(target=ask_until_it_dies, args=(server, api_key, service, notes)) for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        wanted = (kill + 1) * PROOFS
        eventually(lambda wanted=wanted: len(notes) >= wanted)  # type: ignore[misc]
        server.end(signal.SIGKILL)
        for client in clients:
            client.join()
        server.start()
    while (at := server.ask("POST", f"/v1/services/{service}/env", {"A": "b"}, key=api_key).position) < 1_001:
        assert at
    assert server.end() == 0

    links = {at.position: at.link for at, _ in server.events}
    key = parse_key((server.folder / "checkpoints" / "key").read_text())
    signed = [opened(note, key) for _, note in notes_in(path_in(server.folder).read_bytes())]
    assert {one.position for one in signed} >= {limits.CHECKPOINT_EVENTS, max(links)}
    told = [opened(note, key) for note in notes]
    assert all(links[one.position] == one.link for one in [*signed, *told])
    (tmp_path / "kept").write_text("\n" + "\n".join(notes))
    for argv in (
        ["-m", "ahplat.cli.entry", "verify", "--data-dir", str(server.folder)],
        [str(TREE / "bin" / "ah-verify"), str(server.folder)],
    ):
        done = subprocess.run(
            [sys.executable, *argv, "--checkpoints", str(tmp_path / "kept")],
            cwd=TREE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
