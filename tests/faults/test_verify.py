"""`ah verify`: whatever was done to an event, wherever it stands, is named by its position."""

import os
import subprocess
import sys
from collections.abc import Callable

import apsw
import pytest

from tests.faults.harness import TREE, Server

pytestmark = pytest.mark.embedded


def verify(server: Server) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "ahplat.cli.entry", "verify", "--data-dir", str(server.folder)]
    environ = os.environ | {"PYTHONPATH": str(TREE)}
    return subprocess.run(argv, env=environ, cwd=TREE, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def long_ago(server: Server, api_key: str) -> Server:
    """A server whose log goes on for longer than what every start looks at."""
    server.start()
    service = server.ask("POST", "/v1/services", {"name": "web"}, key=api_key).json["id"]
    for n in range(220):
        server.ask("POST", f"/v1/services/{service}/env", {"A": str(n)}, key=api_key)
    return server


def test_a_whole_log_holds_also_beside_a_server(long_ago: Server) -> None:
    done = verify(long_ago)
    assert (done.returncode, done.stderr) == (0, "")
    last = long_ago.events[-1][0]
    assert done.stdout == f"{last.position} events hold, the last link is {last.link.hex()}\n"


def changed(db: apsw.Connection) -> None:
    db.execute("UPDATE event SET data = CAST(replace(data, 'web', 'wez') AS BLOB) WHERE type = 'service.created'")


def dropped(db: apsw.Connection) -> None:
    db.execute("DELETE FROM event WHERE position = 9")


def swapped(db: apsw.Connection) -> None:
    for before, after in ((9, -1), (10, 9), (-1, 10)):
        db.execute("UPDATE event SET position = ? WHERE position = ?", (after, before))


@pytest.mark.parametrize(("harm", "position"), [(changed, 4), (dropped, 9), (swapped, 9)])
def test_what_was_done_to_an_old_event_is_named(
    long_ago: Server, harm: Callable[[apsw.Connection], None], position: int
) -> None:
    assert long_ago.end() == 0
    db = apsw.Connection(str(long_ago.folder / "events.db"))
    for (trigger,) in list(db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")):
        db.execute(f"DROP TRIGGER {trigger}")
    harm(db)
    db.close()
    done = verify(long_ago)
    assert done.returncode == 1
    assert f"the chain does not hold at position {position}" in done.stderr


def test_where_there_is_no_log_that_is_said(empty: Server) -> None:
    done = verify(empty)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "events.db" in done.stderr
