"""An archive as the body of a build: bounded, streamed, looked through before it is accepted, and gone when it is not."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ahplat import limits
from ahplat.effects.disks import Disk
from tests.api.site import Answer, Site, Tenant
from tests.builds.archives import link, of_files, packed

pytestmark = pytest.mark.asyncio(loop_scope="module")

GZIP = {"Content-Type": "application/gzip"}
APP = of_files({"main.py": "print('hello')"})
OTHER = of_files({"main.py": "print('other')"})


async def send(acme: Tenant, path: str, sent: Any = APP, **headers: str) -> Answer:
    fields = GZIP | {name.replace("_", "-"): value for name, value in headers.items()}
    return await acme.ask("POST", path, raw=sent, headers=fields)


async def waiting(acme: Tenant) -> str:
    """The path of a new service's builds."""
    service = await acme.service(image="pending")
    return f"/v1/services/{service['id']}/builds"


def left(site: Site) -> set[str]:
    """Builds that have an archive on the disk."""
    return {path.parent.name for path in (site.config.data_dir / "builds").glob("*/*")}


def gone(site: Site, before: set[str]) -> bool:
    return left(site) <= before


@pytest.mark.parametrize("type_", ["application/gzip", "application/x-gzip", "application/x-tar+gzip; charset=binary"])
async def test_an_archive_becomes_a_build(acme: Tenant, type_: str) -> None:
    path = await waiting(acme)
    answer = await send(acme, path, Content_Type=type_, Prefer="wait=5")
    assert answer.status == 202, answer.body
    digest = f"sha256:{hashlib.sha256(APP).hexdigest()}"
    assert (answer.json["source_type"], answer.json["source_url"]) == ("upload", f"upload:{digest}")
    assert answer.json["status"] == "succeeded"
    assert (await acme.get(f"{path}/{answer.json['id']}")).json["source_type"] == "upload"


async def test_the_same_archive_while_it_waits_is_the_same_build_and_lies_there_once(site: Site, acme: Tenant) -> None:
    path = await waiting(acme)
    held = site.builder.held["clone"] = asyncio.Event()
    try:
        first, again, other = [(await send(acme, path, sent)).json["id"] for sent in (APP, APP, OTHER)]
    finally:
        held.set()
        del site.builder.held["clone"]
    assert first == again != other
    assert {first, other} <= left(site)
    assert again in left(site)
    assert len(left(site) & {first, again, other}) == 2


async def test_the_tag_of_a_build_is_good_for_a_command_and_for_a_read(site: Site, acme: Tenant) -> None:
    path = await waiting(acme)
    held = site.builder.held["clone"] = asyncio.Event()
    try:
        one = f"{path}/{(await send(acme, path)).json['id']}"
        waits = await acme.get(f"{one}?wait=running&timeout=5")
        assert (await acme.get(one, If_None_Match=waits.headers["ETag"])).status == 304
        assert (await acme.delete(one, If_Match='"1.9.0123456789abcdef"')).status == 412
        assert (await acme.delete(one, If_Match=waits.headers["ETag"])).status == 200
    finally:
        held.set()
        del site.builder.held["clone"]
    ended = await acme.get(one, If_None_Match=waits.headers["ETag"])
    assert (ended.status, ended.json["status"]) == (200, "cancelled")


async def test_the_activity_of_a_service_has_its_builds(acme: Tenant) -> None:
    path = await waiting(acme)
    await send(acme, path, Prefer="wait=5")
    service = path.split("/")[3]
    lines = (await acme.get(f"/v1/activity?service_id={service}&limit=200")).json
    assert {one["resource_type"] for one in lines} == {"service", "build"}
    assert {one["service_id"] for one in lines} == {service}
    only = (await acme.get(f"/v1/activity?service_id={service}&resource_type=build")).json
    assert {one["resource_type"] for one in only} == {"build"}


async def test_a_repeat_gets_its_first_answer_and_another_body_a_refusal(site: Site, acme: Tenant) -> None:
    path, key = await waiting(acme), {"Idempotency_Key": '"up-1"'}
    first = await send(acme, path, **key)
    before = left(site)
    again = await send(acme, path, **key)
    assert (again.status, again.body, again.position) == (202, first.body, first.position)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await send(acme, path, OTHER, **key)).code == "idempotency_mismatch"
    assert gone(site, before)
    await acme.delete(path.removesuffix("/builds"))
    assert (await send(acme, path, **key)).body == first.body


async def test_two_at_once_with_one_key_are_one_build(site: Site, acme: Tenant) -> None:
    path, key = await waiting(acme), {"Idempotency_Key": '"up-2"'}
    before = left(site)
    answers = await asyncio.gather(*(send(acme, path, **key) for _ in range(2)))
    assert len({answer.body for answer in answers}) == 1
    assert len(left(site) - before) == 1
    assert len((await acme.get(path)).json) == 1


@pytest.mark.parametrize(
    ("sent", "why"),
    [(b"no archive", "no whole tar.gz"), (packed(link("out", "/etc")), "out of the folder"), (APP[:-9], "no whole")],
)
async def test_a_bad_archive_is_a_problem_and_changes_nothing(site: Site, acme: Tenant, sent: bytes, why: str) -> None:
    path = await waiting(acme)
    await site.settled()
    position, before = site.position, left(site)
    answer = await send(acme, path, sent)
    assert (answer.status, answer.code) == (400, "archive_invalid")
    assert why in answer.problem["detail"]
    assert (site.position, gone(site, before)) == (position, True)


