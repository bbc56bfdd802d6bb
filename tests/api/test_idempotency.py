"""A command that is sent again with its key is not done again: it gets its first answer, whatever has happened since."""

import asyncio

import pytest

from tests.api.every_command import COMMANDS, NO_COMMAND, asked, asked_for
from tests.api.every_command import slow as slow
from tests.api.site import TOKENS, Answer, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = {"Idempotency_Key": '"k-1"'}


def same(first: Answer, again: Answer) -> bool:
    """Whether it is the first answer, marked as such."""
    assert again.headers.get("Idempotency-Replayed") == "true", (again.status, again.body)
    assert again.position == first.position
    assert again.headers.get("Location") == first.headers.get("Location")
    assert again.headers.get("ETag") == first.headers.get("ETag")
    return (again.status, again.body) == (first.status, first.body)


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


async def test_another_body_with_the_same_key_is_refused(site: Site, acme: Tenant) -> None:
    first = await acme.post("/v1/services", {"name": "web"}, **KEY)
    for other in ({"name": "shop"}, {}, None, {"name": 7}):
        answer = await acme.post("/v1/services", other, **KEY)
        assert (answer.status, answer.code) == (422, "idempotency_mismatch"), other
    assert same(first, await acme.post("/v1/services", {"name": "web"}, **KEY))


async def test_it_is_the_same_command_however_it_is_written(site: Site, acme: Tenant) -> None:
    first = await acme.post("/v1/services", {"name": "web", "env": {"A": "1"}}, **KEY)
    for query in ("?x=1", "?dry_run=false", "?dry_run=0&x"):
        assert same(first, await acme.post(f"/v1/services{query}", {"name": "web", "env": {"A": "1"}}, **KEY)), query
    made = await acme.post("/v1/auth/keys", Idempotency_Key="k-2")
    assert same(made, await acme.post("/v1/auth/keys", {}, Idempotency_Key="k-2"))
    raw = b' {"env" : {"A":"1"},\n"name":"web"} '
    assert same(first, await acme.ask("POST", "/v1/services", raw=raw, headers={"Idempotency-Key": "k-1"}))


async def test_what_a_query_says_is_part_of_the_command(slow: Site) -> None:
    acme = await slow.register()
    database = (await acme.post("/v1/databases", {"name": "data", "type": "redis"})).json
    path = f"/v1/databases/{database['id']}"
    first = await acme.delete(path, **KEY)
    assert same(first, await acme.delete(f"{path}?purge=false", **KEY))
    assert (await acme.delete(f"{path}?purge=true", **KEY)).code == "idempotency_mismatch"


async def test_what_is_read_is_read_anew_whatever_its_key(slow: Site) -> None:
    acme = await slow.register()
    database = (await acme.post("/v1/databases", {"name": "data", "type": "redis"})).json
    path = f"/v1/databases/{database['id']}"
    told = [await acme.get(f"{path}/connection-string", **KEY) for _ in range(2)]
    assert told[1].position > told[0].position
    before = slow.position
    assert (await acme.ask("HEAD", f"{path}/connection-string")).status == 200
    assert slow.position == before


async def test_another_path_method_or_tenant_makes_it_another_command(site: Site, acme: Tenant) -> None:
    other = await site.register()
    service = await acme.post("/v1/services", {"name": "web"}, **KEY)
    assert (await other.post("/v1/services", {"name": "web"}, **KEY)).json["id"] != service.json["id"]
    path = f"/v1/services/{service.json['id']}"
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
    first = await slow.anybody.post(
        "/v1/tenants/register", wanted, X_Bootstrap_Token="any that an older client has", **KEY
    )
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
