"""Logs and commands of services on the real engine, as their tenants have them over HTTP."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import pytest

from tests.real.platform.server import PATIENCE_S, Service, Tenant, eventually

pytestmark = pytest.mark.real


@pytest.fixture
def service(tenant: Tenant) -> Service:
    service = tenant.run("web")
    service.settled()
    return service


def logs(service: Service, query: str = "") -> list[str]:
    answer = service.tenant.ask("GET", f"{service.path}/logs{query}")
    assert answer.status == 200, answer
    return answer.text.splitlines()


def say(service: Service, line: str) -> None:
    assert service.get(f"/say?line={line}").text == "said\n"


@contextmanager
def followed(service: Service, query: str = "") -> Iterator[list[str]]:
    """The lines that come, as they come; "" once there are no more."""
    connection = http.client.HTTPConnection("127.0.0.1", service.tenant.server.port, timeout=PATIENCE_S)
    connection.request(
        "GET", f"{service.path}/logs?follow=true{query}", headers={"Authorization": f"Bearer {service.tenant.key}"}
    )
    answer = connection.getresponse()
    assert answer.status == 200
    found: list[str] = []

    def read() -> None:
        while line := answer.readline():
            found.append(line.decode().rstrip("\n"))
        found.append("")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        service.order("stop", wait_s=30)  # which ends it
        reader.join(PATIENCE_S)
        connection.close()
        assert found[-1] == ""


def execute(service: Service, *command: str, timeout_s: int = 20, **headers: str) -> dict[str, object]:
    body = {"command": list(command), "timeout_s": timeout_s}
    answer = service.tenant.ask("POST", f"{service.path}/exec", body, **headers)
    assert answer.status == 200, answer
    told: dict[str, object] = answer.json
    return told


def test_the_last_lines_and_those_since_a_time(service: Service) -> None:
    for word in ("one", "two", "three"):
        say(service, word)
    assert logs(service) == ["hello 1 listens on 8000", "one", "two", "three"]
    assert logs(service, "?tail=2") == ["two", "three"]
    stamped = logs(service, "?tail=2&timestamps=true")
    assert [line.partition(" ")[2] for line in stamped] == ["two", "three"]
    assert logs(service, "?since=2999-01-01T00:00:00Z") == []
    assert logs(service, f"?since={stamped[0][:19]}Z")[-1] == "three"


def test_following_goes_on_over_a_crash_and_a_deploy(service: Service, sdk: docker.DockerClient) -> None:
    with followed(service) as lines:
        say(service, "first")
        eventually(lambda: "first" in lines)
        before = service.now["crash_count"]
        service.container(sdk).kill()
        eventually(lambda: service.now["crash_count"] > before)
        service.until("running")
        say(service, "second")
        eventually(lambda: "second" in lines)
        service.deploy("hello:2").until("running")
        say(service, "third")
        eventually(lambda: "third" in lines)
    said = [line for line in lines if line in ("first", "second", "third")]
    assert said == ["first", "second", "third"]
    assert lines.count("hello 1 listens on 8000") == 2
    assert lines.count("hello 2 listens on 8000") == 1


def test_each_deployment_has_its_own_also_the_one_that_failed(service: Service) -> None:
    say(service, "serves-on")
    failed = service.deploy("crash:1")
    failed.until("failed")
    assert logs(service, f"?deployment={failed.id}") == ["one", "two", "three"]
    assert logs(service)[-1] == "serves-on"


def test_a_command_is_run_once_within_its_time_and_its_end_is_in_the_log(
    service: Service, sdk: docker.DockerClient
) -> None:
    done = execute(service, "sh", "-c", "echo $AH_SERVICE; exit 7", Idempotency_Key="once")
    assert (done["exit_code"], done["stdout"], done["outcome"]) == (7, "web\n", "exited")
    again = execute(service, "sh", "-c", "echo $AH_SERVICE; exit 7", Idempotency_Key="once")
    assert (again["exec_id"], again["exit_code"], again["stdout"]) == (done["exec_id"], 7, "")
    late = execute(service, "sh", "-c", "trap '' TERM; (setsid sleep 1000 &); sleep 1000", timeout_s=1)
    assert (late["exit_code"], late["timed_out"]) == (137, True)
    left = service.container(sdk).exec_run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])
    assert b"sleep 1000" not in left.output
    told = [event["data"].get("outcome") for event in service.events() if event["type"] == "exec.ended"]
    assert told == ["exited", "timed_out"]
    service.order("stop", wait_s=30)
    answer = service.tenant.ask("POST", f"{service.path}/exec", {"command": ["true"]})
    assert (answer.status, answer.json["code"]) == (409, "not_running")
