"""A request inside another one: the same handlers, answered into memory, and what happens to it happens to it alone."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from ahplat.engines.engine import Bunch, LogLine
from ahplat.errors import EngineAway
from events.catalog import decode
from events.execs import ExecEnded
from events.log import read_all
from tests.api.site import Site, Tenant
from tests.engines.simulated import Ran
from tests.mcp.speaking import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLEEP = ["sleep", "9"]


async def test_a_client_that_goes_ends_the_command_that_it_ran(site: Site, acme: Tenant) -> None:
    site.host.commands[tuple(SLEEP)] = Ran(None)
    service = await acme.running()
    before = site.position
    wanted = {"service_id": service["id"], "command": SLEEP, "confirm": service["name"], "timeout_s": 60}
    running = asyncio.create_task(Agent(acme).use("exec_command", **wanted))
    async with asyncio.timeout(5):
        while not site.host.executing:
            await asyncio.sleep(0.002)
    running.cancel()
    await site.app.hub.until_committed(lambda: bool(_ended(site, before)), 5)
    assert _ended(site, before) == ["cut_off"]


def _ended(site: Site, after: int) -> list[str]:
    events = [decode(at.type, at.data) for at in read_all(site.app.log, after, 100)]
    return [event.outcome for event in events if isinstance(event, ExecEnded)]


async def test_a_log_that_ends_early_says_so_and_its_lines_are_there(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await acme.running()

    async def failing(*_: Any, **__: Any) -> AsyncGenerator[Bunch, None]:
        yield [LogLine(number * 1_000_000_000, b"a word") for number in range(1, 301)]
        raise EngineAway("the engine went away")

    monkeypatch.setattr(site.engine, "logs", failing)
    found = await Agent(acme).done("read_logs", service_id=service["id"])
    assert 0 < len(found["lines"]) < 300
    assert found["ended"] == "engine_unavailable"


async def test_a_handler_that_breaks_when_it_had_begun_is_our_fault_and_the_connection_lives(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await acme.running()

    async def broken(*_: Any, **__: Any) -> AsyncGenerator[Bunch, None]:
        for number in range(1, 4):
            yield [LogLine(number * 1_000_000_000, b"x" * 70_000)]
        raise ZeroDivisionError

    monkeypatch.setattr(site.engine, "logs", broken)
    problem = await Agent(acme).refused("read_logs", service_id=service["id"])
    assert problem["code"] == "internal" and "ZeroDivision" not in str(problem)


async def test_a_stream_that_is_cut_at_its_bound_leaves_no_reader_behind(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ahplat.limits.MCP_LINES_BYTES", 1_000)
    service = await acme.running()
    site.host.say(service["container_id"], *("x" * 100 for _ in range(100)))
    assert (await Agent(acme).done("read_logs", service_id=service["id"]))["lines"]
    assert site.engine.following == 0
    assert site.app.hub.streams == 0


async def test_what_a_tool_does_is_counted_and_told_as_a_request_of_its_own(site: Site, acme: Tenant) -> None:
    before = dict(site.app.edge.answered.statuses)
    await Agent(acme).refused("create_service", image="web:1", name="x" * 200)
    counted = site.app.edge.answered.statuses
    assert counted[400] - before.get(400, 0) == counted[200] - before.get(200, 0) == 1


async def test_no_request_is_left_in_flight(site: Site, acme: Tenant) -> None:
    await asyncio.gather(*(Agent(acme).use("list_services") for _ in range(20)))
    assert site.app.edge.in_flight == 0
