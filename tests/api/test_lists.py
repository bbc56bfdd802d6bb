"""Lists: bare arrays, newest first, in pages that neither lose nor repeat a row."""

import re

import pytest

from tests.api.site import Answer, Client, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = 5


async def lists(site: Site, acme: Tenant) -> dict[str, Client]:
    """Every list with at least ROWS rows, and who may read it."""
    service = await acme.running()
    for _ in range(ROWS):
        await site.another_key(acme)
        await acme.post(f"/v1/services/{service['id']}/restart", Prefer="wait=5")
    for n in range(ROWS - 1):
        await acme.service(f"row {n}", image="")
    await site.settled()
    return {
        "/v1/services": acme,
        "/v1/auth/keys": acme,
        f"/v1/services/{service['id']}/deployments": acme,
        "/v1/activity": acme,
        "/v1/tenants": site.operator,
    }


async def pages(client: Client, first: str) -> list[Answer]:
    """One answer after the other, as `Link: rel=next` has it."""
    found, path = [], first
    while path:
        found.append(await client.get(path))
        assert found[-1].status == 200, found[-1].body
        link = re.fullmatch('<([^>]*)>; rel="next"', found[-1].headers.get("Link", '<>; rel="next"'))
        assert link
        path = link[1]
    return found


async def test_a_list_is_a_bare_array_newest_first_and_its_pages_make_the_whole(site: Site, acme: Tenant) -> None:
    for _ in range(ROWS):
        await site.register()
    for path, client in (await lists(site, acme)).items():
        whole = (await client.get(f"{path}?limit=200")).json
        assert isinstance(whole, list) and len(whole) >= ROWS
        times = [row["created_at"] for row in whole]
        assert times == sorted(times, reverse=True) and all(type(time) is int for time in times)
        assert all(re.fullmatch("[0-9a-f]{32}", row["id"]) for row in whole)
        assert [row["id"] for row in whole] == sorted((row["id"] for row in whole), reverse=True), path
        for size in (1, 2):
            paged = [row for page in await pages(client, f"{path}?limit={size}") for row in page.json]
            assert paged == whole, path
        assert (await client.get(f"{path}?limit=2&offset=1")).json == whole[1:3]
        assert (await client.get(f"{path}?offset=1000000")).json == []
    assert (await (await site.register()).get("/v1/services")).body == b"[]"


async def test_a_page_goes_on_where_it_was_although_rows_have_come(site: Site, acme: Tenant) -> None:
    old = [(await acme.service(f"old {n}", image=""))["id"] for n in range(3)]
    first = await acme.get("/v1/services?limit=1")
    await acme.service("new", image="")
    [_, *rest] = await pages(acme, "/v1/services?limit=1")
    follow = first.headers["Link"].partition("<")[2].partition(">")[0]
    found = [first, *(await pages(acme, follow))]
    assert [row["id"] for page in found for row in page.json] == old[::-1]
    assert len(rest) >= 3


async def test_the_next_page_is_of_the_same_question(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    await acme.service(image="")
    await acme.running()
    found = await pages(acme, "/v1/services?status=running&limit=1")
    assert [row["status"] for page in found for row in page.json] == ["running", "running"]
    found = await pages(acme, f"/v1/activity?service_id={service['id']}&action=deploy_requested&limit=1")
    assert [(row["service_id"], row["action"]) for page in found for row in page.json] == [
        (service["id"], "deploy_requested")
    ]
    everything = (await acme.get("/v1/events?after=0&type=service.created", Accept="application/json")).json
    events, path = [], "/v1/events?after=0&type=service.created&limit=1"
    for _ in range(3):
        answer = await acme.get(path, Accept="application/json")
        events += answer.json
        path = answer.headers["Link"].partition("<")[2].partition(">")[0]
        assert "type=service.created" in path
    assert events == everything and len(events) == 3


async def test_a_list_has_100_rows_unless_more_are_wanted_and_activity_50(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    for n in range(120):
        await acme.post(f"/v1/services/{service['id']}/env", {"A": str(n)})
    events = await acme.get("/v1/events", Accept="application/json")
    assert len(events.json) == 100
    assert len((await acme.get("/v1/events?limit=200", Accept="application/json")).json) > 120
    activity = await acme.get("/v1/activity")
    assert len(activity.json) == 50
    assert sum(len(page.json) for page in await pages(acme, "/v1/activity")) > 120
    assert len((await acme.get("/v1/activity?limit=200")).json) > 120


@pytest.mark.parametrize("path", ["/v1/services?", "/v1/auth/keys?", "/v1/activity?", "/v1/events?after=0&"])
async def test_a_limit_is_a_number_from_1_to_200(site: Site, acme: Tenant, path: str) -> None:
    for junk in ("0", "201", "-1", "1.5", "x", "", "1e2", "9" * 30, "%00", "+1"):
        answer = await acme.get(f"{path}limit={junk}", Accept="application/json")
        assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/query/limit"])


async def test_an_offset_is_a_number(site: Site, acme: Tenant) -> None:
    for junk in ("-1", "x", "1.5", "9" * 30, ""):
        answer = await acme.get(f"/v1/services?offset={junk}")
        assert (answer.status, answer.pointers) == (400, ["/query/offset"])


async def test_a_cursor_is_of_its_list_and_its_tenant_only(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    link = (await acme.get("/v1/services?limit=1")).headers["Link"]
    cursor = link.partition("cursor=")[2].partition(">")[0]
    other = await site.register()
    assert (await acme.get(f"/v1/services?cursor={cursor}")).json == []
    for client, path in (
        (acme, f"/v1/auth/keys?cursor={cursor}"),
        (acme, f"/v1/services/{service['id']}/deployments?cursor={cursor}"),
        (other, f"/v1/services?cursor={cursor}"),
        (acme, f"/v1/services?cursor={cursor[:-1]}"),
        (acme, f"/v1/services?cursor={'B' if cursor[0] == 'A' else 'A'}{cursor[1:]}"),
        (acme, "/v1/services?cursor=junk"),
        (acme, "/v1/services?cursor=%ff%00"),
        (acme, f"/v1/services?cursor={'A' * 4_000}"),
    ):
        answer = await client.get(path)
        assert (answer.status, answer.code) == (410, "cursor_gone")


async def test_filters_take_only_what_there_is(site: Site, acme: Tenant) -> None:
    answer = await acme.get("/v1/services?status=dancing")
    assert (answer.status, answer.pointers) == (400, ["/query/status"])
    assert "circuit_open" in answer.problem["detail"]
    await acme.service("web", image="")
    assert (await acme.get("/v1/services?status=running")).json == []
    for path in ("resource_type=nothing", "action=nothing", "service_id=nothing", "since=99999999999"):
        assert (await acme.get(f"/v1/activity?{path}")).json == []
    assert len((await acme.get("/v1/activity?resource_type=service")).json) == 1


async def test_since_is_unix_seconds_or_rfc_3339(site: Site, acme: Tenant) -> None:
    moments = ["0", "1700000000", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20%2B01:00", "2023-11-14T22:13:20+01:00"]
    for since in moments:
        assert (await acme.get(f"/v1/activity?since={since}")).json, since
    for junk in ("x", "-1", "2023-11-14", "2023-11-14T22:13:20", "9" * 20, "9999-12-31T23:59:59-23:59x"):
        answer = await acme.get(f"/v1/activity?since={junk}")
        assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/query/since"]), junk
