"""A disk that is really full: a small file system of its own, filled to the last byte."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from events.disks import DiskLevelChanged
from tests.faults.harness import Answer, Server, eventually
from tests.faults.test_stopping import running

pytestmark = pytest.mark.embedded

SIZE = "16m"
BIG = "x" * 30_000


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small file system in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small(server: Server) -> Iterator[Server]:
    """A server whose folder is a small file system, with what was in it."""
    kept = {path.name: path.read_bytes() for path in server.folder.iterdir() if path.name != "reserve"}
    with mounted(server.folder):
        for name, content in kept.items():
            (server.folder / name).write_bytes(content)
            (server.folder / name).chmod(0o600)
        yield server
        server.wipe()


def fill(server: Server) -> Callable[[], None]:
    """Leaves no byte but the reserve's; returns what makes room again."""
    filler = server.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler.unlink


def fill_to(server: Server, part: float) -> Callable[[], None]:
    """Leaves so much of it taken; returns what makes room again."""
    filler = server.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while (usage := shutil.disk_usage(server.folder)).used < part * usage.total:
            file.write(b"\0" * 4_096)
    return filler.unlink


def level(server: Server, key: str) -> str:
    """What health says of the disk."""
    return str(server.ask("GET", "/v1/system/health/detailed", key=key).json["disk"]["level"])


def set_until_full(server: Server, key: str, service_id: str) -> tuple[list[int], Answer]:
    """Sets a variable again and again; the positions that were told, and the first answer that is none."""
    positions = []
    for n in range(400):
        answer = server.ask("POST", f"/v1/services/{service_id}/env", {"A": f"{n}{BIG}"}, key=key)
        if answer.status != 200:
            return positions, answer
        positions.append(answer.position)
    raise AssertionError("the disk does not fill")


def full_service(server: Server, key: str) -> tuple[str, list[int], Callable[[], None]]:
    """A service that runs on a disk that is full by now."""
    service_id = running(server, key)
    before = [server.ask("POST", f"/v1/services/{service_id}/env", {"A": f"{n}"}, key=key).position for n in range(3)]
    make_room = fill(server)
    positions, answer = set_until_full(server, key, service_id)
    assert answer.status == 503
    return service_id, before + positions, make_room


def test_a_full_disk_is_told_and_reads_go_on(small: Server, api_key: str) -> None:
    small.start()
    service_id = running(small, api_key)
    fill(small)
    _, answer = set_until_full(small, api_key, service_id)
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json["code"], answer.json["status"]) == ("disk_full", 503)
    assert "what stops, deletes and reads goes on" in answer.json["remediation"]["why"]
    assert int(answer.headers["retry-after"]) > 0
    seen = small.ask("GET", f"/v1/services/{service_id}", key=api_key)
    assert seen.json["status"] == "running"
    assert small.ask("GET", "/", Host=seen.json["url"].removeprefix("http://")).status == 200
    assert small.ask("GET", "/v1/events?after=0&limit=200", key=api_key, Accept="application/json").status == 200
    assert small.ask("GET", "/v1/system/health").status == 200


def test_what_stops_and_deletes_goes_on_to_its_end_where_no_byte_is_left(small: Server, api_key: str) -> None:
    small.start()
    service_id, _, make_room = full_service(small, api_key)
    path = f"/v1/services/{service_id}"
    assert small.ask("POST", f"{path}/stop", key=api_key).status == 200
    assert small.ask("GET", f"{path}?wait=stopped&timeout=20", key=api_key).json["status"] == "stopped"
    assert small.ask("DELETE", f"{path}/env/A", key=api_key).status == 204
    assert small.ask("DELETE", path, key=api_key).status == 204
    eventually(lambda: "service.deleted" in [at.type for at, _ in small.events])
    assert not small.instances
    created = small.ask("POST", "/v1/services", {"name": "another"}, key=api_key)
    assert (created.status, created.json["code"]) == (503, "disk_full")
    assert "kept for what stops and deletes" in created.json["detail"]
    make_room()
    assert small.ask("POST", "/v1/services", {"name": "another"}, key=api_key).status == 201
    assert (small.folder / "reserve").exists()
    assert small.end() == 0
    small.check_files()


def test_one_that_is_nearly_full_is_warned_of_and_work_goes_on(small: Server, api_key: str) -> None:
    small.start()
    fill_to(small, 0.83)
    eventually(lambda: level(small, api_key) == "low")
    said = small.ask("GET", "/metrics").body.decode()
    assert re.search(r'^ahplat_disk_level\{disk="log"\} 1\.0$', said, re.MULTILINE), said
    assert re.search(r'^ahplat_disk_used_ratio\{disk="log"\} 0\.8', said, re.MULTILINE), said
    assert [event.level for _, event in small.events if isinstance(event, DiskLevelChanged)] == ["low"]
    assert small.ask("POST", "/v1/services", {"name": "another"}, key=api_key).status == 201


