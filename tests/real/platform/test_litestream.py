"""`deploy/litestream.yml` with the real Litestream: everything dies under load, and the replica gives a server back."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.agents import GONE
from tests.faults.harness import TREE, Server, eventually
from tests.faults.operator import bring
from tests.parts import litestream

pytestmark = pytest.mark.real

INTERVAL_S = 1.5  # of deploy/litestream.yml: it looks every 0.5 s, and copies every second
LATE_S = 1.5  # that a busy machine may be behind
LOAD_S = 6.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "data")
    yield found
    found.wipe()


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The one that is delivered, with other folders."""
    text = (TREE / "deploy" / "litestream.yml").read_text()
    text = text.replace("/var/lib/ah/", f"{tmp_path}/data/").replace("/var/backups/ah/", f"{tmp_path}/")
    path = tmp_path / "litestream.yml"
    path.write_text(text)
    return path


class Load:
    """Sets one variable after another; knows when each was acknowledged, and where it stands in the log."""

    def __init__(self, server: Server, key: str, service_id: str) -> None:
        self.acknowledged: list[tuple[float, int]] = []
        self.enough = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(server, key, service_id), daemon=True)
        self._thread.start()

    def _run(self, server: Server, key: str, service_id: str) -> None:
        with suppress(*GONE):
            for n in range(100_000):
                if self.enough.is_set():
                    return
                answer = server.ask("POST", f"/v1/services/{service_id}/env", {"A": f"{n}" * 100}, key=key)
                if answer.status == 200:
                    self.acknowledged.append((time.monotonic(), answer.position))

    def end(self) -> None:
        self.enough.set()
        self._thread.join(30)


def test_a_killed_server_comes_back_from_the_replica_and_lacks_nothing_older_than_its_interval(
    server: Server, configuration: Path, tmp_path: Path
) -> None:
    server.start()
    key = server.register()
    service_id = server.ask("POST", "/v1/services", {"name": "web", "env": {"SECRET": "x y z"}}, key=key).json["id"]
    program = [str(litestream.path())]
    with (tmp_path / "litestream.log").open("w") as said:
        replicator = subprocess.Popen([*program, "replicate", "-config", configuration], stdout=said, stderr=said)
    try:
        eventually(lambda: (tmp_path / "replica" / "keys.db").exists())
        load = Load(server, key, service_id)
        load.enough.wait(LOAD_S)
        killed_at = time.monotonic()
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    finally:
        replicator.kill()
        replicator.wait()
    load.end()
    replica = tmp_path / "restored"
    replica.mkdir()
    for name in ("events.db", "keys.db"):
        argv = [*program, "restore", "-config", configuration, "-o", replica / name, server.folder / name]
        subprocess.run(argv, check=True, timeout=60)
    again = Server(tmp_path / "again")
    done = bring(replica, again, "--master-key", server.folder / "master.key")
    assert done.returncode == 0, done.stderr
    old = [position for at, position in load.acknowledged if at < killed_at - INTERVAL_S - LATE_S]
    assert len(old) > 20, "that was no load"
    kept = again.events
    assert kept[-1][0].type == "log.restored"
    last = kept[-2][0].position
    print(f"{len(load.acknowledged)} acknowledged, {load.acknowledged[-1][1] - last} positions lost")
    assert last >= old[-1]
    assert [at for at, _ in kept[:-1]] == [at for at, _ in server.events[:last]]
    try:
        again.start()
        shown = again.ask("GET", f"/v1/services/{service_id}/env?reveal=true", key=key)
        assert shown.json["SECRET"] == "x y z"
        assert again.end() == 0
        again.check_files()
    finally:
        again.wipe()
