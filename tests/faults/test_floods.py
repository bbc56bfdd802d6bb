"""An instance or a command that writes without end: who reads it or runs it takes no more memory, and leaves nothing open."""

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.harness import Server, eventually

pytestmark = pytest.mark.embedded

MB = 1_000_000
SPARE_KB = 40_000  # that the server may grow by


def running(server: Server, key: str) -> str:
    """A service that runs; its id."""
    answer = server.ask("POST", "/v1/services", {"name": "web", "image": "ah/hello"}, key=key, Prefer="wait=20")
    assert answer.json["status"] == "running", answer
    return str(answer.json["id"])


def stdout_of(server: Server) -> Path:
    """Where the service's program writes to."""
    [name] = server.instances
    started = json.loads((server.folder / "run" / name / "started.json").read_text())
    return Path(f"/proc/{started['child']}/fd/1")


def peak_kb(server: Server) -> int:
    """The most memory that the server has had."""
    assert server.process
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def open_logs(server: Server) -> list[str]:
    """Files of logs that the server has open."""
    assert server.process
    found = []
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue
    return [name for name in found if "/run/ah-" in name]


def followed(server: Server, key: str, service: str) -> socket.socket:
    """A follower whose answer has begun."""
    client = socket.create_connection(("127.0.0.1", server.port), 30)
    head = f"GET /v1/services/{service}/logs?follow=true HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n"
    client.sendall(head.encode())
    assert b"200 OK" in client.recv(4096)
    return client


@pytest.mark.parametrize(
    "piece", [b"a line of some length\n" * 3_000, b"x" * 65_536], ids=["a gigabyte of lines", "a line of a gigabyte"]
)
def test_a_gigabyte_in_the_log_leaves_the_servers_memory_as_it_is(server: Server, api_key: str, piece: bytes) -> None:
    server.start()
    service = running(server, api_key)
    slow, quick = followed(server, api_key, service), followed(server, api_key, service)
    taken: list[int] = []

    def read() -> None:
        with suppress(ConnectionResetError):  # the end may come as one
            while data := quick.recv(1 << 20):
                taken.append(len(data))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    before = peak_kb(server)
    with stdout_of(server).open("wb", buffering=0) as out:
        for _ in range(1_000 * MB // len(piece)):
            out.write(piece)
        out.write(b"\nthe end\n")
    tail = eventually(lambda: _ends_with(server, api_key, service, b"the end\n"))
    assert max(map(len, tail.split(b"\n"))) < 70_000
    assert peak_kb(server) - before < SPARE_KB
    eventually(lambda: taken)
    for client in (slow, quick):
        client.shutdown(socket.SHUT_RDWR)
    reader.join(5)
    slow.close()
    quick.close()
    eventually(lambda: not open_logs(server))


def _ends_with(server: Server, key: str, service: str, end: bytes) -> bytes | None:
    body = server.ask("GET", f"/v1/services/{service}/logs?tail=3", key=key).body
    return body if body.endswith(end) else None


def test_a_command_that_writes_a_gigabyte_is_cut_and_leaves_the_servers_memory_as_it_is(
    server: Server, api_key: str
) -> None:
    server.start()
    service = running(server, api_key)
    before = peak_kb(server)
    body = {"command": ["head", "-c", str(1_000 * MB), "/dev/zero"], "timeout_s": 60}
    answer = server.ask("POST", f"/v1/services/{service}/exec", body, key=api_key, timeout_s=90)
    assert (answer.json["exit_code"], answer.json["truncated"]) == (0, True)
    assert len(answer.json["stdout"]) == 1024 * 1024
    assert peak_kb(server) - before < SPARE_KB


def test_a_client_that_goes_in_the_middle_of_a_command_leaves_no_process(server: Server, api_key: str) -> None:
    server.start()
    service = running(server, api_key)
    before = server.processes
    command = "trap '' TERM HUP; (setsid sleep 1000 &) ; sleep 1000 & sleep 1000"
    body = json.dumps({"command": ["sh", "-c", command], "timeout_s": 300}).encode()
    with socket.create_connection(("127.0.0.1", server.port), 30) as client:
        head = f"POST /v1/services/{service}/exec HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{head}Authorization: Bearer {api_key}\r\n\r\n".encode() + body)
        eventually(lambda: sum("sleep 1000" in argv for argv in server.processes.values()) >= 3)
    eventually(lambda: server.processes == before)
