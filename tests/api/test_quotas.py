"""Quotas hold when many ask for the last place at once."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = {"memory_mb": 64, "cpu_count": 0.1}


def a_service(n: int, **fields: Any) -> dict[str, Any]:
    return {"name": f"web-{n}", "image": "web:1"} | SMALL | fields


@pytest.mark.parametrize(
    ("path", "body", "quotas", "places"),
    [
        ("/v1/services", a_service, {"max_services": 5}, 5),
        ("/v1/services", lambda n: a_service(n, memory_mb=256), {"max_services": 99, "max_memory_mb": 1024}, 4),
        ("/v1/services", lambda n: a_service(n, cpu_count=0.5), {"max_services": 99, "max_cpu_cores": 2}, 4),
        ("/v1/databases", lambda n: {"name": f"db-{n}", "type": "redis"}, {"max_databases": 2}, 2),
        ("/v1/auth/keys", lambda n: {"name": f"key {n}"}, {}, 19),
    ],
)
async def test_fifty_who_ask_for_the_last_place_at_once_leave_the_quota_whole(
    site: Site, acme: Tenant, path: str, body: Any, quotas: dict[str, int], places: int
) -> None:
    if quotas:
        await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", quotas)
    answers = await asyncio.gather(*(acme.post(path, body(n)) for n in range(50)))
    assert Counter(answer.status for answer in answers) == {201: places, 409: 50 - places}
    assert {answer.code for answer in answers if answer.status == 409} == {"quota_exceeded"}
    assert len((await acme.get(path)).json) == places + (path == "/v1/auth/keys")
    await site.settled()


async def test_fifty_builds_at_once_leave_the_queue_within_its_quota(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="pending")
    urls = [f"https://github.com/acme/web-{n}" for n in range(50)]
    path = f"/v1/services/{service['id']}/builds"
    answers = await asyncio.gather(*(acme.post(path, {"source_type": "git", "source_url": url}) for url in urls))
    assert Counter(answer.status for answer in answers) == {202: 3, 409: 47}


async def test_a_tenant_that_stores_too_much_is_told_so(site: Site, acme: Tenant) -> None:
    await acme.running(volumes={"data": "/data"})
    await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"max_disk_gb": 0})
    for _ in range(2):
        await site.app.meter.look()
        site.clock.ahead_s += 3_600
    answer = await acme.post("/v1/services", a_service(1))
    assert (answer.status, answer.code) == (409, "quota_exceeded")
    assert "max_disk_gb" in answer.problem["detail"]
