"""What an operator sees of garbage, and of what carries our label and is not known; tenants see how much of that there is."""

import asyncio
from collections.abc import Iterator

import pytest

from ahplat.engines.engine import Network, Volume
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def strangers(site: Site) -> Iterator[None]:
    host, installation = site.host, site.app.installation
    host.networks["stray"] = Network("stray", "ahstray", "10.129.0.0/26", installation, "t")
    host.networks["theirs"] = Network("theirs", "ahtheirs", "10.129.0.64/26", "another", "t")
    host.volumes["lost"] = Volume("lost", installation, "t")
    yield
    for things in (host.networks, host.volumes):
        for name in ("stray", "theirs", "lost"):
            things.pop(name, None)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("strangers")
async def test_what_is_not_known_is_named_to_the_operator_and_counted_in_health(site: Site, acme: Tenant) -> None:
    found = (await site.socket.get("/v1/system/garbage")).json
    assert found == {
        "garbage": [],
        "unknown": [
            {"kind": "network", "name": "stray", "tenant_id": "t"},
            {"kind": "volume", "name": "lost", "tenant_id": "t"},
        ],
    }
    assert (await acme.get("/v1/system/health/detailed")).json["unknown"] == 2
    assert (await site.socket.get("/v1/system/status")).json["unknown"] == ["network stray", "volume lost"]
    swept = (await site.socket.post("/v1/system/garbage/collect", {})).json
    assert (swept["garbage"], len(swept["unknown"])) == ([], 2)
    assert "stray" in site.host.networks and "lost" in site.host.volumes


async def test_what_the_registry_gives_back_is_shown_before_and_after(site: Site) -> None:
    site.builder.waste = 5_000
    (shown,) = (await site.socket.get("/v1/system/garbage")).json["garbage"]
    assert (shown["kind"], shown["bytes"], site.builder.waste) == ("registry", 5_000, 5_000)
    assert shown["due_at"] <= site.clock.now_us() // 1_000_000
    (freed,) = (await site.socket.post("/v1/system/garbage/collect", {})).json["garbage"]
    assert (freed["kind"], freed["bytes"], site.builder.waste) == ("registry", 5_000, 0)


async def test_what_a_builder_keeps_of_an_erased_tenant_goes_with_the_next_start(site: Site, acme: Tenant) -> None:
    gone = await site.register()
    name = (await gone.get("/v1/tenant")).json["name"]
    await site.operator.delete(f"/v1/tenants/{gone.id}/data", {"confirm": name})
    async with asyncio.timeout(20):
        while (await site.operator.get(f"/v1/tenants/{gone.id}")).json["status"] != "erased":
            await asyncio.sleep(0.01)
    site.builder.kept_for = {gone.id, acme.id}
    await site.restart()
    assert site.builder.kept_for == {acme.id}
