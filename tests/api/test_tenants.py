"""A tenant's life: suspended, brought back, erased; and that no tenant ever meets another."""

import pytest

from ahplat.api.routes import ROUTES
from tests.api.answering import answering, with_databases
from tests.api.site import BOOTSTRAP, Answer, Client, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "0" * 32


def with_key(site: Site, tenant: Tenant, answer: Answer) -> Tenant:
    """The tenant with the key that it was told."""
    assert answer.headers["Cache-Control"] == "no-store"
    return Tenant(site, tenant.id, answer.json["api_key"])


async def test_a_suspended_tenant_is_told_so_with_every_key_that_it_had(site: Site, acme: Tenant) -> None:
    used, unused = await site.another_key(acme), await site.another_key(acme)
    assert (await used.get("/v1/tenant")).status == 200
    assert (await acme.delete("/v1/tenant")).status == 204
    for client in (acme, used, unused):
        for method, path in (("GET", "/v1/services"), ("POST", "/v1/services"), ("GET", "/v1/events")):
            answer = await client.ask(method, path)
            assert (answer.status, answer.code) == (403, "tenant_suspended")
            assert answer.problem["remediation"]["path"] == "/v1/tenants/{tenant_id}/reactivate"
    assert (await site.operator.get(f"/v1/tenants/{acme.id}")).json["status"] == "suspended"
    recover = await site.operator.post("/v1/auth/recover", {"email": f"{await email_of(site, acme)}"})
    assert (recover.status, recover.code) == (403, "tenant_suspended")


async def email_of(site: Site, tenant: Tenant) -> str:
    return str((await site.operator.get(f"/v1/tenants/{tenant.id}")).json["email"])


async def test_what_ran_before_a_suspension_runs_again_after_it(site: Site, acme: Tenant) -> None:
    running, stopped = await acme.running(), await acme.running()
    await acme.post(f"/v1/services/{stopped['id']}/stop", Prefer="wait=5")
    await acme.delete("/v1/tenant")
    await site.settled()
    assert not [one for one in site.host.instances.values() if one.identity.tenant == acme.id]
    answer = await site.operator.post(f"/v1/tenants/{acme.id}/reactivate")
    assert list(answer.json) == ["tenant_id", "api_key", "status"]
    assert (answer.status, answer.json["tenant_id"], answer.json["status"]) == (200, acme.id, "active")
    back = with_key(site, acme, answer)
    assert (await acme.get("/v1/tenant")).code == "key_revoked"
    await site.settled()
    assert (await back.get(f"/v1/services/{running['id']}?wait=running&timeout=5")).json["status"] == "running"
    assert (await back.get(f"/v1/services/{stopped['id']}")).json["status"] == "stopped"
    again = await site.operator.post(f"/v1/tenants/{acme.id}/reactivate")
    assert (again.status, again.code) == (409, "tenant_not_suspended")


async def test_a_lost_key_is_replaced_by_another(site: Site, acme: Tenant) -> None:
    for email in (await email_of(site, acme), (await email_of(site, acme)).upper()):
        answer = await site.operator.post("/v1/auth/recover", {"email": email})
        assert (answer.status, list(answer.json)) == (201, ["id", "key", "api_key", "name", "created_at"])
        assert answer.json["key"] == answer.json["api_key"]
        assert (await with_key(site, acme, answer).get("/v1/tenant")).json["id"] == acme.id
    assert (await acme.get("/v1/tenant")).status == 200
    answer = await site.operator.post("/v1/auth/recover", {"email": "nobody@example.org"})
    assert (answer.status, answer.code) == (404, "tenant_not_found")


async def test_what_was_answered_to_the_erasure_does_not_outlive_it(site: Site) -> None:
    acme = await site.register("secret person")
    path, key = f"/v1/tenants/{acme.id}/data", {"Idempotency_Key": '"erase"'}
    first = await site.operator.delete(path, {"confirm": "secret person"}, **key)
    await site.settled()
    again = await site.operator.delete(path, {"confirm": "secret person"}, **key)
    assert (first.status, again.status, again.headers["Idempotency-Replayed"]) == (202, 202, "true")
    assert b"secret" not in again.body


async def test_an_erasure_can_be_waited_for(site: Site) -> None:
    acme = await site.register("short stay")
    await acme.running()
    answer = await site.operator.delete(f"/v1/tenants/{acme.id}/data", {"confirm": "short stay"}, Prefer="wait=5")
    assert answer.headers["Preference-Applied"] == "wait=5"
    assert (await site.operator.get(f"/v1/tenants/{acme.id}")).json["status"] == "erased"


async def test_a_tenant_is_erased_for_good_when_its_name_is_given(site: Site) -> None:
    acme = await site.register("short lived")
    service = await acme.running(env={"A": "secret"})
    path = f"/v1/tenants/{acme.id}/data"
    for confirm in ({}, {"confirm": ""}, {"confirm": "Short lived"}, {"confirm": 1}, None):
        answer = await site.operator.delete(path, confirm)
        assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/confirm"])
    answer = await site.operator.delete(path, {"confirm": "short lived"})
    assert (answer.status, answer.json) == (
        202,
        {"tenant_id": acme.id, "status": "suspended"},
    )  # the server backs up none
    assert (await acme.get("/v1/tenant")).code == "tenant_suspended"
    await site.settled()
    found = (await site.operator.get(f"/v1/tenants/{acme.id}")).json
    assert found["status"] == "erased" and not found.keys() & {"name", "email", "dns_label"}
    assert [row["id"] for row in (await site.operator.get("/v1/tenants")).json if row["id"] == acme.id] == [acme.id]
    for answer in (
        await site.operator.delete(path, {"confirm": "short lived"}),
        await site.operator.post(f"/v1/tenants/{acme.id}/reactivate"),
        await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"max_services": 1}),
        await site.operator.post("/v1/auth/recover", {"email": "short-lived@example.org"}),
    ):
        assert (answer.status, answer.code) == (404, "tenant_not_found")
    assert (await acme.get("/v1/tenant")).code == "tenant_suspended"
    assert service["id"] not in str(site.host.instances)
    assert (await site.register("short lived")).id != acme.id


