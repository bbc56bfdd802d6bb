"""Waiting for what was started: `?wait=` on a read, `Prefer: wait=` on a command. Neither ever ends in an error."""

import asyncio
import threading
import time

import aiohttp
import pytest

from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_read_waits_for_a_state_and_answers_when_it_holds(site: Site, acme: Tenant) -> None:
    service = await acme.service()
    assert service["status"] == "deploying"
    answer = await acme.get(f"/v1/services/{service['id']}?wait=running&timeout=10")
    assert (answer.status, answer.json["status"]) == (200, "running")
    [deployment] = (await acme.get(f"/v1/services/{service['id']}/deployments")).json
    answer = await acme.get(f"/v1/services/{service['id']}/deployments/{deployment['id']}?wait=running&timeout=10")
    assert (answer.status, answer.json["status"]) == (200, "running")


async def test_a_read_that_waits_is_answered_as_soon_as_it_changes(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    waiting = asyncio.ensure_future(acme.get(f"/v1/services/{service['id']}?wait=running&timeout=60"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await acme.post(f"/v1/services/{service['id']}/deploy", {"image": "web:1"})
    assert (await asyncio.wait_for(waiting, 5)).json["status"] == "running"


async def test_at_the_timeout_the_current_state_is_the_answer(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    began = time.monotonic()
    answer = await acme.get(f"/v1/services/{service['id']}?wait=running&timeout=0")
    assert (answer.status, answer.json["status"]) == (200, "created")
    assert time.monotonic() - began < 5


async def test_a_state_that_holds_already_is_answered_at_once(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    assert (await acme.get(f"/v1/services/{service['id']}?wait=created")).json["status"] == "created"


async def test_who_waits_for_a_service_that_is_deleted_is_told_so(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    waiting = asyncio.ensure_future(acme.get(f"/v1/services/{service['id']}?wait=running&timeout=60"))
    await asyncio.sleep(0.01)
    await acme.delete(f"/v1/services/{service['id']}")
    assert (await asyncio.wait_for(waiting, 5)).code == "service_not_found"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("wait=dancing", "/query/wait"),
        ("wait=%00", "/query/wait"),
        ("wait=running&timeout=61", "/query/timeout"),
        ("wait=running&timeout=-1", "/query/timeout"),
        ("wait=running&timeout=x", "/query/timeout"),
        ("wait=running&timeout=1.5", "/query/timeout"),
        ("wait=running&timeout=", "/query/timeout"),
    ],
)
async def test_what_cannot_be_waited_for_is_refused(site: Site, acme: Tenant, query: str, pointer: str) -> None:
    service = await acme.service()
    await site.settled()
    [deployment] = (await acme.get(f"/v1/services/{service['id']}/deployments")).json
    for path in (f"/v1/services/{service['id']}", f"/v1/services/{service['id']}/deployments/{deployment['id']}"):
        answer = await acme.get(f"{path}?{query}")
        assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", [pointer])


async def test_a_command_waits_for_what_it_started_and_says_so(site: Site, acme: Tenant) -> None:
    settings = {"name": "web", "image": "web:1", "port": 0}
    created = await acme.post("/v1/services", settings, Prefer="respond-async, wait=5")
    assert (created.status, created.json["status"], created.headers["Preference-Applied"]) == (201, "running", "wait=5")
    path = f"/v1/services/{created.json['id']}"
    assert (await acme.get(path, If_None_Match=created.headers["ETag"])).status in (200, 304)
    for command, body, status in (
        ("stop", None, "stopped"),
        ("start", None, "running"),
        ("restart", None, "running"),
        ("deploy", {"image": "web:2"}, "running"),
        ("rollback", None, "running"),
        ("redeploy", None, "running"),
        ("reset", None, "running"),
    ):
        answer = await acme.post(f"{path}/{command}", body, Prefer="wait=5")
        assert (answer.json["status"], answer.headers["Preference-Applied"]) == (status, "wait=5"), command
        assert answer.position <= site.position


async def test_a_deployment_that_fails_is_no_error_of_the_request(site: Site, acme: Tenant) -> None:
    for image, why in (("broken", "crashed"), ("nowhere", "image_not_found")):
        answer = await acme.post("/v1/services", {"name": image, "image": image, "port": 0}, Prefer="wait=5")
        assert (answer.status, answer.json["status"]) == (201, "failed")
        assert answer.json["last_error"].startswith(why)


async def test_a_service_that_is_deleted_meanwhile_does_not_spoil_the_answer(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    path = f"/v1/services/{service['id']}"
    site.engine.lag_s["fetch"] = 0.05
    try:
        asking = [
            asyncio.ensure_future(acme.post(f"{path}/{what}", Prefer="wait=5")) for what in ("redeploy", "restart")
        ]
        deploying = asyncio.ensure_future(acme.post(f"{path}/deploy", {"image": "web:2"}, Prefer="wait=5"))
        await asyncio.sleep(0.01)
        assert (await acme.delete(path)).status == 204
        answers = [*(await asyncio.gather(*asking)), await deploying]
    finally:
        site.engine.lag_s.clear()
    assert [answer.status for answer in answers] == [200, 200, 202]
    assert [answer.json["status"] for answer in answers] == ["deleted", "deleted", "superseded"]


@pytest.mark.parametrize("junk", ["wait=x", "wait=-1", "wait", "wait=1.5", "handling=lenient, other"])
async def test_a_wish_that_makes_no_sense_is_ignored(site: Site, acme: Tenant, junk: str) -> None:
    answer = await acme.post("/v1/services", {"name": "web", "zzz": 1}, Prefer=junk)
    assert answer.status == 201 and "Preference-Applied" not in answer.headers


async def test_a_thousand_who_wait_take_no_threads(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}"
    before = threading.active_count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=acme.fields) as many:
        asking = [many.get(f"{site.base}{path}?wait=stopped&timeout=60") for _ in range(1_000)]
        waiting = asyncio.gather(*asking)
        async with asyncio.timeout(30):
            while site.app.edge.in_flight < 1_000:
                await asyncio.sleep(0)
        assert threading.active_count() <= before
        await acme.post(f"{path}/stop")
        assert {answer.status for answer in await waiting} == {200}
