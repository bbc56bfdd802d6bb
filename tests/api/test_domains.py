"""Further host names over HTTP: claimed, vouched for by the operator, answered under, given up."""

from pathlib import Path

import pytest

from ahplat import limits
from tests.api.site import HTTPS, Site, Tenant, a_site
from tests.folders import folder as folder
from tests.names.nameserver import HOST, a_nameserver

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOMAIN = ["domain", "service_id", "status", "url", "tls", "added_at"]
CLAIMED = [*DOMAIN, "record", "next_check_at"]


async def test_with_dev_a_name_is_verified_at_once(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}/domains"
    answer = await acme.post(path, {"domain": "WWW.Bücher.example."})
    host = "www.xn--bcher-kva.example"
    assert (answer.status, answer.headers["Location"]) == (201, f"{path}/{host}")
    assert list(answer.json) == [*DOMAIN, "verified_at"]
    assert (answer.json["domain"], answer.json["status"], answer.json["tls"]) == (host, "verified", "none")
    assert answer.json["url"] == f"http://{host}:{site.app.port}"
    assert (await acme.get(path)).json == [answer.json]
    assert (await acme.delete(f"{path}/WWW.B%C3%BCcher.example")).status == 204
    assert (await acme.get(path)).json == []
    assert (await acme.delete(f"{path}/{host}")).code == "domain_not_found"


async def test_without_dev_the_operator_may_vouch_for_a_name_without_a_record(folder: Path) -> None:
    async with a_site(folder, dev=False, domain="apps.example.org") as site:
        acme = await site.register()
        service = await acme.service(image="")
        path = f"/v1/services/{service['id']}/domains"
        claimed = await acme.post(path, {"domain": "www.shop.example"})
        assert list(claimed.json) == CLAIMED and claimed.json["status"] == "pending"
        assert claimed.json["next_check_at"] - claimed.json["added_at"] == limits.DOMAIN_CHECK_S[0]
        assert claimed.json["tls"] == "proxy"
        nobody = await site.anybody.post(f"{path}/www.shop.example/verify", **HTTPS)
        assert (nobody.status, nobody.code) == (401, "unauthenticated")
        reader = await site.another_key(acme, name="r", scopes=["read"])
        assert (await reader.post(f"{path}/www.shop.example/verify")).code == "forbidden_scope"
        vouched = await site.operator.post(f"{path}/www.shop.example/verify")
        assert (vouched.status, vouched.json["status"]) == (200, "verified")
        assert (await acme.get(path)).json == [vouched.json]


async def test_a_record_on_a_real_name_server_verifies_a_name_at_once_when_the_tenant_asks(folder: Path) -> None:
    async with a_nameserver() as dns, a_site(folder, dev=False, dns_upstreams=((HOST, dns.port),)) as site:
        acme = await site.register()
        service = await acme.service(image="")
        path = f"/v1/services/{service['id']}/domains"
        record = (await acme.post(path, {"domain": "www.shop.example"})).json["record"]
        assert (record["name"], record["type"]) == ("_ahplat.www.shop.example", "TXT")
        ask = f"{path}/www.shop.example/verify"
        asked = await acme.post(ask, Prefer="wait=20")
        assert (asked.status, asked.json["status"], asked.json["error_code"]) == (200, "pending", "record_missing")
        assert asked.json["next_check_at"] > asked.json["last_checked_at"]
        dns.texts[record["name"]] = [record["value"]]
        verified = await acme.post(ask, Prefer="wait=20")
        assert (verified.status, verified.json["status"]) == (200, "verified")
        assert list(verified.json) == [*DOMAIN, "verified_at", "last_checked_at"]
        assert (await acme.get(path)).json == [verified.json]
        assert (await acme.post(ask)).json == verified.json


