"""SIGTERM, a second server, and what a server finds that comes back."""

import os
import signal
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.faults.agents import GONE
from tests.faults.harness import Answer, Server, eventually

pytestmark = pytest.mark.embedded

SHUTDOWN_S = 10.0


def running(server: Server, key: str, name: str = "web", **settings: object) -> str:
    """A service that runs, with nothing left to do for it; its id."""
    body = {"name": name, "image": "ah/hello", **settings}
    answer = server.ask("POST", "/v1/services", body, key=key, Prefer="wait=20")
    assert answer.json["status"] == "running", answer
    server.settled(key)
    return str(answer.json["id"])


def test_a_request_that_is_in_flight_is_answered_and_the_server_ends_well(server: Server, api_key: str) -> None:
    server.start()
    service_id = running(server, api_key)
    answers: list[Answer] = []
    path = f"/v1/services/{service_id}?wait=stopped&timeout=30"
    waiting = threading.Thread(target=lambda: answers.append(server.ask("GET", path, key=api_key)))
    waiting.start()
    time.sleep(0.2)
    began = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - began < SHUTDOWN_S + 1
    waiting.join()
    assert [answer.status for answer in answers] == [200]


def test_a_body_that_is_on_its_way_is_still_taken(server: Server, api_key: str) -> None:
    server.start()
    service_id = running(server, api_key)
    body = b'{"LATE":"1"}'
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        head = f"POST /v1/services/{service_id}/env HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api_key}\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
        metrics = eventually(lambda: b"ahplat_http_in_flight 2.0" in server.ask("GET", "/metrics").body)
        assert metrics and server.process
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listens(server.port))
        client.sendall(body[5:])
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert server.wait() == 0
    assert [at.type for at, _ in server.events][-1] == "service.env_set"


def test_a_request_that_is_never_answered_does_not_hold_the_server_up(server: Server, api_key: str) -> None:
    server.start()
    service_id = running(server, api_key)
    url = server.ask("GET", f"/v1/services/{service_id}", key=api_key).json["url"].removeprefix("http://")
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(f"POST / HTTP/1.1\r\nHost: {url}\r\nContent-Length: 5\r\n\r\nhalf".encode())
        eventually(lambda: b"ahplat_http_in_flight 2.0" in server.ask("GET", "/metrics").body)
        began = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - began < SHUTDOWN_S + 1


