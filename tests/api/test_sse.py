"""The log as a stream: every event once, in order, to those whose it is, from where they left off, until they may not."""

import asyncio
import json
import socket
from typing import Any

import aiohttp
import pytest
from msgspec import Struct

from ahplat import limits
from ahplat.api import frames as framing
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Frame(Struct):
    """One frame as it came. `data` is None for the first one and for pings."""

    id: str
    event: str
    data: dict[str, Any] | None
    comment: bool


async def frame(stream: aiohttp.ClientResponse) -> Frame:
    """The next one."""
    text = (await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 5)).decode()
    fields = dict(line.split(": ", 1) for line in text.splitlines() if line and not line.startswith(":"))
    data = json.loads(fields["data"]) if "data" in fields else None
    return Frame(fields.get("id", ""), fields.get("event", ""), data, text.startswith(":"))


async def frames(stream: aiohttp.ClientResponse, count: int) -> list[Frame]:
    """The next `count` that carry an event."""
    found: list[Frame] = []
    while len(found) < count:
        one = await frame(stream)
        if one.data is not None:
            found.append(one)
    return found


async def log_of(tenant: Tenant, after: int = 0, query: str = "") -> list[dict[str, Any]]:
    """What the log holds for a tenant."""
    answer = await tenant.get(f"/v1/events?after={after}&limit=200{query}", Accept="application/json")
    return list(answer.json)


def open_streams(tenant: Tenant) -> int:
    """How many the tenant has."""
    return len(tenant.site.app.hub._subscribers.get(tenant.id, ()))


async def write(tenant: Tenant, service: dict[str, Any], times: int) -> None:
    for n in range(times):
        await tenant.post(f"/v1/services/{service['id']}/env", {"N": str(n)})


async def test_it_begins_with_where_it_begins(site: Site, acme: Tenant) -> None:
    async with acme.stream() as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert stream.headers["X-Content-Type-Options"] == "nosniff" and stream.headers["X-Request-Id"]
        assert await stream.content.readuntil(b"\n\n") == b"retry: 2000\nid: %d\n\n" % site.position


@pytest.mark.parametrize(
    "accept", [None, "*/*", "text/event-stream", "application/json, text/event-stream", "text/html"]
)
async def test_it_is_a_stream_unless_json_is_wanted(site: Site, acme: Tenant, accept: str | None) -> None:
    fields = {"Accept": accept} if accept else {}
    async with acme.stream(**fields) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
    assert (await acme.get("/v1/events", Accept="application/json")).headers["Content-Type"] == "application/json"


async def test_an_event_has_its_position_as_id_and_its_type_as_name(site: Site, acme: Tenant) -> None:
    async with acme.stream() as stream:
        answer = await acme.post("/v1/services", {"name": "web"}, X_Request_Id="r-7")
        [found] = await frames(stream, 1)
    assert (found.id, found.event) == (str(answer.position), "service.created")
    assert found.data and list(found.data) == [
        *("position", "stream", "version", "type", "at", "at_us", "data", "tenant_id", "actor", "correlation")
    ]
    told = {
        "position": answer.position,
        "stream": f"service-{answer.json['id']}",
        "version": 1,
        "tenant_id": acme.id,
        "actor": f"key:{acme.key[:32]}",
        "correlation": "r-7",
    }
    assert found.data | told == found.data
    assert found.data == (await log_of(acme))[-1]


async def test_effects_name_what_caused_them(site: Site, acme: Tenant) -> None:
    await acme.running()
    events = {event["position"]: event for event in await log_of(acme)}
    caused = [event for event in events.values() if "cause" in event]
    assert caused and all(event["actor"] == "system" for event in caused)
    assert all(events[event["cause"]]["correlation"] == event["correlation"] for event in caused)


