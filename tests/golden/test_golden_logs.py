"""The log that each release left opens under today's code: the chain holds, views build, keys open, tenants sign in."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ahplat.backups.proof import check_keys, read_log
from events.catalog import CATALOG, decode
from events.database import open_reader
from events.log import read_all
from projections.views import digests, open_views
from tests.faults.harness import LAPTOP, Server
from tests.golden.opened import RELEASES, about, unpacked
from tests.golden.write import MASTER_KEY, TREE


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(release: str) -> Iterator[Path]:
    with unpacked(release) as made:
        yield made


def test_every_event_type_occurs_in_the_log_of_this_release() -> None:
    version = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["version"]
    with unpacked(version) as data, open_reader(data / "events.db") as log:
        there = {at.type for at in read_all(log, 0, 100_000)}
    assert there >= CATALOG.keys(), "no such event in the golden log: `python -m tests.golden.write` writes it again"


def test_every_event_is_known(data: Path) -> None:
    with open_reader(data / "events.db") as log:
        for at in read_all(log, 0, 100_000):
            decode(at.type, at.data)


def test_the_chain_holds_and_every_key_opens(data: Path) -> None:
    log = read_log(data / "events.db")
    assert check_keys(data / "keys.db", bytes.fromhex(MASTER_KEY), log, frozenset()) == len(log.names) > 0


def test_views_build(data: Path) -> None:
    with open_reader(data / "events.db") as log:
        views = open_views(data / "views.db", log, read_log(data / "events.db").installation, lambda done, of: None)
        try:
            assert len(digests(views.db)) > 20
        finally:
            views.close()


@pytest.mark.embedded
def test_a_server_starts_on_it_and_a_tenant_signs_in_and_goes_on(release: str, data: Path) -> None:
    key, name = about(release)["api_key"], about(release)["service"]
    server = Server(data, *LAPTOP, "--accept-clock").start()
    try:
        (service,) = server.ask("GET", "/v1/services", key=key).json
        assert (service["name"], service["env_keys"]) == (name, ["GREETING"])
        answer = server.ask("POST", f"/v1/services/{service['id']}/restart", key=key, Prefer="wait=20")
        assert answer.json["status"] == "running", answer
        same = {"name": name, "image": "ah/hello", "env": {"GREETING": "hi"}}
        again = server.ask("POST", "/v1/services", same, key=key, Idempotency_Key="golden")
        assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
        assert server.end() == 0
        server.check_files()
    finally:
        server.wipe()
