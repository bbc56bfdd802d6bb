"""Reading one's own writes, and writing only what was read: positions, entity tags, preconditions, epochs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from ahplat import limits
from events import platform
from events.event import Meta
from events.log import EventLog
from tests.api.site import Site, Tenant, a_site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_command_says_where_it_stands_in_the_log(site: Site, acme: Tenant) -> None:
    first = await acme.post("/v1/services", {"name": "web"})
    events = (await acme.get("/v1/events?type=service.*", Accept="application/json")).json
    assert [event["position"] for event in events] == [first.position]
    second = await acme.post(f"/v1/services/{first.json['id']}/env", {"A": "1"})
    assert second.position > first.position
    assert "Event-Position" not in (await acme.get("/v1/services")).headers


async def test_a_command_that_finds_nothing_to_do_says_where_the_log_is(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    await acme.post(f"/v1/services/{service['id']}/stop")
    await site.settled()
    before = site.position
    answer = await acme.post(f"/v1/services/{service['id']}/stop")
    assert (answer.status, answer.position, site.position) == (200, before, before)


@pytest.mark.parametrize("how", ["?min_position={}", "If-Position"])
async def test_a_read_waits_until_the_views_are_at_a_position(site: Site, acme: Tenant, how: str) -> None:
    await site.settled()
    service = await acme.service(image="")
    wanted = site.position + 1
    query = how.format(wanted) if "{" in how else ""
    fields = {} if query else {"If_Position": str(wanted)}
    read = asyncio.ensure_future(acme.get(f"/v1/services/{service['id']}/env{query}", **fields))
    await asyncio.sleep(0.01)
    assert not read.done()
    assert (await acme.post(f"/v1/services/{service['id']}/env", {"A": "1"})).position == wanted
    assert (await read).json == {"A": "********"}


async def test_a_position_that_is_there_is_answered_at_once(site: Site, acme: Tenant) -> None:
    for position in (0, 1, site.position):
        assert (await acme.get(f"/v1/services?min_position={position}", If_Position=str(position))).json == []


async def test_views_that_do_not_come_there_in_time_are_a_504(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits.POSITION_WAIT_S == 5
    monkeypatch.setattr(limits, "POSITION_WAIT_S", 0.01)
    answer = await acme.get(f"/v1/services?min_position={site.position + 1_000}")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (504, "projection_lag", "1")
    assert answer.problem["retryable"] is True


async def test_views_that_lag_behind_the_log_are_waited_for(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log's commit is what counts; that of the views can fail for want of room, and they catch up later."""
    monkeypatch.setattr(limits, "POSITION_WAIT_S", 0.01)
    service = await acme.service(image="")
    await site.settled()
    with no_room_for_views(site):
        written = await acme.post(f"/v1/services/{service['id']}/env", {"A": "1"})
    assert written.status == 200
    answer = await acme.get(f"/v1/services/{service['id']}/env", If_Position=str(written.position))
    assert answer.code == "projection_lag"
    await acme.post(f"/v1/services/{service['id']}/env", {"B": "2"})
    answer = await acme.get(f"/v1/services/{service['id']}/env", If_Position=str(written.position))
    assert answer.json == {"A": "********", "B": "********"}


