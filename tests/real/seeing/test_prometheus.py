"""Metrics, alerts and dashboard with the real Prometheus: it checks the form, scrapes, and answers every panel's query."""

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import Server, eventually
from tests.parts.parts import Parts
from tests.seeing.deployed import PROMETHEUS, queries

pytestmark = pytest.mark.real

NOT_ON_A_LAPTOP = {"Newest verified backup"}  # `--dev` makes none, so there is no age of it


def promtool(running: Parts, *argv: str, stdin: str = "") -> str:
    """What it says of something that is right; fails where it is not, or where there is a remark."""
    done = subprocess.run(
        [running.promtool, *argv], cwd=PROMETHEUS, input=stdin, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def busy(server: Server, api_key: str) -> Server:
    """A server that has deployed something."""
    server.start()
    body = {"name": "web", "image": "ah/hello"}
    assert server.ask("POST", "/v1/services", body, key=api_key, Prefer="wait=30").json["status"] == "running"
    server.settled(api_key)
    return server


class Prometheus:
    """The real one, over the delivered configuration, scraping one server every second."""

    def __init__(self, program: Path, folder: Path, target: int) -> None:
        text = (PROMETHEUS / "prometheus.yml").read_text().replace("127.0.0.1:9464", f"127.0.0.1:{target}")
        (folder / "prometheus.yml").write_text(text.replace("15s", "1s"))
        (folder / "alerts.yml").write_text((PROMETHEUS / "alerts.yml").read_text())
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        argv = [program, "--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "data"]
        self.said = folder / "said"
        with self.said.open("w") as said:
            self._process = subprocess.Popen(
                [*argv, f"--web.listen-address=127.0.0.1:{self.port}"], cwd=folder, stdout=said, stderr=said
            )

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers; None while it does not."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError as error:
            is_starting = not isinstance(error, urllib.error.HTTPError) or error.code == 503
            assert is_starting and self._process.poll() is None, self.said.read_text()
            return None

    def scrapes(self) -> float:
        """How many scrapes are in the last minute."""
        found = self.ask("query", query='count_over_time(up{job="ahplat"}[1m])')
        return float(found["result"][0]["value"][1]) if found and found["result"] else 0

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()


@pytest.fixture
def prometheus(running: Parts, busy: Server, tmp_path: Path) -> Iterator[Prometheus]:
    started = Prometheus(running.prometheus, tmp_path, busy.port)
    yield started
    started.end()


def test_promtool_has_no_remark_on_the_metrics(running: Parts, busy: Server) -> None:
    assert promtool(running, "check", "metrics", stdin=busy.ask("GET", "/metrics").body.decode()) == ""


def test_the_configuration_and_the_rules_are_valid(running: Parts) -> None:
    promtool(running, "check", "config", "prometheus.yml")
    promtool(running, "check", "rules", "--lint=all", "alerts.yml")


def test_each_alert_rings_for_its_reason_alone(running: Parts) -> None:
    assert "SUCCESS" in promtool(running, "test", "rules", "alerts.test.yml")


def test_an_alert_that_does_not_ring_is_found(running: Parts, tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts.test.yml"):
        text = (PROMETHEUS / name).read_text()
        (tmp_path / name).write_text(text.replace("ahplat_effects_parked > 0", "ahplat_effects_parked > 9"))
    argv = [running.promtool, "test", "rules", "alerts.test.yml"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "AhplatWorkParked" in done.stdout + done.stderr


def test_each_panel_has_something_to_show_and_no_alert_rings_on_a_good_day(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.scrapes() >= 3, within_s=60)
    for panel, query in queries():
        found = prometheus.ask("query", query=query)
        assert found["result"] or panel in NOT_ON_A_LAPTOP, f"{panel}: {query}"
    (group,) = prometheus.ask("rules")["groups"]
    eventually(lambda: all(rule["health"] == "ok" for rule in prometheus.ask("rules")["groups"][0]["rules"]))
    assert len(group["rules"]) > 10
    assert [alert["labels"]["alertname"] for alert in prometheus.ask("alerts")["alerts"]] == []
