"""What is missing or wrong at the start is one line with its remedy, and exit code 2."""

import os
import re
import socket
from pathlib import Path

import apsw
import pytest

from tests.events.raw import raw
from tests.faults.harness import LAPTOP, Server

pytestmark = pytest.mark.embedded

TOKEN = "t" * 32


def refuses(server: Server, *options: str, **env: str) -> str:
    """The one line that it says."""
    server.options = options or LAPTOP
    assert server.launch(**env).wait() == 2, server.said.read_text()
    said = server.said.read_text()
    assert "Traceback" not in said
    (line,) = said.splitlines()
    assert line.startswith("ah: ")
    return line


def test_without_a_bootstrap_token(empty: Server) -> None:
    assert "AH_BOOTSTRAP_TOKEN is not set: make one with `openssl rand -hex 32`" in refuses(empty, "--engine", "docker")
    assert not empty.folder.exists()


def test_with_a_short_one(empty: Server) -> None:
    line = refuses(empty, "--engine", "docker", AH_BOOTSTRAP_TOKEN="secret" * 5)
    assert "shorter than 32 characters" in line
    assert "secret" not in line


def test_one_of_several_that_is_short(empty: Server) -> None:
    assert "shorter" in refuses(empty, "--engine", "docker", AH_BOOTSTRAP_TOKEN=f"{TOKEN},short")


def test_open_registration_outside_dev(empty: Server) -> None:
    assert "--dev" in refuses(empty, "--open-registration", AH_BOOTSTRAP_TOKEN=TOKEN)


def test_the_embedded_engine_outside_dev(empty: Server) -> None:
    assert "--dev" in refuses(empty, "--engine", "embedded", AH_BOOTSTRAP_TOKEN=TOKEN)


def test_no_docker(empty: Server) -> None:
    line = refuses(empty, "--engine", "docker", "--docker-host", "unix:///nowhere.sock", AH_BOOTSTRAP_TOKEN=TOKEN)
    assert "Docker" in line


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_can_read(server: Server, mode: int) -> None:
    key = server.folder / "master.key"
    key.chmod(mode)
    assert f"chmod 600 {key}" in refuses(server)


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31, "ab" * 33])
def test_a_key_that_is_none(server: Server, text: str) -> None:
    key = server.folder / "master.key"
    key.write_text(text)
    assert "put the right file back" in refuses(server)


def test_another_key_than_the_one_that_wrapped_the_keys(server: Server) -> None:
    (server.folder / "master.key").write_text("ab" * 32)
    assert "put the right file back" in refuses(server)


def test_a_key_that_is_gone_while_what_it_wrapped_is_there(server: Server) -> None:
    (server.folder / "master.key").unlink()
    assert "put the file back" in refuses(server)
    assert not (server.folder / "master.key").exists(), "a new key would hide the loss"


def lost(server: Server, name: str, harm: str) -> None:
    for path in server.folder.glob(f"{name}*"):
        path.unlink()
    if harm == "emptied":
        (server.folder / name).touch()


@pytest.mark.parametrize("harm", ["emptied", "missing"])
def test_keys_that_are_gone_while_there_is_a_log(server: Server, harm: str) -> None:
    lost(server, "keys.db", harm)
    assert "keys.db is missing or empty" in refuses(server)
    path = server.folder / "keys.db"
    assert not path.exists() or path.stat().st_size == 0, "new keys would hide the loss"


@pytest.mark.parametrize("harm", ["emptied", "missing"])
def test_a_log_that_is_gone_while_there_are_keys_of_its_tenants(server: Server, harm: str) -> None:
    lost(server, "events.db", harm)
    assert "events.db is missing or empty" in refuses(server)
    path = server.folder / "events.db"
    assert not path.exists() or path.stat().st_size == 0, "a new log would hide the loss"


def test_a_log_in_which_nothing_is_left(server: Server) -> None:
    with raw(server.folder / "events.db") as db:
        db.execute("DELETE FROM event")
    assert "events.db is missing or empty" in refuses(server)


def test_keys_of_which_a_page_is_garbage(server: Server) -> None:
    path = server.folder / "keys.db"
    content = bytearray(path.read_bytes())
    content[8192:16384] = os.urandom(8192)
    path.write_bytes(content)
    assert "keys.db" in refuses(server)


