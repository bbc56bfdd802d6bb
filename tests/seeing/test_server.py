"""What a real server shows after the main job: metrics, its log, `ah status`, `ah doctor`."""

import json
import re
import signal

import pytest

from tests.faults.harness import Server, eventually
from tests.faults.operator import ah
from tests.seeing.deployed import ALERTS, names_in, queries, series_of

pytestmark = pytest.mark.embedded

AS_JSON = ("--log-format", "json", "--log-level", "debug")


def deployed(server: Server, key: str, **headers: str) -> str:
    """A service that runs; its id."""
    body = {"name": "web", "image": "ah/hello"}
    answer = server.ask("POST", "/v1/services", body, key=key, Prefer="wait=30", **headers)
    assert answer.json["status"] == "running", answer
    server.settled(key)
    return str(answer.json["id"])


def test_each_metric_of_the_dashboard_and_the_alerts_is_there_and_has_help(server: Server, api_key: str) -> None:
    server.start()
    deployed(server, api_key)
    told = server.ask("GET", "/metrics").body.decode()
    wanted = names_in(ALERTS).union(*(names_in(query) for _, query in queries()))
    assert len(wanted) > 20
    assert wanted <= series_of(told)
    helped = dict(re.findall(r"^# HELP (\w+) (.+)$", told, re.MULTILINE))
    for name in series_of(told):
        assert helped.get(re.sub(r"_(bucket|sum|count)$", "", name)) or helped.get(name), name


def test_no_label_holds_a_tenant_or_a_service(server: Server, api_key: str) -> None:
    server.start()
    service_id = deployed(server, api_key)
    told = server.ask("GET", "/metrics").body.decode()
    assert service_id not in told and "acme" not in told
    assert set(re.findall(r"[{,](\w+)=", told)) == {
        *("engine", "python", "version"),
        *("intent", "outcome", "status", "kind", "disk", "le"),
    }


def test_work_is_counted_by_what_is_to_be_done(server: Server, api_key: str) -> None:
    server.start(crash_at="")
    deployed(server, api_key)
    told = server.ask("GET", "/metrics").body.decode()
    assert 'ahplat_effect_outcomes_total{outcome="done"} 3.0' in told
    assert "ahplat_effect_attempts_total 3.0" in told
    assert 'ahplat_effects_open{intent="service.deploy_requested"} 0.0' in told
    assert re.search(r'ahplat_http_request_duration_seconds_count\{kind="command"\} [1-9]', told)


def test_who_collects_json_gets_nothing_else(server: Server, api_key: str) -> None:
    server.options = (*server.options, *AS_JSON)
    server.start()
    deployed(server, api_key, X_Request_Id="run-1")
    assert server.end() == 0
    lines = [json.loads(line) for line in server.said.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    (command,) = [line for line in lines if line.get("request_id") == "run-1"]
    assert command["logger"] == "ahplat.requests" and command["position"] and command["tenant"]


def test_a_start_that_fails_is_a_line_of_json_too(server: Server) -> None:
    server.options = ("--dev", "--engine", "embedded", "--tenant-pool", "nonsense", *AS_JSON)
    assert server.launch().wait() == 2
    (line,) = server.said.read_text().splitlines()
    assert json.loads(line)["level"] == "critical" and "--tenant-pool" in json.loads(line)["message"]


def test_status_shows_what_there_is(server: Server, api_key: str) -> None:
    server.start()
    deployed(server, api_key)
    done = ah("status", "--data-dir", server.folder)
    assert done.returncode == 0, done
    assert "services    1: 1 running\n" in done.stdout
    assert "open work   none" in done.stdout
    found = json.loads(ah("status", "--json", "--data-dir", server.folder).stdout)
    assert found["services"] == {"running": 1} and found["health"]["status"] == "ok"


def test_status_without_a_server_says_so(server: Server) -> None:
    done = ah("status", "--data-dir", server.folder)
    assert done.returncode == 1 and "no server answers" in done.stderr


def test_status_names_work_that_does_not_end(server: Server, api_key: str) -> None:
    server.start()
    body = {"name": "slow", "image": "ah/hello", "health_path": "/never"}
    answer = server.ask("POST", "/v1/services", body, key=api_key)
    eventually(lambda: server.instances)
    done = ah("status", "--data-dir", server.folder)
    assert re.search(rf"^ +{answer.position}  under_way +\d+s +\d  service.deploy_requested", done.stdout, re.MULTILINE)
    server.end(signal.SIGKILL)


def test_doctor_is_content_with_a_laptop_and_with_the_server_that_runs_on_it(server: Server) -> None:
    server.start()
    options = ("--dev", "--engine", "embedded", "--data-dir", server.folder, "--port", str(server.port))
    done = ah("doctor", *options)
    assert done.returncode == 0, done.stdout
    assert "the server that runs over this folder has them" in done.stdout


def test_doctor_tells_each_fault_with_its_remedy(server: Server) -> None:
    (server.folder / "master.key").chmod(0o644)
    done = ah("doctor", "--engine", "docker", "--docker-host", "unix:///nowhere.sock", "--data-dir", server.folder)
    assert done.returncode == 1
    faults = re.findall(r"^FAULT +(\w+) .+\n +→ (.+)$", done.stdout, re.MULTILINE)
    remedies = dict(faults)
    assert {"settings", "key", "docker"} <= remedies.keys()
    assert remedies["key"] == f"chmod 600 {server.folder / 'master.key'}"
    found = json.loads(ah("doctor", "--json", "--dev", "--engine", "embedded", "--data-dir", server.folder).stdout)
    assert {one["name"]: one["state"] for one in found}["key"] == "fault"


def test_gc_names_what_it_does_not_know_and_leaves_it(server: Server, api_key: str) -> None:
    server.start()
    deployed(server, api_key)
    (record,) = server.folder.glob("run/*/instance.json")
    installation = json.loads(record.read_text())["labels"]["ah.instance"]
    lost = server.folder / "volumes" / "lost"
    lost.mkdir(parents=True)
    lost.with_suffix(".json").write_text(json.dumps({"name": "lost", "instance": installation, "tenant": "t"}))
    shown = ah("gc", "--dry-run", "--data-dir", server.folder)
    assert (shown.returncode, shown.stdout) == (0, "unknown, left alone: volume lost\n0 things, 0.0 MB\n")
    removed = ah("gc", "--data-dir", server.folder)
    assert removed.stdout == "unknown, left alone: volume lost\n0 things, 0.0 MB removed\n"
    assert lost.exists()
    assert "unknown     1, left alone: volume lost\n" in ah("status", "--data-dir", server.folder).stdout
