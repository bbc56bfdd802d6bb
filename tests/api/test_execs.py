"""Commands in a running service, over HTTP: once, within a time, for who may, and what is known of them afterwards."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from ahplat import limits
from ahplat.commands.effects import Conclude
from ahplat.errors import EngineAway, Unavailable
from events.catalog import decode
from events.execs import ExecEnded, ExecStarted
from events.log import read_all
from tests.api.site import Answer, Site, Tenant, a_site
from tests.engines.simulated import Ran
from tests.folders import memory_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAY, SLEEP, BIG = ("say", "hi"), ("sleep", "9"), ("yes",)


@pytest.fixture(autouse=True)
def programs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the instances of these tests can do."""
    monkeypatch.setattr(limits, "LOG_GONE_S", 0.02)
    site.host.commands |= {
        SAY: Ran(7, b"out \xff\n", b"err\n"),
        SLEEP: Ran(None),
        BIG: Ran(0, b"x" * limits.EXEC_OUTPUT_BYTES, truncated=True),
    }


async def run(tenant: Tenant, service: dict[str, Any], *command: str, timeout_s: int = 5, **headers: str) -> Answer:
    body = {"command": list(command), "timeout_s": timeout_s}
    return await tenant.post(f"/v1/services/{service['id']}/exec", body, **headers)


def begun(tenant: Tenant, service: dict[str, Any], *command: str, **headers: str) -> "asyncio.Task[Answer]":
    """The same in the background."""
    return asyncio.create_task(run(tenant, service, *command, timeout_s=60, **headers))