def test_views_that_have_to_be_made_from_a_log_with_a_garbage_page(server: Server, api_key: str) -> None:
    with_an_old_page_damaged(server, api_key)
    (server.folder / "views.db").unlink()
    assert "is damaged" in refuses(server)


def with_an_old_page_damaged(server: Server, api_key: str) -> None:
    """Leaves a log whose end is well, and in which a page of old events is garbage."""
    server.start()
    service = server.ask("POST", "/v1/services", {"name": "web"}, key=api_key).json["id"]
    for n in range(250):
        server.ask("POST", f"/v1/services/{service}/env", {"A": str(n) + "x" * 500}, key=api_key)
    assert server.end() == 0
    path = server.folder / "events.db"
    content = bytearray(path.read_bytes())
    at = [found.start() for found in re.finditer(b'"type":"service.env_set"', content)][20] // 8192 * 8192
    content[at : at + 8192] = os.urandom(8192)
    path.write_bytes(content)


def test_a_page_of_old_events_that_is_garbage_fails_the_read_of_it_and_nothing_else(
    server: Server, api_key: str
) -> None:
    with_an_old_page_damaged(server, api_key)
    server.start()
    answer = server.ask("GET", "/v1/events?after=0", key=api_key, Accept="application/json")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert server.ask("GET", "/v1/services", key=api_key).status == 200
    assert server.ask("GET", "/v1/system/ready").status == 200
    assert "a page of the log is damaged" in server.said.read_text()
    assert server.end() == 0


def test_a_log_in_which_an_event_was_changed(server: Server) -> None:
    with raw(server.folder / "events.db") as db:
        db.execute("UPDATE event SET data = CAST('{}' AS BLOB) WHERE position = 2")
    assert "chain does not hold" in refuses(server)


def test_a_log_from_which_the_middle_is_gone(server: Server) -> None:
    with raw(server.folder / "events.db") as db:
        db.execute("DELETE FROM event WHERE position = 2")
    assert "chain does not hold" in refuses(server)


def test_a_log_that_is_some_other_database(server: Server) -> None:
    (server.folder / "events.db").unlink()
    db = apsw.Connection(str(server.folder / "events.db"))
    db.execute("CREATE TABLE t (x)")
    db.close()
    assert "not a log" in refuses(server)


@pytest.mark.parametrize("name", ["events.db", "keys.db"])
def test_a_file_that_is_no_database(server: Server, name: str) -> None:
    (server.folder / name).write_bytes(os.urandom(20_000))
    assert name in refuses(server)


def test_a_log_of_which_pages_are_garbage(server: Server) -> None:
    path = server.folder / "events.db"
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    assert "events.db" in refuses(server)


def test_a_port_that_somebody_has(empty: Server) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}" in refuses(empty, *LAPTOP, "--port", port)


def test_a_folder_that_cannot_be_made(empty: Server) -> None:
    empty.folder.write_text("a file where the folder should be")
    empty.folder = empty.folder / "data"
    assert "choose another with --data-dir" in refuses(empty)


def test_a_folder_on_which_nothing_can_be_written(empty: Server) -> None:
    empty.folder = Path("/proc/ahplat")
    assert "choose another with --data-dir" in refuses(empty)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--domain", "foo bar/..", "--domain"),
        ("--tenant-pool", "10.0.0.0/99", "--tenant-pool"),
        ("--tenant-pool", "10.0.0.0/26", "--tenant-pool"),
        ("--metrics-listen", "nowhere", "--metrics-listen"),
        ("--dns-upstream", "resolver.example", "--dns-upstream"),
        ("--dns-upstream", "192.0.2.1:0", "--dns-upstream"),
    ],
)
def test_a_setting_that_makes_no_sense(empty: Server, option: str, value: str, words: str) -> None:
    assert words in refuses(empty, *LAPTOP, option, value)


def test_an_option_that_there_is_not(empty: Server) -> None:
    empty.options = ("--nonsense",)
    assert empty.launch().wait() == 2
    assert "Traceback" not in empty.said.read_text()
