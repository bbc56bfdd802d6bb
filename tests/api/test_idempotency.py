"""A command that is sent again with its key is not done again: it gets its first answer, whatever has happened since."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ahplat.api.routes import ROUTES
from events.log import read_all
from tests.api.answering import answering, with_databases
from tests.api.site import TOKENS, Answer, Client, Site, Tenant, a_site
from tests.folders import memory_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = {"Idempotency_Key": '"k-1"'}
COMMANDS = [route for route in ROUTES if route.method != "GET"]
RECOVERY = {"email": "known@example.org", "bootstrap_token": TOKENS[1]}
NO_COMMAND = {
    "/v1/system/bootstrap-token/validate",
    "/v1/system/garbage/collect",  # a repeat finds less, or nothing
    "/v1/services/{service_id}/exec",  # what it said is told once: see test_execs.py
}


def same(first: Answer, again: Answer) -> bool:
    """Whether it is the first answer, marked as such."""
    assert again.headers.get("Idempotency-Replayed") == "true", (again.status, again.body)
    assert again.position == first.position
    assert again.headers.get("Location") == first.headers.get("Location")
    assert again.headers.get("ETag") == first.headers.get("ETag")
    return (again.status, again.body) == (first.status, first.body)


async def asked(site: Site, acme: Tenant) -> dict[str, tuple[Client, str, str, Any]]:
    """Of each command's route one request that is accepted."""
    service = await acme.running()
    path = f"/v1/services/{service['id']}"
    await acme.post(f"{path}/env", {"A": "1"})
    await acme.post(f"{path}/deploy", {"image": "web:2"}, Prefer="wait=5")
    await site.settled()
    suspended, erased, known = await site.register(), await site.register("to be erased"), await site.register("known")
    await suspended.delete("/v1/tenant")
    stores = await asked_of_stores(site, acme, service["id"])  # before anything waits without end
    waiting = await acme.service()
    await acme.post(f"/v1/services/{waiting['id']}/deploy", {"image": "slow:1"})
    newest = (await acme.get(f"/v1/services/{waiting['id']}/deployments")).json[0]
    key = await site.another_key(acme)
    boss = site.operator
    return {
        **(stores | await builds(site, acme, path) | await asked_of_names(site, acme, path)),
        "POST /v1/system/effects/{position}/unpark": (
            boss,
            "POST",
            f"/v1/system/effects/{await parked(site)}/unpark",
            None,
        ),
        "POST /v1/tenants/register": (boss, "POST", "/v1/tenants/register", {"name": "new", "email": "new@x"}),
        "POST /v1/tenants/{tenant_id}/reactivate": (boss, "POST", f"/v1/tenants/{suspended.id}/reactivate", None),
        "POST /v1/auth/recover": (site.anybody, "POST", "/v1/auth/recover", RECOVERY),
        "PATCH /v1/tenant": (known, "PATCH", "/v1/tenant", {"email": "changed@example.org"}),
        "DELETE /v1/tenants/{tenant_id}/data": (
            site.socket,
            "DELETE",
            f"/v1/tenants/{erased.id}/data",
            {"confirm": "to be erased"},
        ),
        "PATCH /v1/tenants/{tenant_id}/quotas": (boss, "PATCH", f"/v1/tenants/{acme.id}/quotas", {"max_services": 9}),
        "POST /v1/auth/keys": (acme, "POST", "/v1/auth/keys", {"name": "ci"}),
        "DELETE /v1/auth/keys/{key_id}": (acme, "DELETE", f"/v1/auth/keys/{key.key.partition('.')[0]}", None),
        "POST /v1/services": (acme, "POST", "/v1/services", {"name": "new", "image": "web:1", "port": 0}),
        "PATCH /v1/services/{service_id}": (acme, "PATCH", path, {"memory_mb": 128}),
        "POST /v1/services/{service_id}/env": (acme, "POST", f"{path}/env", {"B": "2"}),
        "DELETE /v1/services/{service_id}/env/{key}": (acme, "DELETE", f"{path}/env/A", None),
        "POST /v1/services/{service_id}/deploy": (acme, "POST", f"{path}/deploy", {"image": "web:1"}),
        "POST /v1/services/{service_id}/rollback": (acme, "POST", f"{path}/rollback", {}),
        "POST /v1/services/{service_id}/redeploy": (acme, "POST", f"{path}/redeploy", None),
        "POST /v1/services/{service_id}/restart": (acme, "POST", f"{path}/restart", None),
        "POST /v1/services/{service_id}/reset": (acme, "POST", f"{path}/reset", None),
        "POST /v1/services/{service_id}/deployments/{deployment_id}/cancel": (
            acme,
            "POST",
            f"/v1/services/{waiting['id']}/deployments/{newest['id']}/cancel",
            None,
        ),
        "POST /v1/services/{service_id}/stop": (acme, "POST", f"{path}/stop", None),
        "POST /v1/services/{service_id}/start": (acme, "POST", f"{path}/start", None),
        "DELETE /v1/services/{service_id}": (acme, "DELETE", path, None),
        "DELETE /v1/tenant": (await site.register(), "DELETE", "/v1/tenant", None),
    }