async def test_the_same_address_registers_once(site: Site) -> None:
    await site.register("first of them")
    body = {"name": "other", "email": " FIRST-of-them@example.org".strip()}
    answer = await site.operator.post("/v1/tenants/register", body)
    assert (answer.status, answer.code) == (422, "duplicate_email")
    other = await site.register("second of them")
    answer = await other.patch("/v1/tenant", {"email": body["email"]})
    assert (answer.status, answer.code) == (422, "duplicate_email")


# another tenant's


async def test_nothing_of_another_tenant_can_be_told_from_nothing_at_all(site: Site, acme: Tenant) -> None:
    """Every route with an id in it, asked with another tenant's ids and with ids that nobody has."""
    theirs = await site.register()
    service = await theirs.running(env={"A": "1"}, volumes={"data": "/data"})
    [volume] = (await theirs.get("/v1/volumes")).json
    [deployment] = (await theirs.get(f"/v1/services/{service['id']}/deployments")).json
    mine = await acme.service(image="")
    build = (await theirs.post(f"/v1/services/{service['id']}/builds", {"git_url": "https://github.com/a/b"})).json
    with_databases(site, "u_db")
    with answering():
        database = (await theirs.post("/v1/databases", {"name": "db", "type": "redis"}, Prefer="wait=5")).json
    backup = (await theirs.post(f"/v1/databases/{database['id']}/backups")).json
    ids = {"service_id": service["id"], "deployment_id": deployment["id"], "key_id": theirs.key[:32], "key": "A"}
    ids |= {"build_id": build["id"], "database_id": database["id"], "volume_id": volume["id"]}
    ids |= {"backup_id": backup["id"], "event_position": str(site.position)}
    ids["domain"] = "www.shop.example"
    await theirs.post(f"/v1/services/{service['id']}/domains", {"domain": ids["domain"]})
    before = site.position
    asked = 0
    for route in ROUTES:
        if route.auth != "key" or "{" not in route.path:
            continue
        bodies = {
            "env": {"A": "1"},
            "exec": {"command": ["true"]},
            "link": {"service_id": mine["id"]},
            "rollback": {"deployment_id": deployment["id"]},
            "builds": {"git_url": "https://github.com/a/b"},
            "domains": {"domain": "b.example"},
            "restore": {"backup_id": backup["id"]},
        }
        body = bodies.get(route.path.rpartition("/")[2], {} if route.method != "GET" else None)
        for fixed in ({}, {"service_id": mine["id"]} if "{service_id}/" in route.path else {}):
            known = await acme.ask(route.method, route.path.format(**ids | fixed), body)
            unknown = await acme.ask(route.method, route.path.format(**dict.fromkeys(ids, NOBODY) | fixed), body)
            if fixed and known.status < 400:  # a command on a service of one's own
                continue
            assert known.status in (404, 409), (route.path, known.body)
            assert blurred(known, ids) == blurred(unknown, ids), route.path
            asked += 1
    assert asked >= 20
    assert site.position >= before
    assert (await theirs.get(f"/v1/services/{service['id']}")).headers["ETag"]
    assert (await theirs.get(f"/v1/services/{service['id']}/env")).json == {"A": "********"}
    for listed in ("/v1/services", "/v1/databases", "/v1/volumes", "/v1/activity", "/v1/auth/keys"):
        body = (await acme.get(listed)).body
        assert service["id"].encode() not in body and database["id"].encode() not in body
    assert (await acme.get(f"/v1/activity?service_id={service['id']}")).json == []
    events = await acme.get(f"/v1/events?after=0&resource={service['id']}", Accept="application/json")
    assert events.json == []


def blurred(answer: Answer, ids: dict[str, str]) -> tuple[int, str]:
    """An answer without what is its own: ids, and the request's."""
    text = answer.body.decode().replace(answer.headers["X-Request-Id"], "…")
    for value in (*ids.values(), NOBODY):
        text = text.replace(value, "ID") if len(value) > 1 else text
    return answer.status, text


async def test_the_operator_finds_no_tenant_that_there_is_not(site: Site) -> None:
    for method, path in (
        ("GET", "/v1/tenants/{}"),
        ("PATCH", "/v1/tenants/{}/quotas"),
        ("DELETE", "/v1/tenants/{}/data"),
        ("POST", "/v1/tenants/{}/reactivate"),
    ):
        for unknown in (NOBODY, "x", "%00", "%ff", "..%2f..", "a" * 3_000):
            answer = await Client(site, BOOTSTRAP).ask(method, path.format(unknown))
            assert (answer.status, answer.code) == (404, "tenant_not_found"), (path, unknown)