async def test_a_name_goes_to_the_tenant_whose_value_is_in_the_record(folder: Path) -> None:
    async with a_nameserver() as dns, a_site(folder, dev=False, dns_upstreams=((HOST, dns.port),)) as site:
        acme, other = await site.register(), await site.register()
        paths, records = [], []
        for tenant in (acme, other):
            paths.append(f"/v1/services/{(await tenant.service(image=''))['id']}/domains")
            records.append((await tenant.post(paths[-1], {"domain": "www.shop.example"})).json["record"])
        assert records[0]["name"] == records[1]["name"] and records[0]["value"] != records[1]["value"]
        dns.texts[records[0]["name"]] = [records[1]["value"]]
        lost = await acme.post(f"{paths[0]}/www.shop.example/verify", Prefer="wait=20")
        assert (lost.json["status"], lost.json["error_code"]) == ("pending", "record_differs")
        won = await other.post(f"{paths[1]}/www.shop.example/verify", Prefer="wait=20")
        assert won.json["status"] == "verified"
        assert (await acme.post(f"{paths[0]}/www.shop.example/verify")).code == "domain_taken"
        await other.delete(f"{paths[1]}/www.shop.example")
        dns.texts[records[0]["name"]].append(records[0]["value"])
        now = await acme.post(f"{paths[0]}/www.shop.example/verify", Prefer="wait=20")
        assert now.json["status"] == "verified"


@pytest.mark.parametrize(
    "name",
    [
        f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 50}.example",
        "xn--a.example",
        "localhost",
        "api.localhost",
        "web.acme.localhost",
        "127.0.0.1",
        "a",
        "*.shop.example",
        "a.local",
    ],
)
async def test_a_name_that_may_not_be_claimed_is_pointed_at(acme: Tenant, name: str) -> None:
    service = await acme.service(image="")
    answer = await acme.post(f"/v1/services/{service['id']}/domains", {"domain": name})
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/domain"])


async def test_a_name_of_another_tenant_is_taken_and_is_not_reached_through_it(site: Site, acme: Tenant) -> None:
    mine = await acme.service(image="")
    other = await site.register()
    theirs = await other.service(image="")
    assert (await acme.post(f"/v1/services/{mine['id']}/domains", {"domain": "taken.example"})).status == 201
    answer = await other.post(f"/v1/services/{theirs['id']}/domains", {"domain": "TAKEN.example."})
    assert (answer.status, answer.code) == (409, "domain_taken")
    assert (await other.delete(f"/v1/services/{mine['id']}/domains/taken.example")).code == "service_not_found"
    assert (await other.delete(f"/v1/services/{theirs['id']}/domains/taken.example")).code == "domain_not_found"


async def test_the_built_in_router_answers_under_a_verified_name(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    await acme.post(f"/v1/services/{service['id']}/domains", {"domain": "here.example"})
    for host in ("here.example", "HERE.example.:80"):
        assert (await site.anybody.get("/", Host=host)).code == "no_route"
    assert (await site.anybody.get("/v1/system/health", Host="nobodys.example")).status == 200


async def test_urls_follow_from_the_router(folder: Path) -> None:
    options = {"domain": "apps.example.org", "traefik_config_dir": folder / "dynamic", "acme_email": "ops@example.org"}
    async with a_site(folder / "data", dev=False, **options) as site:
        acme = await site.register()
        service = await acme.service(image="")
        label = (await acme.get("/v1/tenant")).json["dns_label"]
        assert service["url"] == f"https://{service['dns_label']}.{label}.apps.example.org"
        ready = await site.anybody.get("/v1/system/ready", **HTTPS)
        assert ready.json["router"].startswith("files, away: http://127.0.0.1:8099 does not answer")
        detailed = (await acme.get("/v1/system/health/detailed")).json
        assert (detailed["status"], detailed["router"]["name"], detailed["router"]["available"]) == (
            "degraded",
            "files",
            False,
        )
        (own,) = (folder / "dynamic").iterdir()
        assert own.name == "ah-api.yml" and "api.apps.example.org" in own.read_text()