def listens(port: int) -> bool:
    """Whether somebody takes a connection there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_while_it_stops_nothing_new_is_taken(server: Server, api_key: str) -> None:
    """A request in flight holds the server up; whoever comes meanwhile is turned away, and nothing of theirs is done."""
    server.start()
    service_id = running(server, api_key)
    before = len(server.events)
    path = f"/v1/services/{service_id}?wait=stopped&timeout=3"
    waiting = threading.Thread(target=lambda: server.ask("GET", path, key=api_key))
    waiting.start()
    time.sleep(0.2)
    assert server.process
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    with suppress(*GONE):
        answer = server.ask("POST", "/v1/services", {"name": "late"}, key=api_key)
        assert answer.status == 503, answer
    assert server.wait() == 0
    waiting.join()
    assert len(server.events) == before
    server.check_files()


def test_a_deploy_that_is_under_way_goes_on_after_the_restart(server: Server, api_key: str) -> None:
    server.start()
    answer = server.ask("POST", "/v1/services", {"name": "web", "image": "ah/hello"}, key=api_key)
    assert server.end() == 0
    server.start()
    path = f"/v1/services/{answer.json['id']}?wait=running&timeout=20"
    assert server.ask("GET", path, key=api_key).json["status"] == "running"
    assert len(server.instances) == 1


def test_instances_outlive_the_server_and_are_adopted(server: Server, api_key: str) -> None:
    server.start()
    service_id = running(server, api_key)
    before, events = server.instances, len(server.events)
    assert server.end() == 0
    assert server.instances == before
    assert len(server.processes) == 2, "the shim and its program"
    server.start()
    seen = server.ask("GET", f"/v1/services/{service_id}", key=api_key).json
    assert server.ask("GET", "/", Host=seen["url"].removeprefix("http://")).status == 200
    server.settled(api_key)
    assert server.instances == before, "the same pid"
    assert len(server.events) == events, "nothing was amiss, so nothing is said"


def test_what_ended_while_the_server_was_down_runs_again(server: Server, api_key: str) -> None:
    server.start()
    service_id = running(server, api_key)
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    for pid in server.processes:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not server.processes)
    server.start()
    eventually(lambda: len(server.processes) == 2)
    server.settled(api_key)
    seen = server.ask("GET", f"/v1/services/{service_id}?wait=running", key=api_key).json
    assert seen["status"] == "running"
    assert server.ask("GET", "/", Host=seen["url"].removeprefix("http://")).status == 200, "at its new port"


def test_after_a_reboot_all_that_ran_of_all_tenants_runs_again(server: Server, api_key: str) -> None:
    server.start()
    having = {api_key: 4, server.register("other"): 2, server.register("third"): 1}
    ran = [(key, running(server, key, f"web{n}", memory_mb=64)) for key, count in having.items() for n in range(count)]
    stopped = running(server, api_key, "stopped", memory_mb=64)
    server.ask("POST", f"/v1/services/{stopped}/stop", key=api_key)
    server.settled(api_key)
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    for pid in server.processes:
        with suppress(ProcessLookupError):  # a shim ends its program
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not server.processes)
    server.start()
    eventually(lambda: len(server.processes) == 2 * len(ran))
    server.settled(api_key)
    for key, service_id in ran:
        seen = server.ask("GET", f"/v1/services/{service_id}", key=key).json
        assert (seen["status"], seen["crash_count"]) == ("running", 0)
        assert server.ask("GET", "/", Host=seen["url"].removeprefix("http://")).status == 200
    assert server.ask("GET", f"/v1/services/{stopped}", key=api_key).json["status"] == "stopped"


def test_what_was_deleted_just_before_the_end_is_gone_after_the_restart(server: Server, api_key: str) -> None:
    server.start()
    service_id = running(server, api_key)
    assert server.ask("DELETE", f"/v1/services/{service_id}", key=api_key).status == 204
    server.end(signal.SIGKILL)
    server.start()
    server.settled(api_key)
    eventually(lambda: not server.processes)


def test_a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on(server: Server, api_key: str) -> None:
    server.start()
    second = Server(server.folder)
    second.said = server.said.with_suffix(".second")
    assert second.launch().wait() == 2
    assert second.said.read_text() == (
        f"ah: another server uses {server.folder}: stop it, or choose another --data-dir\n"
    )
    assert server.ask("GET", "/v1/services", key=api_key).status == 200


def test_many_open_intents_are_carried_on(server: Server, api_key: str) -> None:
    """Killed with work open for each of its services, and each with a newer wish."""
    server.start("after-attempt:5")
    names = [f"web{n}" for n in range(5)]

    def create(name: str) -> None:
        with suppress(*GONE):
            body = {"name": name, "image": "ah/hello", "memory_mb": 64}
            server.ask("POST", "/v1/services", body, key=api_key, Idempotency_Key=f'"{name}"')

    threads = [threading.Thread(target=create, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.wait()
    server.start()
    for name in names:
        create(name)
    rows = server.ask("GET", "/v1/services", key=api_key).json
    assert {row["name"] for row in rows} == set(names)
    server.settled(api_key)
    rows = server.ask("GET", "/v1/services", key=api_key).json
    assert [row["status"] for row in rows] == ["running"] * 5
    assert len(server.instances) == 5


def test_the_port_is_free_again_at_once(server: Server, api_key: str) -> None:
    server.start()
    port = server.port
    assert server.end() == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
