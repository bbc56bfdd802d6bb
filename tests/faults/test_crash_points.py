"""SIGKILL of the server at every named point of one deploy, while other clients are at work; then the next start.

Whatever was acknowledged holds, once; a repeat with the same key gets the first answer; the service comes to run by
itself, in one instance; and the views are what the log alone gives.
"""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.database import open_reader
from projections.views import digests, rebuild
from tests.real.platform.server import OPEN, Answer, Server, Tenant, eventually

pytestmark = pytest.mark.embedded

CLIENTS, REQUESTS = 3, 40
KILLED = -9
PLACES = [
    *(
        f"{point}:{nth}"
        for point in ("after-intent", "after-attempt", "after-effect", "after-outcome")
        for nth in (1, 3)
    ),
    *(f"between-commits:{nth}" for nth in (1, 2, 5, 9)),
]
WEB = {"name": "web", "image": "ah/hello"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "ah", *OPEN, "--engine", "embedded", "--drain-s", "0", "--no-rate-limits")
    yield made
    made.end()


def ask(tenant: Tenant, body: dict[str, Any], key: str) -> Answer | None:
    """A service asked for; None where the answer was lost."""
    try:
        return tenant.ask("POST", "/v1/services", body, Idempotency_Key=key)
    except (OSError, http.client.HTTPException):
        return None


def clients(tenant: Tenant, answered: dict[str, Answer]) -> list[threading.Thread]:
    """Callers that ask for services which wait for a build, until the server is gone, and keep what they were told."""

    def work(name: str) -> None:
        for number in range(REQUESTS):
            key = f"{name}-{number}"
            answer = ask(tenant, {"name": key}, key)
            if answer is None:
                return
            answered[key] = answer

    threads = [threading.Thread(target=work, args=(f"client{number}",)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    return threads


def instances(folder: Path) -> list[Path]:
    """Shims that lead an instance of this server now."""
    run = str(folder / "run")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            argv = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.endswith("shim.py") for word in argv) and any(word.startswith(run) for word in argv):
            found.append(process)
    return found


@pytest.mark.parametrize("place", PLACES)
def test_whatever_dies_there_nothing_is_lost_and_nothing_is_done_twice(server: Server, place: str) -> None:
    tenant = server.start().register()
    wide = {"max_services": 1_000, "max_memory_mb": 1_000_000, "max_cpu_cores": 1_000}
    assert server.operate("PATCH", f"/v1/tenants/{tenant.id}/quotas", wide).status == 200
    server.end()
    server.env = {"AH_CRASH_AT": place}
    server.start()
    answered: dict[str, Answer] = {}
    threads = clients(tenant, answered)
    first = ask(tenant, WEB, "web")
    assert server.wait() == KILLED
    for thread in threads:
        thread.join()

    server.env = {}
    server.start()
    if first:
        answered["web"] = first
    for key, before in answered.items():
        again = ask(tenant, WEB if key == "web" else {"name": key}, key)
        assert again and again.status == before.status == 201 and again.text == before.text, key
        assert again.headers["event-position"] == before.headers["event-position"]
        assert again.headers["idempotency-replayed"] == "true"
    told = ask(tenant, WEB, "web")
    assert told and told.status == 201
    web = next(row for row in tenant.call("GET", "/v1/services?limit=200") if row["name"] == "web")
    assert web["id"] == told.json["id"]
    assert tenant.call("GET", f"/v1/services/{web['id']}?wait=running&timeout=60")["status"] == "running"
    names = [row["name"] for row in tenant.call("GET", "/v1/services?limit=200")]
    assert len(names) == len(set(names)) and set(answered) <= set(names)
    assert len(eventually(lambda: instances(server.folder))) == 1

    tenant.call("DELETE", f"/v1/services/{web['id']}")
    eventually(lambda: not instances(server.folder))
    server.end()
    views_follow_from_the_log(server)


def views_follow_from_the_log(server: Server) -> None:
    with open_reader(server.folder / "events.db") as log:
        rebuild(server.folder / "again.db", log, server.installation, lambda done, total: None)
    with open_reader(server.folder / "views.db") as views, open_reader(server.folder / "again.db") as again:
        assert digests(views) == digests(again)
