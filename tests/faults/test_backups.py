"""Backup, restore and a new master key on real servers, and killed at each of their steps."""

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ahplat.crashpoints import BACKUP, RESTORE, ROTATION
from tests.faults.agents import Agent
from tests.faults.conftest import wiped
from tests.faults.harness import LAPTOP, Server, eventually
from tests.faults.operator import ah, back_up, bring, rotate
from tests.faults.test_crash_points import sets_variables
from tests.faults.test_full_disk import mounted

pytestmark = pytest.mark.embedded

KILLED = -signal.SIGKILL
SECRET = "correct horse battery staple"


@pytest.fixture
def backups(server: Server) -> Path:
    return server.folder.with_name("backups")


@pytest.fixture
def again(server: Server) -> Iterator[Server]:
    """A server over a folder that is not there yet."""
    with wiped(Server(server.folder.with_name("again"))) as found:
        yield found


@pytest.fixture
def service(server: Server, api_key: str) -> str:
    """A service with a secret, of a server that has ended."""
    server.start()
    body = {"name": "web", "env": {"SECRET": SECRET}}
    found = str(server.ask("POST", "/v1/services", body, key=api_key).json["id"])
    assert server.end() == 0
    return found


def check_all_there(server: Server, api_key: str, service_id: str) -> None:
    """Its tenant signs in, and reads its secret."""
    answer = server.ask("GET", f"/v1/services/{service_id}/env?reveal=true", key=api_key)
    assert (answer.status, answer.json["SECRET"]) == (200, SECRET), answer
    assert server.ask("GET", "/v1/tenant", key=api_key).json["name"] == "acme"


def test_a_backup_while_commands_run_gives_a_server_that_has_it_all(
    server: Server, service: str, api_key: str, backups: Path, again: Server
) -> None:
    server.start()
    agent = Agent(server, "busy", api_key).begin(sets_variables)
    eventually(lambda: len(agent.answered) > 5)
    done = back_up(server, backups)
    agent.give_up.set()
    agent.join()
    assert done.returncode == 0, done.stderr
    told = re.fullmatch(r"backup of position (\d+), \d+ bytes in [\d.]+ s, verified: (\S+)\n", done.stdout)
    assert told
    cursor = server.ask("GET", "/v1/services?limit=1", key=api_key).headers["link"].partition("cursor=")[2]
    assert server.end() == 0
    done = bring(Path(told[2]), again, "--master-key", server.folder / "master.key")
    assert done.returncode == 0, done.stderr
    position = int(told[1])
    assert [at for at, _ in again.events[:-1]] == [at for at, _ in server.events[:position]]
    again.start()
    check_all_there(again, api_key, service)
    assert again.ask("GET", "/v1/system/health/detailed", key=api_key).json["log"]["epoch"] == 2
    seen = again.ask("GET", f"/v1/services?limit=1&cursor={cursor.partition('>')[0]}", key=api_key)
    assert (seen.status, seen.json["code"]) == (410, "cursor_gone")
    assert again.register("another")
    assert again.end() == 0
    again.check_files()


@pytest.mark.parametrize("point", BACKUP)
def test_a_backup_that_is_killed_leaves_no_half_pair(
    server: Server, service: str, backups: Path, again: Server, point: str
) -> None:
    assert back_up(server, backups).returncode == 0
    assert back_up(server, backups, crash_at=point).returncode == KILLED
    whole = len(list(backups.glob("ah-*Z")))
    assert whole == (2 if point == "made" else 1)
    done = back_up(server, backups)
    assert done.returncode == 0, done.stderr
    assert not list(backups.glob("*.half"))
    assert len(list(backups.glob("ah-*Z"))) == whole + 1
    for pair in backups.glob("ah-*Z"):
        done = bring(pair, again, "--master-key", server.folder / "master.key")
        assert done.returncode == 0, done.stderr
        shutil.rmtree(again.folder)


@pytest.mark.parametrize("point", RESTORE)
def test_a_restore_that_is_killed_is_run_again_and_no_server_starts_before(
    server: Server, service: str, api_key: str, backups: Path, again: Server, point: str
) -> None:
    assert back_up(server, backups).returncode == 0
    key = ("--master-key", server.folder / "master.key")
    assert bring(backups, again, *key, crash_at=point).returncode == KILLED
    again.launch()
    assert again.wait() == 2
    assert "did not come to its end: run the same `ah restore` again" in again.said.read_text()
    done = bring(backups, again, *key, "--behind-checkpoint")
    assert done.returncode == 0, done.stderr
    assert [at.type for at, _ in again.events[-2:]].count("log.restored") == 1
    again.start()
    check_all_there(again, api_key, service)
    assert again.end() == 0
    again.check_files()


