"""What instances write, over HTTP: the last lines, what comes, from which of them, and until when."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from ahplat import limits
from ahplat.errors import Unavailable
from tests.api.site import Site, Tenant
from tests.engines.simulated import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="module")

SSE = "text/event-stream"


def instances(site: Site, service: dict[str, Any]) -> list[str]:
    """Ids of what runs of a service, by replica."""
    mine = [one for one in site.host.instances.values() if one.identity.service == service["id"]]
    return [one.id for one in sorted(mine, key=lambda one: one.identity.replica) if one.state == "running"]


def say(site: Site, service: dict[str, Any], *lines: str) -> None:
    """The service's only instance writes."""
    [instance] = instances(site, service)
    site.host.say(instance, *lines)


async def line(stream: aiohttp.ClientResponse) -> str:
    """The next one; "" at the end."""
    return (await asyncio.wait_for(stream.content.readline(), 5)).decode()


async def frame(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    """The fields of the next event that is no comment and no opening; empty at the end."""
    while text := (await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 5)).decode():
        fields: dict[str, Any] = dict(part.split(": ", 1) for part in text.splitlines() if ": " in part)
        if "data" in fields:
            return fields | {"data": json.loads(fields["data"])}
    return {}


async def until_nothing_is_read(site: Site) -> None:
    """Waits until no log is open in the engine."""
    async with asyncio.timeout(5):
        while site.engine.following:
            await asyncio.sleep(0.005)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a look."""
    monkeypatch.setattr(limits, "LOG_GONE_S", 0.02)
    monkeypatch.setattr(limits, "LOG_LOOK_S", 0.01)


# what there is


async def test_the_last_lines_are_text(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, *(f"line {n}" for n in range(150)))
    answer = await acme.get(f"/v1/services/{service['id']}/logs")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body.decode().splitlines() == [f"line {n}" for n in range(50, 150)]
    answer = await acme.get(f"/v1/services/{service['id']}/logs?tail=2")
    assert answer.body == b"line 148\nline 149\n"


async def test_lines_come_with_their_time_where_it_is_asked_for(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "one", "two")
    answer = await acme.get(f"/v1/services/{service['id']}/logs?timestamps=true&since=2")
    assert answer.body == b"1970-01-01T00:00:02.000000Z two\n"
    answer = await acme.get(f"/v1/services/{service['id']}/logs?since=1970-01-01T00:00:02Z")
    assert answer.body == b"two\n"


async def test_what_is_not_utf8_is_shown_as_far_as_it_can_be(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "b\x00ll \x1b[0m", "ü\r50%")
    answer = await acme.get(f"/v1/services/{service['id']}/logs")
    assert answer.body.decode() == "b\x00ll \x1b[0m\nü\r50%\n"


async def test_replicas_stand_in_the_order_of_their_lines_each_with_its_number(site: Site, acme: Tenant) -> None:
    service = await acme.running(replicas=2)
    first, second = instances(site, service)
    site.host.say(first, "a1", "a2")
    site.host.say(second, "b1", "b2", "b3")
    answer = await acme.get(f"/v1/services/{service['id']}/logs")
    assert answer.body.decode().splitlines() == ["[1] a1", "[2] b1", "[1] a2", "[2] b2", "[2] b3"]


async def test_lines_as_events_say_where_they_come_from(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "one\rhalf")
    async with acme.stream(f"/v1/services/{service['id']}/logs", Accept=SSE) as stream:
        assert stream.headers["Content-Type"] == SSE
        one = await frame(stream)
        assert (one["event"], one["id"]) == ("line", "1000000000")
        assert one["data"] == {
            "line": "one\rhalf",
            "deployment_id": service["deployment_id"],
            "replica": 1,
            "at_us": 1_000_000,
        }
        assert await frame(stream) == {"event": "end", "data": {"reason": "end"}}


async def test_who_comes_back_reads_on_after_the_last_line(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "one", "two", "three")
    async with acme.stream(f"/v1/services/{service['id']}/logs", Accept=SSE, Last_Event_ID="1000000000") as stream:
        assert [(await frame(stream))["data"]["line"] for _ in range(2)] == ["two", "three"]


async def test_head_tells_the_fields_alone(acme: Tenant) -> None:
    service = await acme.running()
    answer = await acme.ask("HEAD", f"/v1/services/{service['id']}/logs?follow=true")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


# of what does not run any more


async def test_of_a_deployment_that_failed_the_end_of_its_log_is_kept(site: Site, acme: Tenant) -> None:
    site.host.retag("chatty:1", Behaviour(output=("starting", "no luck"), exit_code=3))
    service = await acme.service(image="chatty:1")
    await acme.get(f"/v1/services/{service['id']}?wait=failed&timeout=5")
    for query in ("", "?follow=true"):
        answer = await acme.get(f"/v1/services/{service['id']}/logs{query}")
        assert (answer.status, answer.body) == (200, b"starting\nno luck\n"), query
    assert (await acme.get(f"/v1/services/{service['id']}/logs?tail=1")).body == b"no luck\n"


async def test_each_deployment_has_its_own(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "serves on")
    site.host.retag("chatty:2", Behaviour(output=("no luck",), exit_code=3))
    failed = await acme.post(f"/v1/services/{service['id']}/deploy", {"image": "chatty:2"}, Prefer="wait=5")
    path = f"/v1/services/{service['id']}/logs"
    assert (await acme.get(path)).body == b"serves on\n"
    assert (await acme.get(f"{path}?deployment={failed.json['id']}")).body == b"no luck\n"
    assert (await acme.get(f"{path}?deployment={service['deployment_id']}")).body == b"serves on\n"
    assert (await acme.get(f"{path}?deployment={'0' * 32}")).code == "deployment_not_found"


async def test_of_a_deployment_that_was_replaced_it_says_that_the_log_is_gone(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "serves on")
    path = f"/v1/services/{service['id']}/logs"
    await acme.post(f"/v1/services/{service['id']}/redeploy", Prefer="wait=5")
    await site.settled()
    for query in ("", "&follow=true"):
        gone = await acme.get(f"{path}?deployment={service['deployment_id']}{query}")
        assert (gone.status, gone.code) == (410, "log_gone")
        assert "deployment 1" in gone.json["detail"]
    assert (await acme.get(path)).status == 200


async def test_of_what_crashed_the_crash_is_told_and_not_another_deployment(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    site.host.retag("chatty:3", Behaviour(output=("no luck",), exit_code=3))
    await acme.post(f"/v1/services/{service['id']}/deploy", {"image": "chatty:3"}, Prefer="wait=5")
    say(site, service, "my last words")
    site.host.crash(instances(site, service)[0], 3)
    await site.app.hub.until_committed(lambda: _crashes(site, service) > 0, 5)
    await acme.post(f"/v1/services/{service['id']}/stop", Prefer="wait=5")
    assert (await acme.get(f"/v1/services/{service['id']}/logs")).body == b"my last words\n"


async def test_of_what_crashed_too_often_the_last_crash_is_kept(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "about to fall")
    site.host.crash(instances(site, service)[0], 3)
    await site.app.hub.until_committed(lambda: _crashes(site, service) > 0, 5)
    await acme.post(f"/v1/services/{service['id']}/stop", Prefer="wait=5")
    answer = await acme.get(f"/v1/services/{service['id']}/logs")
    assert answer.body == b"about to fall\n"


def _crashes(site: Site, service: dict[str, Any]) -> int:
    return int(
        site.app.views.execute("SELECT crash_count FROM service WHERE service_id = ?", (service["id"],)).get or 0
    )


async def test_of_what_never_ran_there_is_nothing(acme: Tenant) -> None:
    service = await acme.service(image="")
    answer = await acme.get(f"/v1/services/{service['id']}/logs")
    assert (answer.status, answer.body) == (200, b"")


# what comes


async def test_lines_are_told_as_they_come_until_the_service_is_stopped(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    say(site, service, "before")
    async with acme.stream(f"/v1/services/{service['id']}/logs?follow=true") as stream:
        assert await line(stream) == "before\n"
        say(site, service, "after")
        assert await line(stream) == "after\n"
        await acme.post(f"/v1/services/{service['id']}/stop")
        assert await line(stream) == ""
    await until_nothing_is_read(site)


async def test_following_goes_on_with_the_next_deployment(site: Site, acme: Tenant, quick: None) -> None:
    service = await acme.running()
    site.host.retag("chatty:3", Behaviour(output=("the next one",)))
    async with acme.stream(f"/v1/services/{service['id']}/logs?follow=true") as stream:
        say(site, service, "the old one")
        assert await line(stream) == "the old one\n"
        await acme.post(f"/v1/services/{service['id']}/deploy", {"image": "chatty:3"}, Prefer="wait=5")
        assert await line(stream) == "the next one\n"
        await site.settled()
        say(site, service, "and on")
        assert await line(stream) == "and on\n"


async def test_following_a_deployment_ends_with_it(site: Site, acme: Tenant, quick: None) -> None:
    service = await acme.running()
    async with acme.stream(
        f"/v1/services/{service['id']}/logs?follow=true&deployment={service['deployment_id']}"
    ) as stream:
        say(site, service, "mine")
        assert await line(stream) == "mine\n"
        await acme.post(f"/v1/services/{service['id']}/redeploy", Prefer="wait=5")
        await site.settled()
        assert await line(stream) == ""


async def test_following_goes_on_after_a_crash_without_a_line_twice(
    site: Site, acme: Tenant, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CRASH_BACKOFF_S", (0,))
    service = await acme.running()
    async with acme.stream(f"/v1/services/{service['id']}/logs?follow=true") as stream:
        say(site, service, "one")
        assert await line(stream) == "one\n"
        site.host.crash(instances(site, service)[0], 3)
        await acme.get(f"/v1/services/{service['id']}?wait=crashed&timeout=5")
        await acme.get(f"/v1/services/{service['id']}?wait=running&timeout=5")
        await site.settled()
        say(site, service, "two")
        assert await line(stream) == "two\n"


# who may read, and how it ends


async def test_a_client_that_goes_ends_all_that_was_read_for_it(site: Site, acme: Tenant, quick: None) -> None:
    service = await acme.running(replicas=2)
    await until_nothing_is_read(site)
    before = site.app.hub.streams
    async with acme.stream(f"/v1/services/{service['id']}/logs?follow=true") as stream:
        site.host.say(instances(site, service)[0], "x")
        await line(stream)
        assert site.engine.following == 2
    await until_nothing_is_read(site)
    async with asyncio.timeout(5):
        while site.app.hub.streams > before:
            await asyncio.sleep(0.005)


async def test_a_key_that_is_revoked_ends_it_at_once(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    other = await site.another_key(acme, name="other")
    async with other.stream(f"/v1/services/{service['id']}/logs?follow=true", Accept=SSE) as stream:
        say(site, service, "x")
        await frame(stream)
        await acme.delete(f"/v1/auth/keys/{other.key.partition('.')[0]}")
        assert await frame(stream) == {"event": "end", "data": {"reason": "closed"}}
    await until_nothing_is_read(site)


async def test_a_tenant_that_is_suspended_is_told_no_more(site: Site) -> None:
    gone = await site.register()
    service = await gone.running()
    async with gone.stream(f"/v1/services/{service['id']}/logs?follow=true") as stream:
        await gone.delete("/v1/tenant")
        assert await line(stream) == ""


async def test_a_key_that_expires_ends_it(site: Site, acme: Tenant, quick: None) -> None:
    service = await acme.running()
    other = await site.another_key(acme, name="short", expires_in=60)
    async with other.stream(f"/v1/services/{service['id']}/logs?follow=true") as stream:
        site.clock.ahead_s += 61
        assert await line(stream) == ""


async def test_an_engine_that_is_away_is_503(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    site.engine.away = True
    try:
        answer = await acme.get(f"/v1/services/{service['id']}/logs?follow=true")
    finally:
        site.engine.away = False
    assert (answer.status, answer.code) == (503, "engine_unavailable")
    assert answer.headers["Retry-After"]


async def test_a_log_that_cannot_be_read_is_a_problem_and_no_empty_log(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    site.engine.fail("logs", Unavailable("overloaded", "too many", 10))
    answer = await acme.get(f"/v1/services/{service['id']}/logs")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "overloaded", "10")


async def test_text_that_cannot_be_read_on_is_cut_off(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    site.engine.fail("logs", Unavailable("overloaded", "too many", 10))
    async with acme.stream(f"/v1/services/{service['id']}/logs?follow=true") as stream:
        with pytest.raises(aiohttp.ClientPayloadError):
            await line(stream)


async def test_one_tenant_cannot_have_all_that_may_be_read(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_STREAMS_OF_TENANT", 1)
    service, other = await acme.running(), await site.register()
    theirs = await other.running()
    async with acme.stream(f"/v1/services/{service['id']}/logs?follow=true"):
        answer = await acme.get(f"/v1/services/{service['id']}/logs")
        assert (answer.status, answer.code) == (503, "overloaded")
        assert (await other.get(f"/v1/services/{theirs['id']}/logs")).status == 200


async def test_nobody_reads_what_is_anothers(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    other = await site.register()
    for query in ("", "?follow=true", f"?deployment={service['deployment_id']}"):
        answer = await other.get(f"/v1/services/{service['id']}/logs{query}")
        assert (answer.status, answer.code) == (404, "service_not_found")
    mine = await other.running()
    answer = await other.get(f"/v1/services/{mine['id']}/logs?deployment={service['deployment_id']}")
    assert answer.code == "deployment_not_found"


@pytest.mark.parametrize(
    "query", ["tail=0", "tail=10001", "tail=x", "tail=-1", "follow=maybe", "since=yesterday", "timestamps=2"]
)
async def test_a_parameter_that_cannot_be_used_is_400(acme: Tenant, query: str) -> None:
    service = await acme.service(image="")
    answer = await acme.get(f"/v1/services/{service['id']}/logs?{query}")
    assert (answer.status, answer.code) == (400, "validation_failed")
    assert answer.pointers == [f"/query/{query.partition('=')[0]}"]


async def test_who_takes_nothing_is_closed(
    site: Site, acme: Tenant, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_STALL_S", 0.2)
    service = await acme.running()
    [instance] = instances(site, service)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.port, limit=1024)
    head = f"GET /v1/services/{service['id']}/logs?follow=true HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Authorization: Bearer {acme.key}\r\n\r\n".encode())
    await reader.readline()
    for _ in range(40):
        site.host.say(instance, *["x" * 60_000] * 10)
        await asyncio.sleep(0)
    await until_nothing_is_read(site)
    writer.close()
