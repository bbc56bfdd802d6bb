"""What was used over HTTP: by hour and by day, of one's own things only, and in step with what was answered before."""

from typing import Any

import pytest

from ahplat.engines.engine import Counters
from projections.metering import HOUR_S
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def a_used_service(site: Site, tenant: Tenant, cpu_us: int = 3_000_000) -> dict[str, Any]:
    """A service that served for an hour, and used something in it: a megabyte for 3,000 s."""
    site.clock.ahead_s += HOUR_S - site.clock.now_us() // 1_000_000 % HOUR_S
    service = await tenant.running()
    [instance] = await site.app.engine.list(service["id"])
    site.engine.host.counters[instance.id] = Counters(cpu_us, 2**20, 10, 20)
    for seconds in (0, 3_000, HOUR_S):
        site.clock.ahead_s += seconds
        await site.app.meter.look()
    return service


async def test_what_was_used_is_told_by_the_hour(site: Site, acme: Tenant) -> None:
    service = await a_used_service(site, acme)
    rows = (await acme.get("/v1/tenant/usage/metrics")).json
    mine = [row for row in rows if row.get("service_id") == service["id"]]
    assert sum(row["running_seconds"] for row in mine) >= HOUR_S
    assert sum(row["reserved_mb_seconds"] for row in mine) == service["memory_mb"] * sum(
        row["running_seconds"] for row in mine
    )
    assert sum(row["cpu_seconds"] for row in mine) == 3.0
    assert sum(row["network_rx_bytes"] for row in mine) == 10
    assert sum(row["memory_mb_seconds"] for row in mine) == pytest.approx(3_000, abs=10)
    assert all(row["timestamp"] % HOUR_S == 0 for row in rows)
    assert [row["timestamp"] for row in rows] == sorted((row["timestamp"] for row in rows), reverse=True)
    assert (await acme.get(f"/v1/services/{service['id']}/metrics")).json == mine
    assert (await acme.get(f"/v1/tenant/usage/metrics?service_id={service['id']}")).json == mine


async def test_days_add_up_to_their_hours(site: Site, acme: Tenant) -> None:
    service = await a_used_service(site, acme)
    path, day = f"/v1/services/{service['id']}/metrics", 24 * HOUR_S
    now = site.clock.now_us() // 1_000_000
    since, until = now - now % day - day, now - 1
    span = f"since={since}&until={until}"
    hours = (await acme.get(f"{path}?period=hourly&{span}")).json
    days = (await acme.get(f"{path}?period=daily&{span}")).json
    for amount in ("running_seconds", "reserved_mb_seconds", "cpu_seconds", "network_tx_bytes"):
        assert sum(row[amount] for row in days) == sum(row[amount] for row in hours)
    assert all(row["timestamp"] % day == 0 for row in days)


async def test_what_a_deleted_service_used_is_still_told(site: Site, acme: Tenant) -> None:
    service = await a_used_service(site, acme)
    await acme.delete(f"/v1/services/{service['id']}")
    await site.settled()
    rows = (await acme.get(f"/v1/services/{service['id']}/metrics")).json
    assert sum(row["cpu_seconds"] for row in rows) == 3.0


async def test_nobody_sees_what_others_used(site: Site, acme: Tenant) -> None:
    service = await a_used_service(site, acme)
    other = await site.register()
    assert (await other.get("/v1/tenant/usage/metrics")).json == []
    assert (await other.get(f"/v1/tenant/usage/metrics?service_id={service['id']}")).json == []
    assert (await other.get(f"/v1/services/{service['id']}/metrics")).code == "service_not_found"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("period=weekly", "/query/period"),
        ("since=tomorrow", "/query/since"),
        ("since=2026-01-31T12:00:00", "/query/since"),
        ("since=99999999999", "/query/since"),
        ("since=7200&until=7200", "/query/since"),
        ("since=1", "/query/since"),
        ("until=x", "/query/until"),
    ],
)
async def test_a_time_that_cannot_be_told_is_pointed_at(site: Site, acme: Tenant, query: str, pointer: str) -> None:
    answer = await acme.get(f"/v1/tenant/usage/metrics?{query}")
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", [pointer])
