"""Volumes over HTTP: made by naming them in a service, listed with their bytes, removed when no service has them."""

import asyncio
from typing import Any

import pytest

from ahplat import limits
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_service_with_volumes_says_how_it_is_switched(site: Site, acme: Tenant) -> None:
    service = await acme.running(volumes={"data": "/var/lib/app"})
    assert (service["volumes"], service["switch"]) == ({"data": "/var/lib/app"}, "stop_start")
    assert "switch" not in await acme.running()


async def test_volumes_are_listed_with_who_has_them_and_how_much_is_in_them(site: Site, acme: Tenant) -> None:
    service = await acme.running(volumes={"data": "/data", "logs": "/logs"})
    site.clock.ahead_s += limits.VOLUME_BYTES_S + 1
    asked = site.engine.calls.count(("volume_bytes", ""))
    listed, *others = [answer.json for answer in await asyncio.gather(*(acme.get("/v1/volumes") for _ in range(9)))]
    assert others == [listed] * 8
    assert site.engine.calls.count(("volume_bytes", "")) == asked + 1
    assert [one["name"] for one in listed] == ["data", "logs"]
    assert all(one["service_id"] == service["id"] and one["bytes"] == 4096 for one in listed)
    assert (await acme.get(f"/v1/volumes/{listed[0]['id']}")).json == listed[0]
    site.engine.away = True
    site.clock.ahead_s += limits.VOLUME_BYTES_S + 1
    assert "bytes" not in (await acme.get(f"/v1/volumes/{listed[0]['id']}")).json
    site.engine.away = False


async def test_a_volume_stays_when_its_service_goes_and_is_removed_by_name(site: Site, acme: Tenant) -> None:
    service = await acme.running(volumes={"data": "/data"})
    [volume] = (await acme.get("/v1/volumes")).json
    path = f"/v1/volumes/{volume['id']}"
    assert (await acme.delete(path)).code == "volume_in_use"
    await acme.delete(f"/v1/services/{service['id']}")
    await site.settled()
    [kept] = (await acme.get("/v1/volumes")).json
    assert "service_id" not in kept and kept["id"] == volume["id"]
    assert (await acme.delete(path)).status == 204
    await site.settled()
    assert (await acme.get("/v1/volumes")).json == []
    assert (await acme.get(path)).code == "volume_not_found"


@pytest.mark.parametrize(
    "volumes",
    [
        {"data": "relative"},
        {"data": "/"},
        {"data": "/a/../etc"},
        {"data": "/a/./b"},
        {"data": "/a//b"},
        {"data": "/a/"},
        {"data": "/tmp"},
        {"data": "/tmp/x"},
        {"data": "/proc/self"},
        {"data": "/var"},
        {"data": "/etc/app"},
        {"data": "/lib64/app"},
        {"data": "/a:b"},
        {"data": "/" + "a" * 256},
        {"Data": "/data"},
        {"../x": "/data"},
        {"-x": "/data"},
        {"a": "/data", "b": "/data"},
        {"a": "/data", "b": "/data/b"},
        {f"v{n}": f"/v{n}" for n in range(6)},
    ],
    ids=str,
)
async def test_what_cannot_be_mounted_is_pointed_at(site: Site, acme: Tenant, volumes: Any) -> None:
    answer = await acme.post("/v1/services", {"name": "web", "image": "web:1", "volumes": volumes})
    assert (answer.status, answer.code) == (400, "validation_failed"), answer.body
    assert answer.pointers[0].startswith("/volumes")


async def test_an_engine_that_mounts_none_says_so(site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(site.engine), "mounts_volumes", False)
    answer = await acme.post("/v1/services", {"name": "web", "image": "web:1", "volumes": {"data": "/data"}})
    assert (answer.status, answer.code, answer.pointers) == (400, "volumes_unsupported", ["/volumes"])