async def builds(site: Site, acme: Tenant, path: str) -> dict[str, tuple[Client, str, str, Any]]:
    """Another build, and the end of one that clones."""
    site.builder.held["clone"] = asyncio.Event()
    source = {"git_url": "https://github.com/acme/web"}
    build = (await acme.post(f"{path}/builds", source)).json
    return {
        "POST /v1/services/{service_id}/builds": (acme, "POST", f"{path}/builds", source | {"branch": "next"}),
        "DELETE /v1/services/{service_id}/builds/{build_id}": (acme, "DELETE", f"{path}/builds/{build['id']}", None),
    }


async def asked_of_stores(site: Site, acme: Tenant, service_id: str) -> dict[str, tuple[Client, str, str, Any]]:
    """The same of databases and volumes."""
    owner = await acme.running(volumes={"data": "/data"})
    [volume] = (await acme.get("/v1/volumes")).json
    await acme.delete(f"/v1/services/{owner['id']}")
    made = await acme.post("/v1/databases", {"name": "old", "type": "redis"})
    database = f"/v1/databases/{made.json['id']}"
    return await asked_of_backups(site, acme) | {
        "POST /v1/databases": (acme, "POST", "/v1/databases", {"name": "new", "type": "redis"}),
        "POST /v1/databases/{database_id}/start": (acme, "POST", f"{database}/start", None),
        "POST /v1/databases/{database_id}/link": (acme, "POST", f"{database}/link", {"service_id": service_id}),
        "DELETE /v1/databases/{database_id}": (acme, "DELETE", database, None),
        "POST /v1/databases/{database_id}/undelete": (acme, "POST", f"{database}/undelete", None),
        "DELETE /v1/volumes/{volume_id}": (acme, "DELETE", f"/v1/volumes/{volume['id']}", None),
    }


async def asked_of_backups(site: Site, acme: Tenant) -> dict[str, tuple[Client, str, str, Any]]:
    """The same of backups of databases."""
    with_databases(site, "u_one")
    await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"max_databases": 9})
    one, other = [
        (await acme.post("/v1/databases", {"name": name, "type": "redis"}, Prefer="wait=5")).headers["Location"]
        for name in ("one", "other")
    ]
    first, second = [(await acme.post(f"{one}/backups", Prefer="wait=5")).json["id"] for _ in range(2)]
    its = "/v1/databases/{database_id}"
    return {
        f"POST {its}/backups": (acme, "POST", f"{other}/backups", None),
        f"DELETE {its}/backups/{{backup_id}}": (acme, "DELETE", f"{one}/backups/{first}", None),
        f"POST {its}/restore": (acme, "POST", f"{one}/restore", {"backup_id": second}),
    }


async def asked_of_names(site: Site, acme: Tenant, path: str) -> dict[str, tuple[Client, str, str, Any]]:
    """The same, of the commands about a service's further names."""
    for host in ("old.example", "mine.example"):
        await acme.post(f"{path}/domains", {"domain": host})
    names = "/v1/services/{service_id}/domains"
    verify = f"{path}/domains/mine.example/verify"
    return {
        f"POST {names}": (acme, "POST", f"{path}/domains", {"domain": "new.example"}),
        f"DELETE {names}/{{domain}}": (acme, "DELETE", f"{path}/domains/old.example", None),
        f"POST {names}/{{domain}}/verify": (site.operator, "POST", verify, None),
    }


async def parked(site: Site) -> int:
    """The position of work that an operator has to look at."""
    from ahplat.commands.effects import Park

    acme = await site.register()
    site.engine.lag_s["fetch"] = 0.0
    await acme.service(image="stuck:1")
    intent = int(site.app.views.execute("SELECT max(intent) FROM todo").get)
    await site.app.writer.submit(Park(tenant_id=acme.id, intent=intent, code="test"), actor="test")
    return intent


@pytest_asyncio.fixture(loop_scope="module")
async def slow() -> AsyncIterator[Site]:
    """A server of one test, on which the images `slow:1` and `stuck:1` never come."""
    with memory_folder() as folder, answering():
        async with a_site(folder / "slow", dev=True) as made:
            fetch = made.engine.fetch

            async def never(reference: str, cancelled: Any) -> Any:
                while reference in ("slow:1", "stuck:1") and not cancelled():
                    await asyncio.sleep(0.001)
                return await fetch(reference, cancelled)

            made.engine.fetch = never  # type: ignore[method-assign]
            yield made