@pytest.mark.parametrize("chunked", [False, True])
async def test_one_that_is_too_large_is_refused(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(limits, "UPLOAD_BYTES", len(APP) - 1)
    path, before = await waiting(acme), left(site)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(APP), 50):
            yield APP[at : at + 50]

    answer = await send(acme, path, pieces() if chunked else APP)
    assert (answer.status, answer.code) == (413, "payload_too_large")
    assert gone(site, before)


async def test_one_may_be_larger_than_a_json_body(acme: Tenant) -> None:
    noise = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(60_000))
    sent = of_files({"noise": noise})
    assert len(sent) > limits.BODY_BYTES
    assert (await send(acme, await waiting(acme), sent)).status == 202


async def test_a_client_that_goes_in_the_middle_leaves_nothing(site: Site, acme: Tenant) -> None:
    path, before = await waiting(acme), left(site)
    _, writer = await asyncio.open_connection("127.0.0.1", site.app.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme.key}\r\nContent-Type: application/gzip\r\n"
    writer.write(f"{head}Content-Length: {len(APP)}\r\n\r\n".encode() + APP[:60])
    await writer.drain()
    async with asyncio.timeout(5):
        while gone(site, before):
            await asyncio.sleep(0.005)
        writer.close()
        while not gone(site, before):
            await asyncio.sleep(0.005)
    assert (await acme.get(path)).json == []
    assert len(site.app.uploads) == 0


async def test_one_that_stalls_is_ended(site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPLOAD_STALL_S", 0.05)
    path, before = await waiting(acme), left(site)

    async def halting() -> AsyncIterator[bytes]:
        yield APP[:60]
        await asyncio.Event().wait()

    answer = await asyncio.wait_for(send(acme, path, halting()), 5)
    assert (answer.status, answer.code) == (408, "body_timeout")
    assert gone(site, before)


async def test_a_full_disk_refuses_it_before_it_comes(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, key = await waiting(acme), {"Idempotency_Key": '"up-3"'}
    first = await send(acme, path, **key)
    before = left(site)
    monkeypatch.setattr(site.app.disks, "seen", {"log": Disk(100, 95, 5, "full")})
    monkeypatch.setattr(site.app.disks, "_measure", lambda: None)
    answer = await send(acme, path, OTHER)
    assert (answer.status, answer.code) == (503, "disk_full")
    assert (await send(acme, path, **key)).body == first.body  # what was accepted is told all the same
    assert gone(site, before)


async def test_no_tenant_has_more_on_their_way_than_its_part(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UPLOADS_OF_TENANT", 1)
    path, go_on = await waiting(acme), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield APP[:60]
        await go_on.wait()
        yield APP[60:]

    first = asyncio.ensure_future(send(acme, path, slow()))
    async with asyncio.timeout(5):
        while not len(site.app.uploads):
            await asyncio.sleep(0.005)
    answer = await send(acme, path, OTHER)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "overloaded", "5")
    go_on.set()
    assert (await first).status == 202


async def test_whose_key_dies_while_it_comes_is_not_let_in(site: Site, acme: Tenant) -> None:
    other, path, go_on, before = await site.another_key(acme), await waiting(acme), asyncio.Event(), left(site)

    async def slow() -> AsyncIterator[bytes]:
        yield APP[:60]
        await go_on.wait()
        yield APP[60:]

    sending = asyncio.ensure_future(send(other, path, slow()))
    async with asyncio.timeout(5):
        while gone(site, before):
            await asyncio.sleep(0.005)
    assert (await acme.delete(f"/v1/auth/keys/{other.key.partition('.')[0]}")).status == 204
    go_on.set()
    assert (await sending).status == 401
    assert gone(site, before)


async def test_a_dry_run_looks_through_it_says_what_would_be_and_keeps_nothing(site: Site, acme: Tenant) -> None:
    path = await waiting(acme)
    await site.settled()
    position, before = site.position, left(site)
    plan = await send(acme, f"{path}?dry_run=true", Idempotency_Key='"up-4"')
    assert (plan.status, [event["type"] for event in plan.json["events"]]) == (200, ["build.requested"])
    assert (await send(acme, f"{path}?dry_run=true", b"no archive")).code == "archive_invalid"
    assert (site.position, gone(site, before)) == (position, True)
    assert (await send(acme, path, Idempotency_Key='"up-4"')).status == 202
    assert (await send(acme, f"{path}?dry_run=true", Idempotency_Key='"up-4"')).status == 200


async def test_services_of_others_and_builders_that_are_not_there_are_refused(site: Site, acme: Tenant) -> None:
    path, other = await waiting(acme), await site.register()
    assert (await send(other, path)).code == "service_not_found"
    assert (await send(acme, f"{path}?builder=magic")).pointers == ["/query/builder"]
    assert (await send(acme, f"{path}?builder=dockerfile")).json["builder"] == "dockerfile"
    assert (await send(acme, path, Content_Encoding="br")).status == 415
