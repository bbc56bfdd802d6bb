"""`--as-of`: what reads is asked about then, all of it; what changes something refuses to."""

import click
import pytest

from ahplat.ahc.failures import OK, USAGE
from ahplat.ahc.main import COMMANDS
from tests.ahc.desk import WEB, Desk

SERVICE = f"/v1/services/{WEB['id']}"
WHOLE = WEB | {"port": 80, "memory_mb": 1, "cpu_count": 1, "replicas": 1, "updated_at": 1}
DATA = {"id": "d" * 32, "name": "data", "status": "running", "type": "redis", "host": "data", "port": 1}
QUOTA = {"used": 0, "max": 5}
ANSWERS = {
    "GET /v1/services": [WHOLE],
    "GET /v1/databases": [DATA | {"memory_mb": 1, "cpu_count": 1}],
    "GET /v1/builds": [],
    "GET /v1/events": [],
    "GET /v1/tenant/usage": {"services": QUOTA, "databases": QUOTA, "api_keys": QUOTA}
    | dict.fromkeys(["memory_mb", "cpu_cores", "disk_gb", "used_memory_mb", "used_cpu_cores", "used_disk_gb"], 1),
    "GET /v1/tenant/usage/metrics": [],
    f"GET {SERVICE}/deployments": [],
    f"GET {SERVICE}/builds": [],
    f"GET {SERVICE}/env": {"A": "1"},
}
READS = [
    "status",
    "status web",
    "services",
    "env web",
    "db list",
    "db show data",
    "builds",
    "builds web",
    "usage",
    "usage --metrics",
    "events",
    "events --of web",
]
CHANGES = ["env web A=1", "env web --unset A", "env web A=1 --dry-run", "builds web --cancel 1"]


def options(command: click.Command) -> set[str]:
    return {opt for param in command.params for opt in param.opts}


@pytest.mark.parametrize("line", READS)
@pytest.mark.parametrize("moment", ["120", "2026-01-31T12:00:00Z"])
def test_all_that_a_reading_command_asks_is_about_then(line: str, moment: str) -> None:
    for more in ([], ["--json"]):
        desk = Desk(ANSWERS)
        done = desk.run(*line.split(), "--as-of", moment, *more)
        assert done.code == OK, done
        assert desk.asked and {asked.url.params.get("as_of") for asked in desk.asked} == {moment}


@pytest.mark.parametrize("line", READS)
def test_its_help_teaches_it_with_an_example(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = " ".join(line.split()[: 2 if line.startswith("db") else 1])
    assert Desk({}).run(*name.split(), "--help").code == OK
    told = capsys.readouterr().out
    assert "--as-of POSITION|TIME" in told
    assert any("--as-of" in row and row.strip().startswith(f"ahc {name}") for row in told.splitlines())


def test_how_the_server_was_then_nobody_knows_and_is_left_out() -> None:
    assert Desk(ANSWERS).run("status", "--as-of", "120", "--json").json.keys() == {"services", "databases"}
    assert "as of  120" in Desk(ANSWERS).run("status", "--as-of", "120").out


@pytest.mark.parametrize("line", CHANGES)
def test_what_was_cannot_be_changed(line: str) -> None:
    desk = Desk(ANSWERS)
    done = desk.run(*line.split(), "--as-of", "120")
    assert (done.code, {asked.method for asked in desk.asked}) == (USAGE, {"GET"})
    assert "what was cannot be changed" in done.err


def test_what_only_changes_does_not_know_it_and_asks_for_nothing() -> None:
    for command in COMMANDS:
        if "--idempotency-key" in options(command) and command.name not in ("env", "builds"):
            desk = Desk({})
            assert desk.run(command.name or "", "--as-of", "120", "x").code == USAGE
            assert not desk.asked


@pytest.mark.parametrize("line", ["events -f --as-of 120", "services --as-of"])
def test_what_goes_on_has_no_past_and_a_moment_has_to_be_said(line: str) -> None:
    desk = Desk(ANSWERS)
    assert desk.run(*line.split()).code == USAGE
    assert not desk.asked


def test_a_variable_that_nobody_set_is_no_moment() -> None:
    assert Desk(ANSWERS).run("services", "--as-of", "").code == USAGE