async def test_every_command_is_done_once_and_answered_alike(slow: Site) -> None:
    acme = await slow.register()
    requests = await asked(slow, acme)
    assert set(requests) == {f"{route.method} {route.path}" for route in COMMANDS if route.path not in NO_COMMAND}
    firsts: dict[str, Answer] = {}
    for name, (client, method, path, body) in requests.items():
        first = firsts[name] = await client.ask(method, path, body, headers={"Idempotency-Key": "one"})
        assert 200 <= first.status < 300, (name, first.body)
        before = asked_for(slow)
        again = await client.ask(method, path, body, headers={"Idempotency-Key": '"one"'})
        if name == "DELETE /v1/tenant":
            assert again.code == "tenant_suspended"
        else:
            assert same(first, again), name
        assert asked_for(slow) == before
    await slow.restart()  # with work under way
    for name, (client, method, path, body) in requests.items():
        if name != "DELETE /v1/tenant":
            assert same(firsts[name], await client.ask(method, path, body, headers={"Idempotency-Key": "one"})), name


def asked_for(site: Site) -> list[str]:
    """The types of the events that requests brought about, and not effects."""
    return [at.type for at in read_all(site.app.log, 0, 10_000) if at.decoded_meta().actor != "system"]


async def test_another_body_with_the_same_key_is_refused(site: Site, acme: Tenant) -> None:
    first = await acme.post("/v1/services", {"name": "web"}, **KEY)
    for other in ({"name": "shop"}, {}, None, {"name": 7}):
        answer = await acme.post("/v1/services", other, **KEY)
        assert (answer.status, answer.code) == (422, "idempotency_mismatch"), other
    assert same(first, await acme.post("/v1/services", {"name": "web"}, **KEY))


async def test_another_path_method_or_tenant_makes_it_another_command(site: Site, acme: Tenant) -> None:
    other = await site.register()
    service = await acme.post("/v1/services", {"name": "web"}, **KEY)
    assert (await other.post("/v1/services", {"name": "web"}, **KEY)).json["id"] != service.json["id"]
    path = f"/v1/services/{service.json['id']}"
    assert (await acme.post("/v1/services?x=1", {"name": "web"}, **KEY)).code == "name_taken"
    assert (await acme.post("/v1/services?", {"name": "web"}, **KEY)).json == service.json
    for answer in (
        await acme.post(f"{path}/env", {"name": "web"}, **KEY),
        await acme.patch(path, {"name": "web"}, **KEY),
        await acme.post("/v1/auth/keys", {"name": "web"}, **KEY),
        await acme.delete(path, **KEY),
    ):
        assert answer.status < 300 and "Idempotency-Replayed" not in answer.headers


async def test_another_key_of_the_same_tenant_may_repeat_it(site: Site, acme: Tenant) -> None:
    first = await acme.post("/v1/services", {"name": "web"}, **KEY)
    assert same(first, await (await site.another_key(acme)).post("/v1/services", {"name": "web"}, **KEY))


async def test_both_at_once_are_one(site: Site, acme: Tenant) -> None:
    asking = [acme.post("/v1/services", {"name": "web", "image": ""}, **KEY) for _ in range(8)]
    first, *others = sorted(await asyncio.gather(*asking), key=lambda one: "Idempotency-Replayed" in one.headers)
    assert all(same(first, other) for other in others)
    assert len((await acme.get("/v1/services")).json) == 1


async def test_a_rejection_is_decided_again(site: Site, acme: Tenant) -> None:
    await acme.service("web", image="")
    for _ in range(2):
        answer = await acme.post("/v1/services", {"name": "web"}, **KEY)
        assert (answer.status, answer.code) == (409, "name_taken")
        assert "Idempotency-Replayed" not in answer.headers
    [service] = (await acme.get("/v1/services")).json
    await acme.delete(f"/v1/services/{service['id']}")
    assert (await acme.post("/v1/services", {"name": "web"}, **KEY)).status == 201


async def test_a_precondition_that_fails_is_decided_again(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}"
    assert (await acme.patch(path, {"memory_mb": 64}, If_Match='"1.9"', **KEY)).status == 412
    first = await acme.patch(path, {"memory_mb": 64}, If_Match='"1.1"', **KEY)
    assert first.status == 200
    assert same(first, await acme.patch(path, {"memory_mb": 64}, If_Match='"1.1"', **KEY))