@pytest.mark.parametrize("queue", [1, 3, 1_000])
async def test_all_readers_get_the_whole_log_in_order(
    site: Site, acme: Tenant, queue: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_QUEUE", queue)
    other = await site.register()
    service, theirs = await acme.service(image=""), await other.service(image="")
    after = site.position
    async with acme.stream() as live, acme.stream() as lazy, other.stream() as foreign:
        first = asyncio.gather(*(frame(stream) for stream in (live, foreign)))
        await asyncio.gather(*(write(acme, service, 8) for _ in range(4)), write(other, theirs, 5))
        await first
        wanted = await log_of(acme, after)
        assert len(wanted) == 32
        for stream in (live, lazy):
            assert [one.data for one in await frames(stream, 32)] == wanted
        assert {one.data["tenant_id"] for one in await frames(foreign, 5) if one.data} == {other.id}
        async with acme.stream(f"/v1/events?after={after}") as late:
            assert [one.data for one in await frames(late, 32)] == wanted


async def test_who_comes_back_goes_on_where_it_was(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    await write(acme, service, 4)
    wanted = await log_of(acme)
    seen, last = [], {}
    while len(seen) < len(wanted):
        async with acme.stream("/v1/events?after=0", **last) as stream:
            [found] = await frames(stream, 1)
        seen.append(found.data)
        last = {"Last_Event_ID": found.id}
    assert seen == wanted


async def test_the_last_event_id_beats_the_query(site: Site, acme: Tenant) -> None:
    await write(acme, await acme.service(image=""), 3)
    newest = await log_of(acme)
    async with acme.stream("/v1/events?after=0", Last_Event_ID=str(newest[-2]["position"])) as stream:
        assert (await frame(stream)).id == str(newest[-2]["position"])
        assert [one.data for one in await frames(stream, 1)] == newest[-1:]


async def test_a_cursor_past_the_end_is_gone_and_one_that_is_none_refused(site: Site, acme: Tenant) -> None:
    for cursor in (str(site.position + 1_000), "9" * 18, "2.1", f"7.{site.position}"):
        for answer in (
            await acme.get(f"/v1/events?after={cursor}"),
            await acme.get("/v1/events", Last_Event_ID=cursor),
            await acme.get(f"/v1/events?after={cursor}", Accept="application/json"),
        ):
            assert (answer.status, answer.code) == (410, "cursor_gone")
            assert answer.problem["remediation"]["path"] == "/v1/events"
    for junk in ("x", "-1", "1.x", "1.2.3", "9" * 30, "1,2", "0x1"):
        assert (await acme.get(f"/v1/events?after={junk}")).pointers == ["/query/after"]
        assert (await acme.get("/v1/events", Last_Event_ID=junk)).pointers == ["/header/Last-Event-ID"]
    async with acme.stream(f"/v1/events?after={site.position}") as stream:
        assert (await frame(stream)).id == str(site.position)


async def test_a_filter_lets_through_only_what_is_wanted(site: Site, acme: Tenant) -> None:
    one, two = await acme.running(), await acme.service(image="")
    await write(acme, two, 1)
    everything = await log_of(acme)
    for query, wanted in (
        ("type=service.created", [e for e in everything if e["type"] == "service.created"]),
        ("type=service.env_set,key.*", [e for e in everything if e["type"] in ("service.env_set", "key.created")]),
        ("type=service.*", [e for e in everything if e["type"].startswith("service.")]),
        (f"resource={two['id']}", [e for e in everything if e["stream"] == f"service-{two['id']}"]),
        (
            f"resource=service:{one['id']}",
            [e for e in everything if one["id"] in e["stream"] or one["id"] in e["data"].get("subject", "")],
        ),
        (f"resource={acme.key[:32]}", [e for e in everything if e["data"].get("key_id") == acme.key[:32]]),
    ):
        assert wanted and await log_of(acme, 0, f"&{query}") == wanted, query
        async with acme.stream(f"/v1/events?after=0&{query}") as stream:
            assert [found.data for found in await frames(stream, len(wanted))] == wanted, query
    assert await log_of(acme, 0, "&type=nothing") == []


async def test_heartbeats_move_the_cursor_of_a_filtered_stream(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits.STREAM_PING_S == 15
    monkeypatch.setattr(limits, "STREAM_PING_S", 0.005)
    service = await acme.service(image="")
    async with acme.stream("/v1/events?type=key.revoked") as stream:
        await frame(stream)
        await write(acme, service, 3)
        head = site.position
        ping = await frame(stream)
        while int(ping.id) < head:
            ping = await frame(stream)
        assert ping.comment and ping.data is None and ping.event == ""
        assert head <= int(ping.id) <= site.position
        assert all([(await frame(stream)).comment for _ in range(3)]), "a quiet stream is told so again and again"


async def test_the_same_as_cloudevents(site: Site, acme: Tenant) -> None:
    async with acme.stream(Accept="application/cloudevents+json") as stream:
        answer = await acme.post("/v1/services", {"name": "web"}, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
        [found] = await frames(stream, 1)
    assert found.id == str(answer.position) and found.data
    assert found.data | {"specversion": "1.0", "id": found.id, "type": "dev.ahplat.service.created"} == found.data
    assert found.data["source"] == f"/installations/{site.app.installation}"
    assert found.data["traceparent"] == f"00-{'a' * 32}-{'b' * 16}-01"


async def test_the_list_is_newest_first_without_a_cursor_and_oldest_first_after_one(site: Site, acme: Tenant) -> None:
    await write(acme, await acme.service(image=""), 3)
    everything = await log_of(acme)
    assert (await acme.get("/v1/events", Accept="application/json")).json == everything[::-1]
    assert (await acme.get("/v1/events?limit=2", Accept="application/json")).json == everything[:-3:-1]
    assert await log_of(acme, everything[1]["position"]) == everything[2:]


async def test_what_is_on_the_disk_is_listed_only_once_its_commit_was_told_of(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its position would be a cursor past the end, for as long as the views take to commit."""
    await write(acme, await acme.service(image=""), 2)
    everything = await log_of(acme)
    monkeypatch.setattr(site.app.hub, "position", site.position - 1)
    assert await log_of(acme) == everything[:-1]
    assert (await acme.get("/v1/events", Accept="application/json")).json == everything[-2::-1]


async def test_nothing_secret_is_in_it(site: Site, acme: Tenant) -> None:
    await acme.service("vault", env={"TOKEN": "hunter2-in-the-event"})
    text = (await acme.get("/v1/events?after=0&limit=200", Accept="application/json")).body
    assert b"TOKEN" in text and b"hunter2" not in text and acme.key.encode() not in text


# when it ends


async def ends(stream: aiohttp.ClientResponse) -> None:
    """It comes to its proper end, at once."""
    await asyncio.wait_for(stream.content.read(), 5)


async def test_it_ends_with_its_key_its_tenant_and_its_time(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_PING_S", 0.005)
    revoked, brief = await site.another_key(acme), await site.another_key(acme, expires_in=60)
    async with revoked.stream() as first, brief.stream() as second, acme.stream() as third:
        for stream in (first, second, third):
            await frame(stream)
        await acme.delete(f"/v1/auth/keys/{revoked.key[:32]}")
        await ends(first)
        while not (await frame(second)).comment:
            pass  # its alarm has gone off once, and has to be set again
        site.clock.ahead_s = 61
        try:
            await ends(second)
        finally:
            site.clock.ahead_s = 0
        assert (await frame(third)).id
        await acme.delete("/v1/tenant")
        await ends(third)
    assert open_streams(acme) == 0


async def test_who_takes_nothing_is_let_go(site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than fit between here and there, and a client that does not read."""
    assert limits.STREAM_STALL_S == 60
    monkeypatch.setattr(limits, "STREAM_STALL_S", 0.05)
    monkeypatch.setattr(framing, "encode", lambda event: b"x" * 1_000_000)
    await write(acme, await acme.service(image=""), 10)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    deaf.setblocking(False)
    await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", site.app.port))
    deaf.send(f"GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme.key}\r\n\r\n".encode())
    while not open_streams(acme):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while open_streams(acme):
            await asyncio.sleep(0.01)
        taken = b""
        while piece := await asyncio.get_running_loop().sock_recv(deaf, 1_000_000):
            taken = (taken + piece)[-5:]
    assert taken != b"0\r\n\r\n"  # so nobody takes it for the whole
    deaf.close()


async def test_a_stream_that_breaks_is_cut_and_not_ended(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = await acme.service(image="")
    async with acme.stream() as stream:
        await frame(stream)
        monkeypatch.setattr(site.app.hub, "take", lambda _: 1 / 0)
        with caplog.at_level("CRITICAL"):
            await write(acme, service, 1)
            with pytest.raises(aiohttp.ClientPayloadError):
                await ends(stream)
    assert open_streams(acme) == 0


async def test_a_client_that_goes_is_forgotten(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    async with acme.stream() as stream:
        await frame(stream)
        assert open_streams(acme) == 1
        stream.close()
    for _ in range(100):
        await write(acme, service, 1)
        if open_streams(acme) == 0:
            break
    assert open_streams(acme) == 0


async def test_more_streams_than_the_bound_are_refused(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAMS", 1)
    async with acme.stream():
        answer = await acme.get("/v1/events")
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "overloaded", "10")


async def test_one_tenant_cannot_have_all_streams(site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_OF_TENANT", 1)
    other = await site.register()
    async with acme.stream():
        answer = await acme.get("/v1/events")
        assert (answer.status, answer.code) == (503, "overloaded")
        async with other.stream() as theirs:
            assert theirs.status == 200