def test_nothing_is_begun_that_grows_while_there_is_room_for_the_rest(small: Server, api_key: str) -> None:
    small.start()
    service_id = running(small, api_key)
    make_room = fill_to(small, 0.93)
    eventually(lambda: level(small, api_key) == "full")
    new = {"name": "another", "image": "ah/hello"}
    for path, body in (
        ("/v1/services", new),
        (f"/v1/services/{service_id}/deploy", {}),
        (f"/v1/services/{service_id}/builds", {"git_url": "https://github.com/a/b"}),
        ("/v1/databases", {"name": "db", "type": "redis"}),
    ):
        refused = small.ask("POST", path, body, key=api_key)
        assert (refused.status, refused.json["code"]) == (503, "disk_full"), path
        assert "delete what is not needed" in refused.json["remediation"]["why"]
    assert small.ask("POST", f"/v1/services/{service_id}/stop", key=api_key).status == 200
    assert small.ask("DELETE", f"/v1/services/{service_id}", key=api_key).status == 204
    make_room()
    assert small.ask("POST", "/v1/services", new, key=api_key, Prefer="wait=20").json["status"] == "running"
    assert "full" in [event.level for _, event in small.events if isinstance(event, DiskLevelChanged)]


@pytest.mark.parametrize("path", ["/v1/services", "/v1/auth/keys", "/v1/tenants/register"])
def test_no_command_is_taken(small: Server, api_key: str, path: str) -> None:
    small.start()
    full_service(small, api_key)
    body = {"name": "another", "email": "another@example.org", "scopes": ["read"], "image": "ah/hello"}
    names = {"/v1/services": ("name", "image"), "/v1/auth/keys": ("name", "scopes")}.get(path, ("name", "email"))
    before = len(small.events)
    answer = small.ask("POST", path, {name: body[name] for name in names}, key="" if "tenants" in path else api_key)
    assert (answer.status, answer.json["code"]) == (503, "disk_full"), answer
    assert len(small.events) == before


def test_nothing_is_half_written_and_when_there_is_room_it_goes_on(small: Server, api_key: str) -> None:
    small.start()
    service_id, positions, make_room = full_service(small, api_key)
    told = [at.position for at, _ in small.events if at.type == "service.env_set"]
    assert told == positions, "what was told, and nothing else"
    make_room()
    answer = small.ask("POST", f"/v1/services/{service_id}/env", {"A": "1"}, key=api_key)
    assert answer.status == 200
    assert small.ask("POST", f"/v1/services/{service_id}/deploy", {}, key=api_key, Prefer="wait=20").status == 202
    small.settled(api_key)
    assert len(small.instances) == 1
    assert small.end() == 0
    small.check_files()


def test_a_server_that_is_killed_on_a_full_disk_comes_back(small: Server, api_key: str) -> None:
    small.start()
    service_id, positions, make_room = full_service(small, api_key)
    assert small.end(signal.SIGKILL) == -signal.SIGKILL
    small.launch()
    eventually(lambda: small._port(may_die=True))
    assert small.process
    if small.process.poll() is not None:  # it may say that there is no room, in one line
        assert small.wait() == 2
        assert "make room on its disk" in small.said.read_text()
        assert "Traceback" not in small.said.read_text()
    small.end(signal.SIGKILL)
    make_room()
    small.start()
    assert [at.position for at, _ in small.events if at.type == "service.env_set"] == positions
    assert small.ask("POST", f"/v1/services/{service_id}/env", {"A": "1"}, key=api_key).status == 200
    assert len(small.instances) == 1
    assert small.end() == 0
    small.check_files()


def test_work_that_was_accepted_before_waits_for_room(small: Server, api_key: str) -> None:
    """The outcome cannot be recorded, then it can: one instance, and it serves."""
    small.start()
    service_id, _, make_room = full_service(small, api_key)
    for pid in small.processes:
        os.kill(pid, signal.SIGKILL)  # a crash that cannot be recorded either
    eventually(lambda: not small.processes)
    assert small.ask("GET", f"/v1/services/{service_id}", key=api_key).status == 200
    make_room()
    eventually(lambda: small.processes, within_s=80)
    path = f"/v1/services/{service_id}?wait=running&timeout=20"
    assert small.ask("GET", path, key=api_key).json["status"] == "running"
    small.settled(api_key)
    assert len(small.instances) == 1


def test_a_start_on_a_full_disk_is_one_line_or_a_server(small: Server, api_key: str) -> None:
    fill(small)
    small.launch()
    eventually(lambda: small._port(may_die=True))
    assert small.process
    if small.process.poll() is None:
        assert small.ask("GET", "/v1/services", key=api_key).status == 200
    else:
        assert small.wait() == 2
        assert "Traceback" not in small.said.read_text()
        assert len(small.said.read_text().splitlines()) == 1
