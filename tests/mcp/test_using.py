"""What tools do and give: what their routes do, in an object that the output schema describes, or a problem with a remedy."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ahplat import limits
from ahplat.api.inside import Answered
from ahplat.mcp.toolbox import deploying
from tests.api.answering import answering, with_databases
from tests.api.site import Site, Tenant
from tests.mcp.speaking import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_deploy_returns_a_handle_at_once(acme: Tenant) -> None:
    agent = Agent(acme)
    service = await agent.done("create_service", name="handled", image="web:1", port=0)
    assert service["status"] == "deploying" and service["service_id"] == service["id"]
    known = await acme.get(f"/v1/services/{service['id']}/deployments")
    assert [one["id"] for one in known.json] == [service["deployment_id"]]
    assert service["event_position"] >= 1
    assert service["next"] == {
        "tool": "get_deployment",
        "arguments": {
            "service_id": service["id"],
            "deployment_id": service["deployment_id"],
            "wait": "running",
            "timeout": 60,
        },
    }


async def test_the_call_that_next_names_tells_how_it_went(acme: Tenant) -> None:
    agent = Agent(acme)
    begun = await agent.done("create_service", name="followed", image="web:1", port=0)
    found = await agent.done(begun["next"]["tool"], **begun["next"]["arguments"])
    assert (found["id"], found["status"]) == (begun["deployment_id"], "running")


async def test_a_wait_for_a_deployment_that_fails_ends_with_it(acme: Tenant) -> None:
    agent = Agent(acme)
    begun = await agent.done("create_service", name="breaking", image="broken:latest", port=0)
    found = await asyncio.wait_for(agent.done(begun["next"]["tool"], **begun["next"]["arguments"]), 10)
    assert found["status"] == "failed" and found["error_message"]


async def test_arguments_may_be_as_large_as_a_body(acme: Tenant) -> None:
    agent = Agent(acme)
    service = await acme.service(image="")
    values = {f"V{number}": "x" * 20_000 for number in range(10)}
    await agent.done("set_env", service_id=service["id"], values=values)
    assert (await acme.get(f"/v1/services/{service['id']}")).json["env_keys"] == sorted(values)


async def test_whose_scope_does_not_do_is_told_so_and_not_asked_to_confirm(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    agent = Agent(await site.another_key(acme, scopes=["read"]))
    assert (await agent.refused("delete_service", service_id=service["id"], confirm="x"))["code"] == "forbidden_scope"


@pytest.mark.parametrize("wait", ["5", "5, handling=lenient", 1.5, True, []])
async def test_seconds_to_wait_are_a_number(acme: Tenant, wait: object) -> None:
    refused = await Agent(acme).refused("create_service", name="web", image="web:1", wait_s=wait)
    assert refused["violations"][0]["pointer"] == "/wait_s"


async def test_a_number_without_a_fraction_is_an_integer(acme: Tenant) -> None:
    made = await Agent(acme).done("create_service", name="web", image="", memory_mb=512.0, cpu_count=1.5, wait_s=0.0)
    assert (made["memory_mb"], made["cpu_count"]) == (512, 1.5)


async def test_what_is_left_is_told_here_too(guarded: Site) -> None:
    acme = await guarded.register()
    assert (await Agent(acme).done("get_whoami"))["limits_left"]


async def test_what_begins_a_deployment_names_it(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    service = await acme.running()
    for tool, more in (("deploy_service", {"image": "web:2"}), ("rollback_service", {}), ("restart_service", {})):
        begun = await agent.done(tool, service_id=service["id"], **more)
        newest = (await acme.get(f"/v1/services/{service['id']}/deployments?limit=1")).json[0]
        assert begun["deployment_id"] == newest["id"] == begun["next"]["arguments"]["deployment_id"]
        await site.settled()


async def test_what_begins_none_says_so(acme: Tenant) -> None:
    agent = Agent(acme)
    waiting = await agent.done("create_service", name="unbuilt")
    assert waiting["status"] == "created"
    assert not waiting.keys() & {"deployment_id", "next"}
    running = await acme.running()
    again = await agent.done("start_service", service_id=running["id"])
    assert "next" not in again and again["status"] == "running"


async def test_a_deployment_is_that_of_the_commands_own_last_event(site: Site, acme: Tenant) -> None:
    agent, other = Agent(acme), await acme.service(image="")
    made = await agent.done("create_service", name="own", image="web:1", port=0, wait_s=5)
    await site.settled()
    theirs = await (await site.register()).post("/v1/services", {"name": "theirs"})
    await agent.done("deploy_service", service_id=made["id"])
    call: Any = SimpleNamespace(app=site.app, tenant_id=acme.id)

    def found(service_id: str, position: int) -> dict[str, str]:
        answer = Answered(200, {"Event-Position": str(position)}, b"")
        return deploying(call, {"service_id": service_id}, answer)

    assert found(made["id"], made["event_position"])["deployment_id"] == made["deployment_id"]
    assert found(other["id"], made["event_position"]) == {}
    assert found(made["id"], made["event_position"] - 1) == {}
    assert found(made["id"], theirs.position) == {}


async def test_a_command_may_wait_for_its_end(acme: Tenant) -> None:
    service = await Agent(acme).done("create_service", name="patient", image="web:1", port=0, wait_s=10)
    assert service["status"] == "running"


async def test_a_deploy_survives_the_connection_that_asked_for_it(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    wanted = agent.done("create_service", name="survivor", image="web:1", port=0, wait_s=60)
    asking = asyncio.create_task(wanted)
    await site.app.hub.until_committed(lambda: bool(_named(site, "survivor")), 5)
    asking.cancel()
    await asyncio.wait({asking})
    [service_id] = _named(site, "survivor")
    found = await acme.get(f"/v1/services/{service_id}?wait=running&timeout=10")
    assert found.json["status"] == "running"


def _named(site: Site, name: str) -> list[str]:
    rows = site.app.views.execute("SELECT service_id FROM service WHERE name = ?", (name,))
    return [service_id for (service_id,) in rows]


# what is refused


async def test_a_refusal_is_a_result_with_the_problem_and_what_to_do(acme: Tenant) -> None:
    agent = Agent(acme)
    service = await acme.service(name="taken")
    problem = await agent.refused("create_service", name="taken", image="web:1")
    rest = await acme.post("/v1/services", {"name": "taken", "image": "web:1"})
    assert problem | {"request_id": ""} == rest.problem | {"request_id": ""}
    result = await agent.use("get_service", service_id="0" * 32)
    assert "Tool: list_services" in result["content"][0]["text"] and service


async def test_what_can_succeed_later_says_so(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="pending")
    result = await Agent(acme).use("exec_command", service_id=service["id"], command=["true"], confirm=service["name"])
    assert result["isError"] and result["structuredContent"]["code"] == "not_running"
    site.engine.away = True
    try:
        result = await Agent(acme).use("read_logs", service_id=service["id"])
    finally:
        site.engine.away = False
    assert result["isError"] and "The same call can succeed later" in result["content"][0]["text"]


@pytest.mark.parametrize(
    ("arguments", "code", "pointer"),
    [
        ({"name": "x", "prot": 8000}, "unknown_field", "/prot"),
        ({"image": "web:1"}, "validation_failed", "/name"),
        ({"name": "x", "port": "many"}, "validation_failed", "/port"),
        ({"name": "x", "wait_s": []}, "validation_failed", "/wait_s"),
        ({"name": "x", "idempotency_key": "a\nb"}, "validation_failed", "/header/Idempotency-Key"),
        ({"name": "x", "idempotency_key": ""}, "validation_failed", "/header/Idempotency-Key"),
        ({"name": "x", "dry_run": "true"}, "validation_failed", "/dry_run"),
    ],
)
async def test_an_argument_that_will_not_do_is_pointed_at_and_nothing_is_done(
    acme: Tenant, arguments: dict[str, Any], code: str, pointer: str
) -> None:
    problem = await Agent(acme).refused("create_service", **arguments)
    assert (problem["code"], problem["violations"][0]["pointer"]) == (code, pointer)
    assert (await acme.get("/v1/services")).json == []


async def test_an_argument_that_is_null_counts_as_left_out(acme: Tenant) -> None:
    service = await Agent(acme).done("create_service", name="sparse", image="web:1", port=0, health_path=None, env=None)
    assert service["status"] == "deploying"


@pytest.mark.parametrize("path", ["{id}/env", "{id}?x=y", "{id}#x", "../services/{id}", "..", "%2e%2e", "ü", ""])
async def test_no_argument_leads_to_another_path(acme: Tenant, path: str) -> None:
    service = await acme.service()
    problem = await Agent(acme).refused("get_service", service_id=path.replace("{id}", service["id"]))
    assert problem["code"] in ("service_not_found", "not_found")


# what destroys


async def test_to_delete_a_service_its_name_is_repeated(acme: Tenant) -> None:
    agent = Agent(acme)
    service = await acme.service(name="precious")
    for confirm in ({}, {"confirm": "another"}, {"confirm": ["precious"]}, {"confirm": service["id"]}):
        problem = await agent.refused("delete_service", service_id=service["id"], **confirm)
        assert problem["violations"][0]["pointer"] == "/confirm" and "'precious'" in problem["detail"]
    assert (await acme.get(f"/v1/services/{service['id']}")).status == 200
    done = await agent.done("delete_service", service_id=service["id"], confirm="precious")
    assert done["event_position"] > 0
    assert (await acme.get(f"/v1/services/{service['id']}")).status == 404


async def test_what_is_not_there_is_not_found_whatever_its_name(acme: Tenant) -> None:
    assert (await Agent(acme).refused("delete_service", service_id="0" * 32))["code"] == "service_not_found"


async def test_what_is_anothers_has_no_name_to_tell(site: Site, acme: Tenant) -> None:
    service = await (await site.register()).service(name="theirs")
    problem = await Agent(acme).refused("delete_service", service_id=service["id"], confirm="theirs")
    assert problem["code"] == "service_not_found"


async def test_to_delete_a_database_its_name_is_repeated(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    with_databases(site, "confirmed")
    with answering():
        database = await agent.done("create_database", name="confirmed", type="redis")
        assert (await agent.done(database["next"]["tool"], **database["next"]["arguments"]))["status"] == "running"
        assert (await agent.refused("delete_database", database_id=database["id"]))["code"] == "validation_failed"
        assert await agent.done("delete_database", database_id=database["id"], confirm="confirmed")
        back = await agent.done("undelete_database", database_id=database["id"])
        assert (await agent.done(back["next"]["tool"], **back["next"]["arguments"]))["status"] == "running"


# secrets


async def test_no_secret_is_in_a_result_but_where_rest_has_one(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    service = await agent.done("create_service", name="sealed", image="web:1", port=0, env={"TOKEN": "s3cr3t-value"})
    assert "s3cr3t-value" not in str(service)
    assert await agent.done("get_env", service_id=service["id"]) == {"TOKEN": "********"}
    assert await agent.done("get_env", service_id=service["id"], reveal=True) == {"TOKEN": "s3cr3t-value"}
    for tool in ("read_events", "list_activity", "get_whoami", "list_services"):
        assert "s3cr3t-value" not in str(await agent.use(tool))
    key = await agent.done("create_key", name="helper", scopes=["read"], expires_in=3600)
    assert (await Agent(Tenant(site, acme.id, key["api_key"])).done("get_whoami"))["scopes"] == ["read"]


async def test_a_key_that_may_only_read_does_not_reveal(site: Site, acme: Tenant) -> None:
    service = await acme.service(env={"TOKEN": "s3cr3t-value"})
    reader = Agent(await site.another_key(acme, scopes=["read"]))
    assert (await reader.refused("get_env", service_id=service["id"], reveal=True))["code"] == "forbidden_scope"


# lists and lines


async def test_a_list_goes_on_where_next_says(acme: Tenant) -> None:
    agent = Agent(acme)
    names = [(await acme.service())["name"] for _ in range(3)]
    first = await agent.done("list_services", limit=2)
    second = await agent.done(first["next"]["tool"], **first["next"]["arguments"])
    assert [one["name"] for one in (*first["items"], *second["items"])] == names[::-1]
    assert "next" not in second


async def test_events_go_on_where_next_says_also_when_there_is_nothing_new_yet(acme: Tenant) -> None:
    agent = Agent(acme)
    begun = await agent.done("read_events", after="0", limit=200)
    empty = await agent.done("read_events", **begun["next"]["arguments"])
    assert empty["items"] == []
    service = await acme.service()
    found = await agent.done("read_events", **empty["next"]["arguments"])
    assert found["items"][0]["stream"] == f"service-{service['id']}"


async def test_what_was_then_is_told_and_paged_as_of_then(acme: Tenant) -> None:
    agent = Agent(acme)
    first, second = await acme.service(), await acme.service()
    then = (await agent.done("read_events", limit=1))["items"][0]["position"]
    await agent.done("delete_service", service_id=second["id"], confirm=second["name"])
    found = await agent.done("list_services", limit=1, as_of=str(then))
    rest = await agent.done(found["next"]["tool"], **found["next"]["arguments"])
    assert [one["id"] for one in (*found["items"], *rest["items"])] == [second["id"], first["id"]]
    assert (await agent.done("read_events", as_of=str(then - 1), limit=1))["items"][0]["position"] < then
    problem = await agent.refused("get_service", service_id=first["id"], as_of="yesterday")
    assert problem["violations"][0]["pointer"] == "/query/as_of"


async def test_logs_are_lines_and_go_on_after_the_last_one(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    service = await acme.running()
    site.host.say(service["container_id"], "one", "two")
    first = await agent.done("read_logs", service_id=service["id"], tail=10)
    assert [line["line"] for line in first["lines"]] == ["one", "two"] and "ended" not in first
    site.host.say(service["container_id"], "three")
    then = await agent.done("read_logs", **first["next"]["arguments"])
    assert [line["line"] for line in then["lines"]] == ["three"]


async def test_lines_are_bounded_and_none_is_lost_between_two_calls(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MCP_LINES_BYTES", 4_000)
    agent = Agent(acme)
    service = await acme.running()
    site.host.say(service["container_id"], *(f"line {number}" for number in range(1_000)))
    call: dict[str, Any] = {"service_id": service["id"], "tail": 1_000}
    seen: list[str] = []
    while lines := (page := await agent.done("read_logs", **call))["lines"]:
        assert len(msgspec.json.encode(lines)) < 100_000
        seen += [line["line"] for line in lines]
        call = page["next"]["arguments"]
    assert seen == [f"line {number}" for number in range(1_000)]


async def test_a_builds_log_is_lines_and_says_when_it_has_ended(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    waiting = await agent.done("create_service", name="built")
    begun = await agent.done("create_build", service_id=waiting["id"], source_url="https://github.com/acme/web")
    build = await agent.done(begun["next"]["tool"], **begun["next"]["arguments"])
    assert build["status"] == "succeeded"
    log = await agent.done("read_build_logs", service_id=waiting["id"], build_id=build["id"])
    assert log["lines"] and log["ended"] == "succeeded"
    after = await agent.done("read_build_logs", **log["next"]["arguments"])
    assert after["lines"] == [] and after["ended"] == "succeeded"