async def until_it_runs(site: Site, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(site.host.executing) < count:
            await asyncio.sleep(0.002)


async def until_none_runs(site: Site) -> None:
    async with asyncio.timeout(5):
        while site.host.executing or site.app.execs:
            await asyncio.sleep(0.002)


def facts(site: Site, after: int) -> list[ExecStarted | ExecEnded]:
    """What the log holds of commands since a position."""
    found = [decode(at.type, at.data) for at in read_all(site.app.log, after, 1_000)]
    return [event for event in found if isinstance(event, ExecStarted | ExecEnded)]


def ended(site: Site, after: int) -> list[str]:
    """The outcomes that the log holds since a position."""
    return [event.outcome for event in facts(site, after) if isinstance(event, ExecEnded)]


async def until_ended(site: Site, after: int) -> list[str]:
    """The same, once there is one."""
    await site.app.hub.until_committed(lambda: bool(ended(site, after)), 5)
    return ended(site, after)


# what is told


async def test_a_command_is_answered_with_its_output_and_how_it_ended(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    answer = await run(acme, service, *SAY)
    assert answer.status == 200
    told = answer.json
    assert (told["exit_code"], told["stdout"], told["stderr"]) == (7, "out \ufffd\n", "err\n")
    assert (told["outcome"], told["truncated"], told["timed_out"]) == ("exited", False, False)
    assert told["duration_ms"] >= 0
    assert answer.position


async def test_who_ran_it_and_how_it_ended_is_in_the_log_and_what_it_was_is_sealed(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    before = site.position
    answer = await run(acme, service, *SAY)
    started, end = facts(site, before)
    assert isinstance(started, ExecStarted) and isinstance(end, ExecEnded)
    assert (end.outcome, end.exit_code, end.intent) == ("exited", 7, answer.position)
    stream = f"exec-{answer.json['exec_id']}"
    assert site.app.keyring.unseal(acme.id, stream, "command", started.command) == b'["say","hi"]'
    shown = (await acme.get(f"/v1/events?after={before}&resource={service['id']}", Accept="application/json")).json
    assert [event["type"] for event in shown] == ["exec.started", "exec.ended"]
    assert {event["actor"] for event in shown} == {f"key:{acme.key.partition('.')[0]}"}
    assert b"say" not in (await acme.get(f"/v1/events?after={before}", Accept="application/json")).body
    lines = (await acme.get(f"/v1/activity?service_id={service['id']}&limit=2")).json
    assert [line["action"] for line in lines] == ["exec_ended", "exec_started"]


async def test_it_changes_nothing_of_the_service(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    tag = (await acme.get(f"/v1/services/{service['id']}")).headers["ETag"]
    await run(acme, service, *SAY)
    assert (await acme.get(f"/v1/services/{service['id']}")).headers["ETag"] == tag


async def test_a_program_that_is_not_there_is_127(acme: Tenant) -> None:
    answer = await run(acme, await acme.running(), "nosuch")
    assert (answer.json["exit_code"], answer.json["stderr"]) == (127, "not found\n")


async def test_its_time_is_kept(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    before = site.position
    site.engine.pace = 0.01
    try:
        answer = await run(acme, service, *SLEEP, timeout_s=1)
    finally:
        site.engine.pace = 1.0
    assert (answer.status, answer.json["exit_code"], answer.json["timed_out"]) == (200, 137, True)
    assert ended(site, before) == ["timed_out"]


async def test_more_output_than_is_kept_is_said_to_be_more(acme: Tenant) -> None:
    answer = await run(acme, await acme.running(), *BIG)
    assert (len(answer.json["stdout"]), answer.json["truncated"]) == (limits.EXEC_OUTPUT_BYTES, True)


# never twice


async def test_a_repeat_tells_how_it_ended_and_runs_nothing(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    first = await run(acme, service, *SAY, Idempotency_Key="one")
    count = len(site.engine.executed)
    again = await run(acme, service, *SAY, Idempotency_Key="one")
    assert len(site.engine.executed) == count
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.position == first.position
    assert (again.json["exec_id"], again.json["exit_code"]) == (first.json["exec_id"], 7)
    assert (again.json["stdout"], again.json["stderr"], again.json["truncated"]) == ("", "", True)
    other = await run(acme, service, "other", Idempotency_Key="one")
    assert (other.status, other.code) == (422, "idempotency_mismatch")


async def test_a_repeat_while_the_first_runs_is_409_with_retry_after(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    first = begun(acme, service, *SLEEP, Idempotency_Key="long")
    await until_it_runs(site)
    again = await run(acme, service, *SLEEP, timeout_s=60, Idempotency_Key="long")
    assert (again.status, again.code, again.problem["retryable"]) == (409, "idempotency_in_flight", True)
    assert int(again.headers["Retry-After"]) > 0
    await acme.post(f"/v1/services/{service['id']}/stop")
    assert (await first).json["exit_code"] == 137


async def test_a_repeat_is_answered_also_when_nothing_runs_any_more(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    await run(acme, service, *SAY, Idempotency_Key="k")
    await acme.delete(f"/v1/services/{service['id']}")
    assert (await run(acme, service, *SAY, Idempotency_Key="k")).json["exit_code"] == 7


async def test_what_a_killed_server_left_comes_to_an_unknown_outcome() -> None:
    with memory_folder() as folder:
        async with a_site(folder / "killed", dev=True) as site:
            site.host.commands[SLEEP] = Ran(None)
            acme = await site.register()
            service = await acme.running()
            site.app.writer.submit = _dying(site.app.writer.submit)
            running = begun(acme, service, *SLEEP, Idempotency_Key="k")
            await until_it_runs(site)
            [mark] = site.host.executing
            running.cancel()
            await asyncio.wait({running})
            before = site.position
            site.host.executing[mark] = service["container_id"]  # it outlives the server
            await site.restart()
            assert await until_ended(site, before) == ["unknown"]
            assert not site.host.executing
            again = await run(acme, service, *SLEEP, timeout_s=60, Idempotency_Key="k")
            assert (again.status, again.json["outcome"]) == (200, "unknown")
            assert "exit_code" not in again.json


def _dying(submit: Callable[..., Any]) -> Callable[..., Any]:
    """A writer as a server has it that is killed before a command's end is recorded."""

    def submit_before(command: Any, **more: Any) -> Any:
        if isinstance(command, Conclude):
            raise Unavailable("stopping", "killed")
        return submit(command, **more)

    return submit_before


# when it may not


async def test_where_nothing_runs_it_is_409_and_nothing_is_recorded(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    await acme.post(f"/v1/services/{service['id']}/stop", Prefer="wait=5")
    before = site.position
    answer = await run(acme, service, *SAY)
    assert (answer.status, answer.code) == (409, "not_running")
    waiting = await acme.service(image="")
    assert (await run(acme, waiting, *SAY)).code == "not_running"
    assert facts(site, before) == []


async def test_while_the_engine_is_away_it_is_503_and_can_be_repeated(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    before = site.position
    site.engine.fail("inspect", EngineAway("away"))
    answer = await run(acme, service, *SAY, Idempotency_Key="r")
    assert (answer.status, answer.code) == (503, "engine_unavailable")
    assert facts(site, before) == []
    assert (await run(acme, service, *SAY, Idempotency_Key="r")).json["exit_code"] == 7


async def test_a_reply_that_is_lost_is_said_so_and_nothing_is_run_again(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    before, count = site.position, len(site.engine.executed)
    site.engine.lose_reply("execute")
    answer = await run(acme, service, *SAY, Idempotency_Key="lost")
    assert (answer.status, answer.code) == (503, "exec_lost")
    assert ended(site, before) == ["lost"]
    again = await run(acme, service, *SAY, Idempotency_Key="lost")
    assert (again.status, again.json["outcome"]) == (200, "lost")
    assert len(site.engine.executed) == count + 1


async def test_a_reader_runs_nothing(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    reader = await site.another_key(acme, name="reader", scopes=["read"])
    deployer = await site.another_key(acme, name="deployer", scopes=["deploy"])
    assert (await run(reader, service, *SAY)).code == "forbidden_scope"
    assert (await run(deployer, service, *SAY)).status == 200
    assert (await reader.get(f"/v1/services/{service['id']}/logs")).status == 200
    other = await site.register()
    assert (await run(other, service, *SAY)).code == "service_not_found"


async def test_a_service_runs_only_so_many_at_once(site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXECS_OF_ONE", 2)
    service, other = await acme.running(), await acme.running()
    running = [begun(acme, service, *SLEEP) for _ in range(2)]
    await until_it_runs(site, 2)
    answer = await run(acme, service, *SAY)
    assert (answer.status, answer.code, answer.problem["retryable"]) == (409, "exec_busy", True)
    monkeypatch.setattr(limits, "EXECS", 2)
    assert (await run(acme, other, *SAY)).code == "overloaded"
    await acme.post(f"/v1/services/{service['id']}/stop")
    await asyncio.gather(*running)


async def test_one_tenant_cannot_have_all_the_places(site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXECS_OF_TENANT", 2)
    service, other = await acme.running(), await site.register()
    running = [begun(acme, service, *SLEEP) for _ in range(2)]
    await until_it_runs(site, 2)
    answer = await run(acme, service, *SAY)
    assert (answer.status, answer.code) == (503, "overloaded")
    assert "of this tenant" in answer.problem["detail"]
    assert (await run(other, await other.running(), *SAY)).status == 200
    await acme.post(f"/v1/services/{service['id']}/stop")
    await asyncio.gather(*running)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/command"),
        ({"command": []}, "/command"),
        ({"command": [""]}, "/command/0"),
        ({"command": ["-c"]}, "/command/0"),
        ({"command": "ls"}, "/command"),
        ({"command": ["ls", 1]}, "/command/1"),
        ({"command": ["ls", "a\0b"]}, "/command/1"),
        ({"command": ["x"] * 257}, "/command"),
        ({"command": ["ls", "x" * 98_305]}, "/command/1"),
        ({"command": ["ls", "x" * 50_000, "ä" * 30_000]}, "/command"),
        ({"command": ["ls"], "timeout_s": 0}, "/timeout_s"),
        ({"command": ["ls"], "timeout_s": 301}, "/timeout_s"),
    ],
)
async def test_a_body_that_cannot_be_used_is_pointed_at(acme: Tenant, body: Any, pointer: str) -> None:
    service = await acme.service(image="")
    answer = await acme.post(f"/v1/services/{service['id']}/exec", body)
    assert (answer.status, answer.pointers) == (400, [pointer])


# who goes, ends it


async def test_a_client_that_goes_ends_what_it_started(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    before = site.position
    body = b'{"command":["sleep","9"],"timeout_s":60}'
    with socket.create_connection(("127.0.0.1", site.app.port)) as client:
        head = f"POST /v1/services/{service['id']}/exec HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{head}Authorization: Bearer {acme.key}\r\n\r\n".encode() + body)
        await until_it_runs(site)
    assert await until_ended(site, before) == ["cut_off"]
    await until_none_runs(site)


async def test_a_key_that_is_revoked_ends_it_at_once(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    other = await site.another_key(acme, name="other")
    running = begun(other, service, *SLEEP)
    await until_it_runs(site)
    await acme.delete(f"/v1/auth/keys/{other.key.partition('.')[0]}")
    answer = await running
    assert (answer.status, answer.code) == (409, "exec_cut_off")
    await until_none_runs(site)


async def test_a_server_that_stops_ends_it_and_records_that() -> None:
    with memory_folder() as folder:
        async with a_site(folder / "stopping", dev=True) as site:
            site.host.commands[SLEEP] = Ran(None)
            acme = await site.register()
            service = await acme.running()
            before = site.position
            running = begun(acme, service, *SLEEP)
            await until_it_runs(site)
            closing = asyncio.create_task(site.running.close())
            assert (await running).code == "exec_cut_off"
            await closing
            assert not site.host.executing
            await site.session.close()
            await site.socket_session.close()
            await site.begin()
            assert ended(site, before) == ["cut_off"]
