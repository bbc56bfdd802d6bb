"""What an agent is given, and what is known of it: scopes, keys for one service, and who it says that it is."""

import pytest

from ahplat.api.route import Route
from ahplat.api.routes import ROUTES
from events.log import read_all
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYED = [route for route in ROUTES if route.auth in ("key", "key_or_operator")]
NOBODY = "0" * 32
RANK = ("read", "deploy", "admin")


def path_of(route: Route, service_id: str) -> str:
    """A path of the route, about a service, and else about nothing that there is."""
    values = dict.fromkeys(route.segments, NOBODY) | {"service_id": service_id}
    return route.path.format(**values)


@pytest.mark.parametrize("scope", RANK)
async def test_every_route_asks_for_its_scope(site: Site, acme: Tenant, scope: str) -> None:
    key = await site.another_key(acme, scopes=[scope])
    for route in KEYED:
        wanted = RANK.index(route.scope)
        if wanted > RANK.index(scope):
            answer = await key.ask(route.method, path_of(route, NOBODY))
            assert (answer.status, answer.code) == (403, "forbidden_scope"), (route.method, route.path)


async def test_a_key_for_one_service_opens_that_and_no_other(site: Site, acme: Tenant) -> None:
    mine, other = await acme.service("mine", image=""), await acme.service("other", image="")
    key = await site.another_key(acme, service_id=mine["id"])
    for route in KEYED:
        answer = await key.ask(route.method, path_of(route, other["id"]))
        if not route.narrow:
            assert (answer.status, answer.code) == (403, "forbidden_scope"), (route.method, route.path)
            assert mine["id"] in answer.problem["detail"]
    assert (await acme.get(f"/v1/services/{other['id']}")).json["name"] == "other"
    path = f"/v1/services/{mine['id']}"
    assert (await key.post(f"{path}/env", {"A": "1"})).status == 200
    assert (await key.get(path)).json["env_keys"] == ["A"]
    assert [one["name"] for one in (await key.get("/v1/services")).json] == ["mine"]
    assert [one["name"] for one in (await key.get("/v1/services?limit=1")).json] == ["mine"]
    for query in ("status=running", "offset=1", "limit=1&offset=5"):
        assert (await key.get(f"/v1/services?{query}")).json == [], query
    assert {one["name"] for one in (await acme.get("/v1/services")).json} == {"mine", "other"}
    told = (await key.get("/v1/whoami")).json
    assert told["key"]["service_id"] == mine["id"]
    assert (await key.delete(path)).status == 204
    assert (await key.get("/v1/services")).json == []


async def test_a_key_for_one_service_with_a_scope_has_both_limits(site: Site, acme: Tenant) -> None:
    mine = await acme.service(image="")
    key = await site.another_key(acme, service_id=mine["id"], scopes=["read"])
    assert (await key.get(f"/v1/services/{mine['id']}")).status == 200
    assert (await key.delete(f"/v1/services/{mine['id']}")).code == "forbidden_scope"


async def test_a_key_is_for_a_service_that_there_is(site: Site, acme: Tenant) -> None:
    theirs = await (await site.register()).service(image="")
    for service_id in (NOBODY, theirs["id"]):
        answer = await acme.post("/v1/auth/keys", {"service_id": service_id})
        assert (answer.status, answer.code) == (404, "service_not_found")
    assert (await acme.post("/v1/auth/keys", {"service_id": "web"})).pointers == ["/service_id"]


async def test_who_an_agent_says_that_it_is_stands_in_every_event_and_line(site: Site, acme: Tenant) -> None:
    me = {"X_Agent_Name": "deployer/1.2", "X_Agent_Run": "run-7"}
    made = await acme.post("/v1/services", {"name": "web", "env": {"A": "1"}}, **me)
    recorded = [at.decoded_meta() for at in read_all(site.app.log, made.position - 2, 2)]
    assert [(meta.agent, meta.run) for meta in recorded] == [("deployer/1.2", "run-7")] * 2
    events = (await acme.get("/v1/events?after=0&limit=200", Accept="application/json")).json
    assert (events[-1]["agent"], events[-1]["run"]) == ("deployer/1.2", "run-7")
    lines = (await acme.get("/v1/activity")).json
    assert (lines[0]["agent"], lines[0]["run"]) == ("deployer/1.2", "run-7")
    assert "agent" not in lines[-1]
    await acme.get("/v1/services", **me)


async def test_what_a_command_sets_in_motion_is_told_with_who_began_it(site: Site, acme: Tenant) -> None:
    service = await acme.running()
    me = {"X_Agent_Name": "deployer", "X_Agent_Run": "run-8"}
    before = site.position
    await acme.post(f"/v1/services/{service['id']}/restart", Prefer="wait=5", **me)
    await site.settled()
    await acme.post(f"/v1/services/{service['id']}/exec", {"command": ["true"]}, **me)
    recorded = [at for at in read_all(site.app.log, before, 1_000) if at.tenant == acme.id]
    assert {"service.instance_healthy", "service.drained", "exec.ended"} <= {at.type for at in recorded}
    recorded = [at for at in recorded if at.type != "usage.measured"]  # which nobody asked for
    assert {
        at.type for at in recorded if (at.decoded_meta().agent, at.decoded_meta().run) != ("deployer", "run-8")
    } == set()


@pytest.mark.parametrize("junk", ["", "a b", "ä", "x" * 65, "me@example.org", "a\tb"])
async def test_a_name_that_is_no_identifier_changes_nothing(site: Site, acme: Tenant, junk: str) -> None:
    for field in ("X-Agent-Name", "X-Agent-Run"):
        answer = await acme.ask("POST", "/v1/services", {"name": "web"}, headers={field: junk})
        assert (answer.status, answer.pointers) == (400, [f"/header/{field}"])
    assert (await acme.get("/v1/services")).json == []
