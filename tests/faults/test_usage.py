"""`ah usage` beside a server and without one, and `metering.db` harmed: figures follow from the log, and from nothing else."""

import csv
import io
import json
import signal
from pathlib import Path

import pytest

from tests.faults.harness import Server, eventually
from tests.faults.operator import Ended, ah

pytestmark = pytest.mark.embedded


def usage(server: Server, *options: str) -> Ended:
    return ah("usage", "--data-dir", server.folder, *options)


def rows(done: Ended) -> list[dict[str, str]]:
    assert (done.returncode, done.stderr) == (0, "")
    return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.fixture
def used(server: Server, api_key: str) -> tuple[Server, str]:
    """A server with a service that ran for at least a second and is stopped."""
    server.start()
    service = server.ask("POST", "/v1/services", {"name": "web", "image": "ah/hello:latest"}, key=api_key).json["id"]
    path = f"/v1/services/{service}"
    assert server.ask("GET", f"{path}?wait=running&timeout=30", key=api_key).json["status"] == "running"
    eventually(lambda: reserved(server, path, api_key) > 0)
    server.ask("POST", f"{path}/stop", key=api_key)
    eventually(lambda: server.ask("GET", path, key=api_key).json["status"] == "stopped")
    return server, service


def reserved(server: Server, path: str, api_key: str) -> int:
    told: list[dict[str, int]] = server.ask("GET", f"{path}/metrics", key=api_key).json
    return sum(row["reserved_mb_seconds"] for row in told)


def test_figures_are_the_same_beside_a_server_and_without_one(used: tuple[Server, str], api_key: str) -> None:
    server, service = used
    [row] = rows(usage(server, "--csv"))
    assert (row["kind"], row["id"]) == ("service", service)
    assert int(row["reserved_mb_seconds"]) == reserved(server, f"/v1/services/{service}", api_key)
    assert float(row["cpu_seconds"]) > 0
    server.end(signal.SIGKILL)
    when = {"from": "", "until": ""}
    assert [one | when for one in rows(usage(server, "--csv"))] == [row | when]


def test_a_damaged_file_is_made_anew_from_the_log(used: tuple[Server, str], api_key: str) -> None:
    server, service = used
    before = reserved(server, f"/v1/services/{service}", api_key)
    server.end(signal.SIGKILL)
    for path in server.folder.glob("metering.db*"):
        path.unlink()
    (server.folder / "metering.db").write_bytes(b"no database" * 1000)
    server.start()
    assert reserved(server, f"/v1/services/{service}", api_key) == before


def test_prices_are_the_operators_and_stand_nowhere_else(used: tuple[Server, str], tmp_path: Path) -> None:
    server, _ = used
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"currency": "EUR", "memory_gb_hour_reserved": "7372.8"}))
    [row] = rows(usage(server, "--csv", "--prices", str(prices)))
    assert row["currency"] == "EUR"
    assert float(row["price"]) == pytest.approx(int(row["reserved_mb_seconds"]) * 0.002)
    table = usage(server, "--prices", str(prices))
    assert table.returncode == 0 and "EUR" in table.stdout
    prices.write_text(json.dumps({"currency": "EUR", "memory": 1}))
    refused = usage(server, "--prices", str(prices))
    assert refused.returncode == 1 and "memory_gb_hour_reserved" in refused.stderr


def test_what_is_not_there_is_said(used: tuple[Server, str], tmp_path: Path) -> None:
    server, _ = used
    assert "no tenant nobody" in usage(server, "--tenant", "nobody").stderr
    assert "RFC 3339" in usage(server, "--since", "yesterday").stderr
    server.folder = tmp_path / "elsewhere"
    assert "cannot be read" in usage(server).stderr
