"""Views are disposable: deleted, garbled or behind, they are what the log gives, after the next start."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import Server
from tests.faults.hurried import run_hurried

pytestmark = pytest.mark.embedded


def deleted(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)


def no_database(path: Path) -> None:
    path.write_bytes(os.urandom(30_000))


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("harm", [deleted, emptied, garbled, no_database, cut_short])
def test_views_that_are_harmed_while_the_server_is_down_are_made_again(
    server: Server, api_key: str, harm: Callable[[Path], None]
) -> None:
    server.start()
    for n in range(3):
        answer = server.ask("POST", "/v1/services", {"name": f"s{n}", "env": {"A": str(n)}}, key=api_key)
        assert answer.status == 201
    before = server.ask("GET", "/v1/services", key=api_key).body
    assert server.end() == 0
    harm(server.folder / "views.db")
    server.start()
    after = server.ask("GET", "/v1/services", key=api_key).body
    port = before.decode().partition(".localhost:")[2][:5]
    assert after.decode().replace(str(server.port), port) == before.decode()
    assert server.ask("POST", "/v1/services", {"name": "one-more"}, key=api_key).status == 201
    assert server.end() == 0
    server.check_files()


def test_a_server_has_all_its_cores_make_them_where_the_log_is_long(server: Server, api_key: str) -> None:
    server.options, server.main = (*server.options, "--log-level", "info"), run_hurried
    server.start()
    keys = [api_key, *(server.register(name) for name in ("beta", "gamma", "delta"))]
    for key in keys:
        assert server.ask("POST", "/v1/services", {"name": "web", "env": {"A": "1"}}, key=key).status == 201
    before = [server.ask("GET", "/v1/activity", key=key).json for key in keys]
    assert server.end() == 0
    (server.folder / "views.db").unlink()
    server.start(AH_TEST_WAITS=json.dumps({"ahplat.limits:REBUILD_ALONE_EVENTS": 1}))
    cores = len(os.sched_getaffinity(0))
    assert (f"events are folded on {cores} cores" in server.said.read_text()) == (cores > 1)
    assert "made on one core" not in server.said.read_text()
    assert [server.ask("GET", "/v1/activity", key=key).json for key in keys] == before
    assert server.end() == 0
    server.check_files()