async def test_who_waits_for_views_that_lag_is_answered_once_they_are_in_step_though_nothing_else_comes(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CATCH_UP_S", 0.05)
    monkeypatch.setattr(limits, "POSITION_WAIT_S", 30)
    service = await acme.service(image="")
    await site.settled()
    with no_room_for_views(site):
        written = await acme.post(f"/v1/services/{service['id']}/env", {"A": "1"})
        read = asyncio.ensure_future(acme.get(f"/v1/services/{service['id']}/env", If_Position=str(written.position)))
        await asyncio.sleep(0.1)
        assert not read.done()
    assert (await asyncio.wait_for(read, 10)).json == {"A": "********"}


async def test_work_that_was_accepted_while_views_lagged_begins_once_they_are_in_step(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CATCH_UP_S", 0.05)
    await site.settled()
    with no_room_for_views(site):
        assert (await acme.post("/v1/services", {"name": "web", "image": "web:1"})).status == 201
        await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        while [one["status"] for one in (await acme.get("/v1/services")).json] != ["running"]:
            await asyncio.sleep(0.01)


@contextmanager
def no_room_for_views(site: Site) -> Iterator[None]:
    """Meanwhile no commit of the views comes through; those of the log do."""

    def full(*_: object) -> None:
        raise apsw.FullError("no room")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.app.writer.views, "commit", full)
        yield


@pytest.mark.parametrize("junk", ["-1", "x", "1.5", "", "9" * 30, "%00", "%D9%A3"])
async def test_a_position_is_a_number(site: Site, acme: Tenant, junk: str) -> None:
    answer = await acme.get(f"/v1/services?min_position={junk}")
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/query/min_position"])
    if junk.isprintable() and "%" not in junk:
        answer = await acme.get("/v1/services", If_Position=junk)
        assert (answer.status, answer.pointers) == (400, ["/header/If-Position"])


# entity tags


async def test_a_resource_has_a_tag_that_changes_with_it(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}"
    tags = [(await acme.get(path)).headers["ETag"]]
    for change in (
        lambda: acme.patch(path, {"memory_mb": 128}),
        lambda: acme.post(f"{path}/env", {"A": "1"}),
        lambda: acme.post(f"{path}/stop"),
    ):
        answer = await change()
        tags.append(answer.headers["ETag"])
        if "stop" not in str(answer.json):
            assert (await acme.get(path)).headers["ETag"] == answer.headers["ETag"]
    assert len(set(tags)) == len(tags)


async def test_what_the_client_has_already_is_304(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    deployed = await acme.service(port=0)
    await site.settled()
    deployment = (await acme.get(f"/v1/services/{deployed['id']}/deployments")).json[0]
    for path in (
        f"/v1/services/{service['id']}",
        f"/v1/services/{service['id']}/env",
        f"/v1/services/{deployed['id']}/deployments/{deployment['id']}",
        "/v1/tenant",
    ):
        tag = (await acme.get(path)).headers["ETag"]
        for sent in (tag, f"W/{tag}", f'"1.999", {tag}', "*"):
            answer = await acme.get(path, If_None_Match=sent)
            assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
            assert "Content-Type" not in answer.headers
        assert (await acme.get(path, If_None_Match='"1.999"')).status == 200


async def test_a_list_has_a_tag_of_what_it_holds(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    await acme.post(f"/v1/services/{service['id']}/env", {"A": "1"})
    lists = ["/v1/services", "/v1/services?limit=5", "/v1/auth/keys", "/v1/databases", "/v1/activity", "/v1/builds"]
    lists += ["/v1/volumes", f"/v1/services/{service['id']}/deployments", "/v1/tenant/usage"]
    tags = {path: (await acme.get(path)).headers["ETag"] for path in lists}
    for path, tag in tags.items():
        answer = await acme.get(path, If_None_Match=tag)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag), path
    await acme.service(image="")
    assert (await acme.get("/v1/services", If_None_Match=tags["/v1/services"])).status == 200
    assert (await acme.delete(f"/v1/services/{service['id']}", If_Match=tags["/v1/services"])).status == 412


async def test_what_is_secret_has_no_tag(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="", env={"A": "1"})
    revealed = await acme.get(f"/v1/services/{service['id']}/env?reveal=true")
    assert revealed.headers["Cache-Control"] == "no-store"


async def test_a_precondition_that_fails_changes_nothing_and_says_both_versions(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}"
    tag = (await acme.get(path)).headers["ETag"]
    assert (await acme.patch(path, {"memory_mb": 128}, If_Match=tag)).status == 200
    before = site.position
    answer = await acme.patch(path, {"memory_mb": 256}, If_Match=tag)
    assert (answer.status, answer.code) == (412, "precondition_failed")
    assert (answer.problem["expected"], answer.problem["actual"]) == (1, 2)
    assert answer.headers["ETag"] == (await acme.get(path)).headers["ETag"]
    assert site.position == before and (await acme.get(path)).json["memory_mb"] == 128


@pytest.mark.parametrize("sent", ['"2.1"', 'W/"1.1"', "1.1", "junk", '"1.1'])
async def test_a_tag_that_is_not_ours_fails_the_precondition(site: Site, acme: Tenant, sent: str) -> None:
    service = await acme.service(image="")
    answer = await acme.delete(f"/v1/services/{service['id']}", If_Match=sent)
    assert (answer.status, answer.problem["expected"], answer.problem["actual"]) == (412, sent, 1)


async def test_a_star_matches_whatever_is_there(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    assert (await acme.patch(f"/v1/services/{service['id']}", {"memory_mb": 64}, If_Match="*")).status == 200
    answer = await acme.post("/v1/services", {"name": "new"}, If_Match="*")
    assert (answer.status, answer.problem["actual"]) == (412, 0)


async def test_every_command_on_a_resource_takes_a_precondition(site: Site, acme: Tenant) -> None:
    service = (await acme.running())["id"]
    path = f"/v1/services/{service}"
    before = site.position
    bodies: dict[str, Any] = {"env": {"A": "1"}, "deploy": {"image": "web:2"}}
    for command in ("env", "deploy", "rollback", "start", "stop", "restart", "reset", "redeploy"):
        answer = await acme.post(f"{path}/{command}", bodies.get(command), If_Match='"1.999"')
        assert answer.status == (409 if command == "rollback" else 412), command
    for answer in (
        await acme.patch(path, {"port": 1}, If_Match='"1.999"'),
        await acme.delete(path, If_Match='"1.999"'),
        await acme.patch("/v1/tenant", {"name": "other"}, If_Match='"1.999"'),
        await acme.delete("/v1/tenant", If_Match='"1.999"'),
        await acme.post("/v1/auth/keys", If_Match='"1.999"'),
    ):
        assert answer.status == 412
    assert site.position == before


# epochs


async def test_a_restored_log_begins_an_epoch_in_which_what_was_known_does_not_count(folder: Path) -> None:
    async with a_site(folder, dev=True) as site:
        acme = await site.register()
        service = await acme.service(image="")
        path = f"/v1/services/{service['id']}"
        await acme.service(image="")
        tag = (await acme.get(path)).headers["ETag"]
        page = (await acme.get("/v1/services?limit=1")).headers["Link"].partition("<")[2].partition(">")[0]
        position = site.position
        await site.end()
        restore(folder)
        await site.begin()
        assert (await acme.get(path, If_None_Match=tag)).status == 200
        assert (await acme.get(path)).headers["ETag"] == '"2.1"'
        assert (await acme.patch(path, {"memory_mb": 64}, If_Match=tag)).code == "precondition_failed"
        for gone in (page, f"/v1/events?after={position}", f"/v1/events?after=1.{position}"):
            answer = await acme.get(gone)
            assert (answer.status, answer.code) == (410, "cursor_gone")
        assert (await acme.get("/v1/events", Last_Event_ID=str(position))).code == "cursor_gone"
        async with acme.stream() as stream:
            assert await stream.content.readuntil(b"\n\n") == b"retry: 2000\nid: 2.%d\n\n" % site.position
        follow = (await acme.get("/v1/events?after=2.1&limit=1", Accept="application/json")).headers["Link"]
        assert follow.startswith("</v1/events?limit=1&after=2.")
        log = (await acme.get("/v1/system/health/detailed")).json["log"]
        assert (log["position"], log["epoch"]) == (site.position, 2)


def restore(folder: Path) -> None:
    """What a restore does to a log."""
    log = EventLog(folder / "events.db", "", 0)
    log.begin()
    log.append(platform.STREAM, [platform.LogRestored(2)], "any", "", log.last_us, Meta(actor="system"))
    log.commit()
    log.close()