async def test_what_is_gone_since_is_still_answered_as_at_first(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}"
    first = await acme.post(f"{path}/env", {"A": "1"}, **KEY)
    configured = await acme.patch(path, {"memory_mb": 64}, **KEY)
    await acme.delete(path)
    assert (await acme.post(f"{path}/env", {"A": "1"})).status == 404
    assert same(first, await acme.post(f"{path}/env", {"A": "1"}, **KEY))
    assert same(configured, await acme.patch(path, {"memory_mb": 64}, **KEY))


async def test_a_repeat_does_not_wait_for_what_the_first_started(site: Site, acme: Tenant) -> None:
    first = await acme.post("/v1/services", {"name": "web", "image": "web:1", "port": 0}, Prefer="wait=5", **KEY)
    assert (first.json["status"], first.headers["Preference-Applied"]) == ("running", "wait=5")
    again = await acme.post("/v1/services", {"name": "web", "image": "web:1", "port": 0}, Prefer="wait=5", **KEY)
    assert (again.json["status"], again.json["id"]) == ("deploying", first.json["id"])
    assert "Preference-Applied" not in again.headers


@pytest.mark.parametrize("junk", ["", '""', "x" * 129, '"a', "a b", "ä", '"a\\x"'])
async def test_a_key_has_1_to_128_printable_characters(site: Site, acme: Tenant, junk: str) -> None:
    answer = await acme.post("/v1/services", {"name": "web"}, Idempotency_Key=junk)
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/header/Idempotency-Key"])


# secrets


def tenant_keys(site: Site) -> int:
    """How many tenants there are keys for."""
    return int(site.app.keyring._db.execute("SELECT count(*) FROM tenant_key").get)


async def test_a_new_key_is_told_again_for_a_day_and_then_no_more(site: Site, acme: Tenant) -> None:
    first = await acme.post("/v1/auth/keys", {"name": "ci"}, **KEY)
    assert first.headers["Cache-Control"] == "no-store"
    site.clock.ahead_s = 24 * 3600 - 60
    try:
        again = await acme.post("/v1/auth/keys", {"name": "ci"}, **KEY)
        assert same(first, again) and again.headers["Cache-Control"] == "no-store"
        site.clock.ahead_s = 24 * 3600 + 60
        late = await acme.post("/v1/auth/keys", {"name": "ci"}, **KEY)
        assert late.json == {key: value for key, value in first.json.items() if key != "api_key"} | {
            "secret_expired": True
        }
        assert late.headers["Idempotency-Replayed"] == "true"
    finally:
        site.clock.ahead_s = 0


async def test_the_operator_gets_a_registration_again_with_its_key(site: Site) -> None:
    wanted = {"name": "again", "email": "again@example.org"}
    first = await site.operator.post("/v1/tenants/register", wanted, **KEY)
    before = tenant_keys(site)
    assert same(first, await site.operator.post("/v1/tenants/register", wanted, **KEY))
    assert tenant_keys(site) == before
    assert (await Tenant(site, "", first.json["api_key"]).get("/v1/tenant")).status == 200
    by_body = wanted | {"bootstrap_token": TOKENS[1]}
    assert (await site.anybody.post("/v1/tenants/register", by_body, **KEY)).code == "idempotency_mismatch"
    stranger = await site.anybody.post("/v1/tenants/register", wanted, **KEY)
    assert (stranger.status, stranger.code) == (401, "bootstrap_token_invalid")


async def test_open_registration_tells_its_key_once(slow: Site) -> None:
    config = slow.config.__class__
    fields = {name: getattr(slow.config, name) for name in config.__struct_fields__}
    slow.config = config(**fields | {"open_registration": True})
    await slow.restart()
    wanted = {"name": "open", "email": "open@example.org"}
    first = await slow.anybody.post("/v1/tenants/register", wanted, **KEY)
    assert first.status == 201 and first.json["api_key"]
    again = await slow.anybody.post("/v1/tenants/register", wanted, **KEY)
    assert again.json == {"tenant_id": first.json["tenant_id"], "secret_expired": True}
    assert (await Tenant(slow, "", first.json["api_key"]).get("/v1/tenant")).json["name"] == "open"


async def test_nothing_of_a_registration_that_was_refused_is_left(site: Site) -> None:
    await site.register("only once")
    before = tenant_keys(site), site.position
    for _ in range(2):
        answer = await site.operator.post(
            "/v1/tenants/register",
            {"name": "x1", "email": "Only-Once@Example.ORG"},
            Idempotency_Key="k-2",
        )
        assert (answer.status, answer.code) == (422, "duplicate_email")
    assert (tenant_keys(site), site.position) == before
