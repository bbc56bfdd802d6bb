"""`ah verify`: whatever was done to an event, wherever it stands, is named by its position."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.events.raw import raw
from tests.faults.harness import Server
from tests.faults.operator import Ended, ah, back_up

pytestmark = pytest.mark.embedded


def verify(server: Server, *options: str) -> Ended:
    return ah("verify", "--data-dir", server.folder, *options)


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
    told = done.stdout.splitlines()
    assert told[0] == f"{last.position} events hold, the last link is {last.link.hex()}"
    assert " checkpoints hold, the newest is at " in told[1]


def test_views_that_are_not_what_the_log_makes_are_told_of_where_that_is_asked(long_ago: Server) -> None:
    assert long_ago.end() == 0
    done = verify(long_ago, "--views")
    assert (done.returncode, done.stdout.count("two replays and the live file are equal")) == (0, 2)
    db = apsw.Connection(str(long_ago.folder / "views.db"))
    db.execute("UPDATE service SET memory_mb = memory_mb + 1")
    db.close()
    assert verify(long_ago).returncode == 0
    done = verify(long_ago, "--views")
    assert (done.returncode, "table service, row service_id" in done.stderr) == (1, True)


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
    with raw(long_ago.folder / "events.db") as db:
        harm(db)
    done = verify(long_ago)
    assert done.returncode == 1
    assert f"the chain does not hold at position {position}" in done.stderr


def cut(server: Server) -> None:
    """Takes the end of the log away, and nothing shows it but what is known of a backup."""
    with raw(server.folder / "events.db") as db:
        db.execute("DELETE FROM event WHERE position > 100")
    (server.folder / "views.db").unlink()


def test_an_end_that_is_gone_is_found_by_what_was_signed(long_ago: Server) -> None:
    last = long_ago.events[-1][0].position
    assert long_ago.end() == 0
    cut(long_ago)
    done = verify(long_ago)
    assert done.returncode == 1
    assert f"the chain does not hold at position {last}: it is gone that was signed" in done.stderr
    long_ago.launch()
    assert long_ago.wait() == 2
    assert f"position {last} is not there, but the link" in long_ago.said.read_text()


def test_an_end_that_is_gone_is_found_by_what_is_known_of_a_backup(long_ago: Server, tmp_path: Path) -> None:
    assert back_up(long_ago, tmp_path).returncode == 0
    last = long_ago.events[-1][0].position
    assert long_ago.end() == 0
    cut(long_ago)
    (long_ago.folder / "checkpoints" / "signed").unlink()
    done = verify(long_ago)
    assert done.returncode == 1
    assert f"100 events hold, but it ends at position 100, but {long_ago.folder}" in done.stderr
    assert f"says that it came to {last}" in done.stderr
    long_ago.launch()
    assert long_ago.wait() == 2
    assert "Restore it from a backup" in long_ago.said.read_text()


def test_a_page_that_is_damaged_is_found(long_ago: Server) -> None:
    assert long_ago.end() == 0
    path = long_ago.folder / "events.db"
    content = bytearray(path.read_bytes())
    content[-2_500:] = bytes(2_500)
    path.write_bytes(content)
    done = verify(long_ago)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_where_there_is_no_log_that_is_said(empty: Server) -> None:
    done = verify(empty)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "events.db" in done.stderr
