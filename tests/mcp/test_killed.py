"""A server that is killed in the middle of a tool's command: there is one service in the end, and it runs."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import pytest

from tests.faults.harness import Answer, Server, wiped
from tests.folders import memory_folder
from tests.mcp.speaking import LEGACY

pytestmark = pytest.mark.embedded

_ids = itertools.count(1)
POINTS = ("after-intent", "after-attempt", "after-effect", "between-commits")
WEB = {"name": "web", "image": "ah/hello", "idempotency_key": "once"}


@pytest.fixture
def server() -> Iterator[Server]:
    """One that is not started yet."""
    with memory_folder() as folder, wiped(Server(folder / "data")) as made:
        yield made


def use(server: Server, key: str, tool: str, **arguments: Any) -> Answer:
    params = {"name": tool, "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": next(_ids), "method": "tools/call", "params": params}
    return server.ask("POST", "/mcp", body, key, MCP_Protocol_Version=LEGACY)


def done(server: Server, key: str, tool: str, **arguments: Any) -> dict[str, Any]:
    result = use(server, key, tool, **arguments).json["result"]
    assert not result["isError"], result
    return dict(result["structuredContent"])


@pytest.mark.parametrize("point", POINTS)
def test_there_is_one_service_and_it_runs(server: Server, point: str) -> None:
    key = server.start().register()
    server.end()
    server.start(crash_at=f"{point}:1")
    with suppress(OSError, HTTPException):  # it may die before it answers
        use(server, key, "create_service", **WEB)
    assert server.wait() == -9
    server.start()
    again = done(server, key, "create_service", **WEB)
    found = done(server, key, again["next"]["tool"], **again["next"]["arguments"])
    assert found["status"] == "running"
    assert [one["id"] for one in done(server, key, "list_services")["items"]] == [again["id"]]
    assert len(server.instances) == 1
    server.end()
    server.check_files()
