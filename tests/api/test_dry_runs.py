"""A dry run says what the real command would do, does nothing, and decides as the real one does."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ahplat.api.frames import public
from events.catalog import decode
from events.log import head, read_all
from projections.views import digests
from tests.api.every_command import COMMANDS, NO_COMMAND, asked
from tests.api.every_command import slow as slow
from tests.api.site import Answer, Client, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOSE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


async def dry(client: Client, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    return await client.ask(method, f"{path}{'&' if '?' in path else '?'}dry_run=true", body, headers=headers)


def facts(site: Site, after: int) -> list[tuple[str, Any]]:
    """What requests, and not effects, appended after a position, as a client sees it."""
    recorded = [at for at in read_all(site.app.log, after, 1_000) if at.decoded_meta().actor != "system"]
    return [(at.type, without_chance(public(at, decode(at.type, at.data)).data)) for at in recorded]


def planned(plan: Any) -> list[tuple[str, Any]]:
    return [(one["type"], without_chance(one["data"])) for one in plan["events"]]


def without_chance(data: Any) -> Any:
    """The same without ids, and without times but whether there is one."""
    text = re.sub(r"[0-9a-f]{32}", "an id", json.dumps(data))
    return json.loads(re.sub(r'("\w+_(?:us|at)": )\d+', r"\1 0", text))


async def test_of_every_command_the_plan_is_what_it_does(slow: Site) -> None:
    acme = await slow.register()
    requests = await asked(slow, acme)
    assert set(requests) == {f"{route.method} {route.path}" for route in COMMANDS if route.path not in NO_COMMAND}
    for name, (client, method, path, body) in requests.items():
        before, plan, real = await planned_and_done(slow, client, method, path, body)
        assert (plan.status, plan.json["dry_run"]) == (200, True), (name, plan.body)
        assert "Event-Position" not in plan.headers
        assert 200 <= real.status < 300, (name, real.body)
        assert planned(plan.json) == facts(slow, before), name


async def planned_and_done(site: Site, client: Client, method: str, path: str, body: Any) -> tuple[int, Answer, Answer]:
    """Where the log ended, a plan, and the real command that goes by it: planned anew where an effect came between."""
    for _ in range(100):
        plan = await dry(client, method, path, body)
        before = head(site.app.log)
        tag = plan.headers.get("ETag")
        real = await client.ask(method, path, body, headers={"If-Match": tag} if tag else {})
        if real.status != 412:
            break
    return before, plan, real


async def test_nothing_is_appended_and_the_views_stay(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}"
    await site.settled()
    before, seen = head(site.app.log), digests(site.app.views)
    for method, where, body in (
        ("POST", "/v1/services", {"name": "another", "image": "web:1"}),
        ("POST", "/v1/auth/keys", {"name": "ci"}),
        ("POST", f"{path}/deploy", {"image": "web:1"}),
        ("DELETE", path, None),
        ("DELETE", "/v1/tenant", None),
    ):
        assert (await dry(acme, method, where, body)).status == 200
    assert (head(site.app.log), digests(site.app.views)) == (before, seen)
    assert (await acme.get("/v1/services")).json == [service]
    assert (await acme.delete(path)).position == before + 1


async def test_a_plan_holds_until_the_resource_changes(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    path = f"/v1/services/{service['id']}"
    plan = await dry(acme, "DELETE", path)
    assert plan.headers["ETag"] == plan.json["etag"]
    assert plan.json["version"] == 1
    await acme.patch(path, {"memory_mb": 64})
    assert (await acme.delete(path, If_Match=plan.json["etag"])).status == 412
    assert (await dry(acme, "DELETE", path, **{"If-Match": plan.json["etag"]})).status == 412
    plan = await dry(acme, "DELETE", path)
    assert (await acme.delete(path, If_Match=plan.json["etag"])).status == 204


async def test_what_would_be_gone_is_named_with_what_goes_with_it(site: Site, acme: Tenant) -> None:
    service = await acme.running("web", image="web:1", env={"A": "1"})
    path = f"/v1/services/{service['id']}"
    await acme.post(f"{path}/domains", {"domain": "web.example"})
    gone = (await dry(acme, "DELETE", path)).json["destroys"]
    assert [(one["resource_type"], one.get("name"), one.get("parent_id")) for one in gone] == [
        ("service", "web", None),
        ("variable", "A", service["id"]),
        ("domain", "web.example", service["id"]),
    ]
    assert [one["name"] for one in (await dry(acme, "DELETE", f"{path}/env/A")).json["destroys"]] == ["A"]
    assert (await dry(acme, "POST", f"{path}/stop")).json["destroys"] == []
    [tenant, key] = sorted(one["resource_type"] for one in (await dry(acme, "DELETE", "/v1/tenant")).json["destroys"])[
        ::-1
    ]
    assert (tenant, key) == ("tenant", "key")


async def test_an_erasure_takes_everything(site: Site) -> None:
    tenant = await site.register("to be erased")
    await tenant.service("web", image="", env={"A": "1"})
    plan = await dry(site.operator, "DELETE", f"/v1/tenants/{tenant.id}/data", {"confirm": "to be erased"})
    assert {one["resource_type"] for one in plan.json["destroys"]} == {"tenant", "key", "service", "variable"}


async def test_the_quota_is_the_one_after_it(site: Site, acme: Tenant) -> None:
    plan = await dry(acme, "POST", "/v1/services", {"name": "web", "image": "web:1", "memory_mb": 300})
    assert (plan.json["quota"]["services"]["used"], plan.json["quota"]["used_memory_mb"]) == (1, 300)
    assert "etag" not in plan.json
    assert (await acme.get("/v1/tenant/usage")).json["services"]["used"] == 0


async def test_no_secret_is_in_a_plan(site: Site, acme: Tenant) -> None:
    plan = await dry(acme, "POST", "/v1/services", {"name": "web", "env": {"TOKEN": "plain-s3cret"}})
    assert b"plain-s3cret" not in plan.body
    [created, _] = (await dry(acme, "POST", "/v1/services", {"name": "web", "env": {"T": "1"}})).json["events"]
    assert created["type"] == "service.created"
    key = await dry(acme, "POST", "/v1/auth/keys", {"name": "ci"})
    assert b'"api_key"' not in key.body and b"digest" not in key.body


async def test_a_registration_that_was_rehearsed_leaves_no_key(site: Site) -> None:
    def held() -> int:
        return int(site.app.keyring._db.execute("SELECT count(*) FROM tenant_key").get)

    before = held()
    body = {"name": "maybe", "email": "maybe@example.org"}
    assert (await dry(site.operator, "POST", "/v1/tenants/register", body)).status == 200
    assert held() == before
    assert (await site.operator.post("/v1/tenants/register", body)).status == 201


async def test_a_key_is_not_used_up_by_a_dry_run(site: Site, acme: Tenant) -> None:
    for _ in range(2):
        plan = await dry(acme, "POST", "/v1/services", {"name": "web"}, **{"Idempotency-Key": "one"})
        assert (plan.status, plan.headers.get("Idempotency-Replayed")) == (200, None)
    assert (await acme.post("/v1/services", {"name": "web"}, Idempotency_Key="one")).status == 201
    again = await dry(acme, "POST", "/v1/services", {"name": "web"}, **{"Idempotency-Key": "one"})
    assert (again.status, again.json["events"]) == (200, [])  # as the real one, which is not done again
    other = await dry(acme, "POST", "/v1/services", {"name": "shop"}, **{"Idempotency-Key": "one"})
    assert other.code == "idempotency_mismatch"
    assert (await dry(acme, "POST", "/v1/services", {"name": "web"})).code == "name_taken"


@pytest.mark.parametrize(
    "query", ["dry_run=false&dry_run=true", "dry_run=true&dry_run=true", "dryrun=true", "Dry-Run=1"]
)
async def test_what_may_have_been_meant_as_a_dry_run_is_not_done(site: Site, acme: Tenant, query: str) -> None:
    before = site.position
    answer = await acme.post(f"/v1/services?{query}", {"name": "web"})
    assert (answer.code, site.position) == ("validation_failed", before)


async def test_what_has_no_dry_run_says_so_and_does_nothing(site: Site, acme: Tenant) -> None:
    before = site.position
    assert (
        await acme.post("/mcp?dry_run=true", {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    ).code == "validation_failed"
    assert site.position == before


async def test_a_parameter_that_is_not_known_is_refused_where_that_is_asked_for(site: Site, acme: Tenant) -> None:
    assert (
        await acme.post("/v1/services?dry_rum=true", {"name": "web"}, Prefer="handling=strict")
    ).code == "unknown_field"
    assert (await acme.get("/v1/services?statsu=x", Prefer="handling=strict")).code == "unknown_field"
    assert (await acme.get("/v1/services?status=running&min_position=1", Prefer="handling=strict")).status == 200


async def test_an_exec_is_planned_and_not_run(slow: Site) -> None:
    acme = await slow.register()
    service = await acme.running(image="web:1")
    path = f"/v1/services/{service['id']}/exec"
    plan = await dry(acme, "POST", path, {"command": ["true"]})
    assert [one["type"] for one in plan.json["events"]] == ["exec.started"]
    assert [method for method, _ in slow.engine.calls if method == "exec"] == []


async def test_a_collection_that_is_rehearsed_is_the_list(site: Site) -> None:
    told = await dry(site.operator, "POST", "/v1/system/garbage/collect")
    assert told.json == (await site.operator.get("/v1/system/garbage")).json


@pytest.mark.parametrize("text", ["maybe", "", "TRUE"])
async def test_what_is_neither_true_nor_false_does_nothing(site: Site, acme: Tenant, text: str) -> None:
    answer = await acme.post(f"/v1/services?dry_run={text}", {"name": "web"})
    assert (answer.status, answer.pointers) == (400, ["/query/dry_run"])
    assert (await acme.get("/v1/services")).json == []


async def test_a_parameter_that_is_written_otherwise_is_the_same(site: Site, acme: Tenant) -> None:
    assert (await acme.post("/v1/services?dry%5Frun=1", {"name": "web"})).json["dry_run"] is True
    assert (await acme.get("/v1/services")).json == []


async def test_a_dry_run_wants_the_scope_of_the_real_one(site: Site, acme: Tenant) -> None:
    reader = await site.another_key(acme, scopes=["read"])
    assert (await dry(reader, "POST", "/v1/services", {"name": "web"})).code == "forbidden_scope"


# dry and real agree, whatever the state

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.tuples(
    st.sampled_from(
        ["create", "create", "patch", "env", "unset", "deploy", "stop", "start", "restart", "rollback", "delete", "key"]
    ),
    NAMES,
    st.sampled_from([64, 900, 5_000]),
)


def request(step: tuple[str, str, int], ids: dict[str, str]) -> tuple[str, str, Any]:
    """Method, path and body of one step; of a service that is not there, the path that it would have."""
    kind, name, memory_mb = step
    path = f"/v1/services/{ids.get(name, '0' * 32)}"
    return {
        "create": ("POST", "/v1/services", {"name": name, "image": "web:1", "memory_mb": memory_mb, "port": 0}),
        "patch": ("PATCH", path, {"memory_mb": memory_mb}),
        "env": ("POST", f"{path}/env", {name.upper(): "1", "B": "2"}),
        "unset": ("DELETE", f"{path}/env/B", None),
        "deploy": ("POST", f"{path}/deploy", {"image": f"web:{memory_mb}"}),
        "stop": ("POST", f"{path}/stop", None),
        "start": ("POST", f"{path}/start", None),
        "restart": ("POST", f"{path}/restart", None),
        "rollback": ("POST", f"{path}/rollback", {}),
        "delete": ("DELETE", path, None),
        "key": ("POST", "/v1/auth/keys", {"name": name}),
    }[kind]


async def agree(site: Site, steps: list[tuple[str, str, int]]) -> None:
    tenant = await site.register()
    await site.operator.patch(f"/v1/tenants/{tenant.id}/quotas", {"max_services": 2, "max_memory_mb": 2_000})
    ids: dict[str, str] = {}
    for step in steps:
        method, path, body = request(step, ids)
        await site.settled()  # between the two, effects would move the world
        told = await dry(tenant, method, path, body)
        before = head(site.app.log)
        real = await tenant.ask(method, path, body)
        if told.status != 200:
            assert (told.status, told.code) == (real.status, real.code), (step, real.body)
            continue
        assert 200 <= real.status < 300, (step, real.body)
        assert planned(told.json) == facts(site, before), step
        assert told.json["version"] + len(told.json["events"]) >= 1
        if step[0] == "create":
            ids[step[1]] = real.json["id"]


@settings(max_examples=12, deadline=None, suppress_health_check=LOOSE)
@given(steps=st.lists(STEPS, min_size=3, max_size=8))
async def test_dry_and_real_agree(site: Site, steps: list[tuple[str, str, int]]) -> None:
    await agree(site, steps)


@pytest.mark.embedded
@settings(max_examples=150, deadline=None, suppress_health_check=LOOSE)
@given(steps=st.lists(STEPS, min_size=5, max_size=20))
async def test_dry_and_real_agree_in_many_states(site: Site, steps: list[tuple[str, str, int]]) -> None:
    await agree(site, steps)


@pytest.mark.parametrize("field", ["Idempotency-Key", "X-Agent-Name", "X-Agent-Run", "If-Match"])
async def test_a_dry_run_refuses_a_field_that_the_real_one_refuses(site: Site, acme: Tenant, field: str) -> None:
    service = await acme.service()
    for query in ("?dry_run=true", ""):
        sent = {field: "not a ä name"}
        answer = await acme.ask("POST", f"/v1/services/{service['id']}/stop{query}", headers=sent)
        assert answer.code == ("precondition_failed" if field == "If-Match" else "validation_failed"), query