@pytest.mark.parametrize("follows", ["the server", "another rotation"])
@pytest.mark.parametrize("point", ROTATION)
def test_a_rotation_that_is_killed_loses_nothing(
    server: Server, service: str, api_key: str, point: str, follows: str
) -> None:
    old = (server.folder / "master.key").read_text()
    assert rotate(server, crash_at=point).returncode == KILLED
    if follows == "another rotation":
        done = rotate(server)
        assert (done.returncode, done.stderr) == (0, "")
    server.start()
    check_all_there(server, api_key, service)
    is_new = (server.folder / "master.key").read_text() != old
    assert is_new == (follows == "another rotation" or point != "key-written")
    assert server.register("another")
    assert server.end() == 0
    server.check_files()


def test_a_rotation_is_refused_while_a_server_runs(server: Server) -> None:
    server.start()
    done = rotate(server)
    assert done.returncode == 1
    assert "another server uses" in done.stderr


def test_a_backup_that_finds_no_room_leaves_nothing_and_says_so(server: Server, service: str, backups: Path) -> None:
    backups.mkdir()
    with mounted(backups):
        assert back_up(server, backups).returncode == 0
        before = sorted(path.name for path in backups.iterdir())
        filler = backups / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (65_536, 4_096):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue
        done = back_up(server, backups)
        assert done.returncode == 1
        assert "no room" in done.stderr
        filler.unlink()
        assert sorted(path.name for path in backups.iterdir()) == before
        assert back_up(server, backups).returncode == 0


def test_a_server_makes_backups_by_itself_and_says_when_it_did(server: Server, backups: Path) -> None:
    server.options = (*LAPTOP, "--backup-every", "1", "--backup-to", str(backups))
    server.start()
    eventually(lambda: list(backups.glob("ah-*Z")))

    def told() -> float:
        said = server.ask("GET", "/metrics").body.decode()
        found = re.search(r"^ahplat_last_verified_backup_timestamp_seconds (\S+)$", said, re.MULTILINE)
        return float(found[1]) if found else 0.0

    assert eventually(told) > 1_700_000_000


def test_after_an_erasure_no_plaintext_is_in_any_file_nor_in_a_new_backup(
    server: Server, backups: Path, again: Server
) -> None:
    token = "t" * 40
    server.start(AH_BOOTSTRAP_TOKEN=token)
    name, value = "Zebulon Quagmire", "sk-live-0123456789abcdef"
    made = server.ask("POST", "/v1/tenants/register", {"name": name, "email": "zebulon@quagmire.example"}).json
    key = made["api_key"]
    server.ask("POST", "/v1/services", {"name": "web", "image": "ah/hello", "env": {"SECRET": value}}, key=key)
    server.settled(key)
    assert back_up(server, backups).returncode == 0
    older = sorted(backups.glob("ah-*Z"))[0]
    path = f"/v1/tenants/{made['tenant_id']}/data"
    asked = server.ask("DELETE", path, {"confirm": name}, X_Bootstrap_Token=token, Prefer="wait=30")
    assert asked.status == 202, asked
    eventually(lambda: server.events[-1][0].type == "tenant.erased")
    assert back_up(server, backups).returncode == 0
    assert server.end() == 0
    newer = sorted(backups.glob("ah-*Z"))[1]
    done = bring(newer, again, "--master-key", server.folder / "master.key")
    assert done.returncode == 0, done.stderr
    for folder in (server.folder, again.folder):
        for file in (path for path in folder.rglob("*") if path.is_file()):
            content = file.read_bytes()
            for plain in (name, "zebulon@quagmire.example", value):
                assert plain.encode() not in content, f"{plain} is in {file}"
    assert again.start().end() == 0
    assert b"zebulon-quagmire" not in (again.folder / "views.db").read_bytes()
    assert ah("verify", "--data-dir", server.folder).returncode == 0
    shutil.rmtree(again.folder)
    done = bring(older, again, "--master-key", server.folder / "master.key", "--behind-checkpoint")
    assert "1 erased again" in done.stdout, done
    again.start()
    eventually(lambda: again.events[-1][0].type == "tenant.erased")
    assert again.ask("GET", "/v1/tenant", key=key).status == 403
    assert again.end() == 0
    again.check_files()
