"""Undo: what compensates is an ordinary command, made of what was before; else why not, and what to do instead."""

from collections import Counter
from typing import Any

import pytest

from ahplat.api.codes import codes_of
from ahplat.api.routes import ROUTES
from ahplat.errors import Rejected
from tests.api.answering import answering, with_databases
from tests.api.every_command import asked
from tests.api.every_command import slow as slow
from tests.api.site import Answer, Client, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def undo(client: Client, position: int, query: str = "", **headers: str) -> Answer:
    return await client.post(f"/v1/events/{position}/undo{query}", **headers)


async def values(tenant: Tenant, path: str) -> dict[str, str]:
    return dict((await tenant.get(f"{path}/env?reveal=true")).json)


async def events_at(tenant: Tenant, first: int, last: int) -> list[dict[str, Any]]:
    return [(await tenant.get(f"/v1/events/{position}")).json for position in range(first, last + 1)]


async def idle(tenant: Tenant, **settings: Any) -> str:
    """The path of a service that waits for its first build: nothing of it runs."""
    return f"/v1/services/{(await tenant.service(image='', **settings))['id']}"


async def test_variables_get_the_values_of_before_and_new_ones_go(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    await acme.post(f"{path}/env", {"A": "old", "B": "stays"})
    changed = await acme.post(f"{path}/env", {"A": "new", "C": "more"})
    await acme.post(f"{path}/env", {"D": "later"})
    undone = await undo(acme, changed.position)
    assert undone.status == 200, undone.body
    assert undone.json["position"] == changed.position and undone.json["command"] == "PutEnvBack"
    assert undone.json["undoes"] == {
        "name": "SetEnv",
        "first_position": changed.position,
        "last_position": changed.position,
    }
    assert await values(acme, path) == {"A": "old", "B": "stays", "D": "later"}
    assert b"old" not in undone.body
    again = await undo(acme, undone.position)
    assert again.status == 200
    assert await values(acme, path) == {"A": "new", "B": "stays", "C": "more", "D": "later"}


async def test_a_variable_that_was_taken_away_comes_back(site: Site, acme: Tenant) -> None:
    path = await idle(acme, env={"A": "1", "B": "2"})
    gone = await acme.delete(f"{path}/env/A")
    assert (await undo(acme, gone.position)).status == 200
    assert await values(acme, path) == {"A": "1", "B": "2"}


async def test_its_events_name_the_one_that_was_undone_as_their_cause(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    changed = await acme.patch(path, {"memory_mb": 64})
    undone = await undo(acme, changed.position)
    [event] = await events_at(acme, undone.position, undone.position)
    assert (event["type"], event["cause"]) == ("service.configured", changed.position)
    why = (await acme.get(f"/v1/events/{changed.position}/why")).json
    assert [one["position"] for one in why["event"]["effects"]] == [undone.position]
    assert [one["position"] for one in (await acme.get(f"/v1/events/{undone.position}/why")).json["causes"]] == [
        changed.position
    ]


async def test_settings_are_again_what_they_were_and_only_those_that_were_changed(site: Site, acme: Tenant) -> None:
    path = await idle(acme, memory_mb=128, volumes={"data": "/data"})
    changed = await acme.patch(path, {"memory_mb": 64, "volumes": {}, "name": "other"})
    await acme.patch(path, {"port": 9000})
    before = (await acme.get(path)).json
    assert "volumes" not in before
    assert (await undo(acme, changed.position)).status == 200
    after = (await acme.get(path)).json
    assert (after["memory_mb"], after["volumes"], after["port"]) == (128, {"data": "/data"}, 9000)
    assert after["name"] != "other" and after["dns_label"] != "other"


async def test_what_the_platform_had_a_say_in_is_told_to_be_set(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    changed = await acme.patch(path, {"drain_s": 3})
    refused = await undo(acme, changed.position)
    assert (refused.status, refused.code) == (409, "undo_impossible")
    assert "PATCH the service's drain_s" in refused.problem["detail"]


async def test_a_deployment_gives_way_to_what_served_before(site: Site, acme: Tenant) -> None:
    service = await acme.running(env={"A": "1"})
    path = f"/v1/services/{service['id']}"
    before = service["deployment_id"]
    await acme.post(f"{path}/deploy", {"image": "web:2"}, Prefer="wait=5")
    deployed = (await acme.get("/v1/events?type=service.deploy_requested", Accept="application/json")).json
    newest = max(event["position"] for event in deployed)
    undone = await undo(acme, newest, Prefer="wait=5")
    assert undone.json["command"] == "RollBack"
    now = (await acme.get(path)).json
    assert (now["image"], now["status"], now["image_digest"]) == ("web:1", "running", service["image_digest"])
    assert now["deployment_id"] != before
    await site.settled()
    back = await undo(acme, undone.position, Prefer="wait=5")
    assert back.status == 200, back.body
    assert (await acme.get(path)).json["image"] == "web:2"


async def test_a_deployment_that_failed_has_nothing_to_undo_and_keeps_nothing_older_from_it(
    site: Site, acme: Tenant
) -> None:
    service = await acme.running()
    path = f"/v1/services/{service['id']}"
    second = await acme.post(f"{path}/deploy", {"image": "web:2"}, Prefer="wait=5")
    deployed = await acme.post(f"{path}/deploy", {"image": "broken:latest"}, Prefer="wait=5")
    await site.settled()
    refused = await undo(acme, deployed.position)
    assert refused.code == "undo_impossible"
    assert "came to nothing" in refused.problem["detail"]
    assert (await undo(acme, second.position, Prefer="wait=5")).status == 200
    assert (await acme.get(path)).json["image"] == "web:1"


async def test_what_a_failed_deployment_came_with_is_undone_with_it(site: Site, acme: Tenant) -> None:
    service = await acme.running(env={"A": "1"})
    path = f"/v1/services/{service['id']}"
    await acme.post(f"{path}/deploy", {"image": "web:2"}, Prefer="wait=5")
    await acme.post(f"{path}/env", {"A": "2"})
    await acme.post(f"{path}/restart", Prefer="wait=5")
    site.engine.fail("find_or_start", Rejected("image_unusable", "no"))
    back = await acme.post(f"{path}/rollback", {"deployment_id": service["deployment_id"]}, Prefer="wait=5")
    await site.settled()
    assert (await acme.get(path)).json["last_error"]
    assert await values(acme, path) == {"A": "1"}
    assert (await undo(acme, back.position, Prefer="wait=5")).status == 200
    assert await values(acme, path) == {"A": "2"}


async def test_the_first_deployment_has_nothing_before_it(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    deployed = await acme.post(f"{path}/deploy", {"image": "web:1"}, Prefer="wait=5")
    await site.settled()
    assert (await undo(acme, deployed.position)).code == "undo_impossible"


async def test_a_stop_is_undone_by_a_start_and_that_by_a_stop(site: Site, acme: Tenant) -> None:
    path = f"/v1/services/{(await acme.running())['id']}"
    stopped = await acme.post(f"{path}/stop", Prefer="wait=5")
    started = await undo(acme, stopped.position, Prefer="wait=5")
    assert (started.json["command"], (await acme.get(path)).json["status"]) == ("StartService", "running")
    await site.settled()
    again = await undo(acme, started.position, Prefer="wait=5")
    assert (again.json["command"], (await acme.get(path)).json["status"]) == ("StopService", "stopped")


async def test_a_name_that_was_added_is_removed(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    added = await acme.post(f"{path}/domains", {"domain": "undo.example"})
    assert (await undo(acme, added.position)).json["command"] == "RemoveDomain"
    assert (await acme.get(f"{path}/domains")).json == []
    removed = await acme.post(f"{path}/domains", {"domain": "undo.example"})
    gone = await acme.delete(f"{path}/domains/undo.example")
    assert (await undo(acme, removed.position)).problem["moved_by"] == gone.position
    assert (await undo(acme, gone.position)).code == "undo_impossible"


async def test_a_database_that_was_deleted_comes_back_while_it_is_kept(site: Site, acme: Tenant) -> None:
    with answering():
        with_databases(site, "u_one")
        made = await acme.post("/v1/databases", {"name": "one", "type": "redis"}, Prefer="wait=5")
        path = f"/v1/databases/{made.json['id']}"
        deleted = await acme.delete(path)
        undone = await undo(acme, deleted.position, Prefer="wait=5")
        assert undone.json["command"] == "UndeleteDatabase"
        assert (await acme.get(path)).json["status"] == "running"
        await site.settled()
        again = await undo(acme, undone.position)
        assert again.json["command"] == "DeleteDatabase"
        assert "purged_at" in (await acme.get(path)).json
        for_good = await acme.delete(f"{path}?purge=true")
        assert (await undo(acme, again.position)).problem["moved_by"] >= for_good.position


async def test_a_service_that_was_made_is_deleted_while_nobody_used_it(site: Site, acme: Tenant) -> None:
    one = await acme.post("/v1/services", {"name": "one", "env": {"A": "1"}})
    other = await acme.post("/v1/services", {"name": "other"})
    changed = await acme.patch(other.headers["Location"], {"memory_mb": 64})
    plan = await undo(acme, one.position, "?dry_run=true")
    assert [thing["resource_type"] for thing in plan.json["destroys"]] == ["service", "variable"]
    assert (await undo(acme, one.position)).json["command"] == "DeleteService"
    assert (await acme.get(one.headers["Location"])).code == "service_not_found"
    assert (await undo(acme, other.position)).problem["moved_by"] == changed.position


async def test_what_was_changed_since_is_left_alone_and_the_change_is_named(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    first = await acme.post(f"{path}/env", {"A": "1", "B": "1"})
    patched = await acme.patch(path, {"memory_mb": 64})
    other = await acme.post(f"{path}/env", {"B": "2"})
    later = await acme.patch(path, {"memory_mb": 65})
    before = site.position
    wanted = ((first.position, other.position), (patched.position, later.position))
    for position, moved_by in wanted:
        refused = await undo(acme, position)
        assert (refused.status, refused.code, refused.problem["moved_by"]) == (409, "undo_stale", moved_by)
        assert str(moved_by) in refused.problem["detail"]
    assert site.position == before
    assert (await undo(acme, other.position)).status == 200
    again = await undo(acme, other.position)
    assert again.code == "undo_stale" and "undid it" in again.problem["detail"]


async def test_from_the_newest_on_all_is_undone_and_what_moved_is_named_on_the_way(site: Site, acme: Tenant) -> None:
    path = await idle(acme, env={"A": "0"})
    seen = ["0", "1", "2", "3"]
    changes = [(await acme.post(f"{path}/env", {"A": value})).position for value in seen[1:]]
    for value in seen[-2::-1]:
        if len(changes) > 1:
            assert (await undo(acme, changes[0])).problem["moved_by"] == changes[-1]
        assert (await undo(acme, changes.pop())).status == 200
        assert await values(acme, path) == {"A": value}


async def test_what_an_undo_was_undone_of_holds_again(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    first = await acme.patch(path, {"memory_mb": 64})
    second = await acme.patch(path, {"memory_mb": 65})
    undone = await undo(acme, second.position)
    again = await undo(acme, undone.position)
    refused = await undo(acme, first.position)
    assert refused.problem["moved_by"] == second.position
    assert (await undo(acme, undone.position)).problem["moved_by"] == again.position
    for position in (second.position, first.position):  # as often as one likes
        assert (await undo(acme, position)).status == 200
    assert (await acme.get(path)).json["memory_mb"] == 512


async def test_what_changes_while_an_undo_is_made_is_not_lost(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await idle(acme, env={"A": "0"})
    changed = await acme.post(f"{path}/env", {"A": "1"})
    read, between = site.app.history.read, iter([{"B": "2"}, {"A": "3"}])

    async def read_late(*arguments: Any) -> Any:
        found = await read(*arguments)
        if newer := next(between, None):
            await acme.post(f"{path}/env", newer)
        return found

    monkeypatch.setattr(site.app.history, "read", read_late)
    assert (await undo(acme, changed.position)).code == "undo_stale"
    assert await values(acme, path) == {"A": "3", "B": "2"}


async def test_what_nothing_undoes_says_why_and_what_to_do(site: Site, acme: Tenant) -> None:
    key = await site.another_key(acme)
    revoked = await acme.delete(f"/v1/auth/keys/{key.key.partition('.')[0]}")
    path = await idle(acme)
    deleted = await acme.delete(path)
    registered = (await acme.get("/v1/events?type=tenant.registered", Accept="application/json")).json[0]
    for position, told in (
        (revoked.position, "create a new one"),
        (deleted.position, "create it again"),
        (registered["position"], "suspends it"),
        (registered["position"] + 1, "suspends it"),  # the key that came with it
    ):
        refused = await undo(acme, position)
        assert (refused.status, refused.code) == (409, "undo_impossible")
        assert told in refused.problem["detail"]


async def test_what_effects_found_points_to_the_request(site: Site, acme: Tenant) -> None:
    await acme.running()
    routed = (await acme.get("/v1/events?type=service.routed", Accept="application/json")).json[0]
    refused = await undo(acme, routed["position"])
    assert refused.code == "undo_impossible" and "undo the request" in refused.problem["detail"]


async def test_an_undo_wants_the_scope_of_what_it_does(site: Site, acme: Tenant) -> None:
    made = await acme.post("/v1/auth/keys", {"name": "ci"})
    renamed = await acme.patch("/v1/tenant", {"name": "renamed"})
    quotas = await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"max_services": 9})
    deployer = await site.another_key(acme, scopes=["deploy"])
    for position in (made.position, renamed.position):
        assert (await undo(deployer, position)).code == "forbidden_scope"
        assert (await undo(acme, position)).status == 200
    assert (await acme.get("/v1/tenant")).json["name"] != "renamed"
    assert (await undo(acme, quotas.position)).code == "operator_only"
    assert (await undo(site.operator, quotas.position)).json["command"] == "SetQuotas"
    assert (await acme.get("/v1/tenant/usage")).json["services"]["max"] == 5
    reader = await site.another_key(acme, scopes=["read"])
    assert (await undo(reader, made.position)).code == "forbidden_scope"


async def test_another_tenants_event_is_not_there_and_the_operator_may(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    changed = await acme.patch(path, {"memory_mb": 64})
    stranger = await site.register()
    assert (await undo(stranger, changed.position)).code == "event_not_found"
    assert (await undo(acme, site.position + 1)).code == "event_not_found"
    undone = await undo(site.socket, changed.position)
    assert (undone.status, (await acme.get(path)).json["memory_mb"]) == (200, 512)
    [event] = await events_at(acme, undone.position, undone.position)
    assert event["actor"] == "operator"


async def test_a_repeat_is_answered_as_the_first_was(site: Site, acme: Tenant) -> None:
    changed = await acme.patch(await idle(acme), {"memory_mb": 64})
    first = await undo(acme, changed.position, Idempotency_Key="once")
    before = site.position
    again = await undo(acme, changed.position, Idempotency_Key="once")
    assert (again.status, again.body, again.position) == (200, first.body, first.position)
    assert (again.headers["Idempotency-Replayed"], site.position) == ("true", before)


async def test_a_plan_holds_until_the_stream_moves(site: Site, acme: Tenant) -> None:
    path = await idle(acme)
    changed = await acme.patch(path, {"memory_mb": 64})
    plan = await undo(acme, changed.position, "?dry_run=true")
    assert [one["type"] for one in plan.json["events"]] == ["service.configured"]
    assert plan.json["events"][0]["data"]["memory_mb"] == 512
    await acme.post(f"{path}/env", {"A": "1"})
    assert (await undo(acme, changed.position, If_Match=plan.json["etag"])).status == 412
    assert (await undo(acme, changed.position, If_Match="*")).status == 200


async def test_at_whatever_position_an_undo_is_planned_or_refused_with_why(slow: Site) -> None:
    acme = await slow.register()
    for client, method, path, body in (await asked(slow, acme)).values():
        await client.ask(method, path, body)
    before, told = slow.position, Counter[str]()
    for position in range(1, before + 1):
        answer = await undo(slow.socket, position, "?dry_run=true")
        code = "planned" if answer.status == 200 else answer.code
        told[code] += 1
        assert code == "planned" or len(answer.problem["detail"]) > 20, answer.body
    assert told["planned"] > 10 and told["undo_impossible"] > 10 and told["undo_stale"] > 10, told
    assert told.keys() <= {route.path: codes_of(route) for route in ROUTES}["/v1/events/{event_position}/undo"] | {
        "planned"
    }
