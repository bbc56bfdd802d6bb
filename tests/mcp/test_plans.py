"""A dry run at this door: what would happen, in `plan`; nothing does, and no name has to be repeated for it."""

import pytest

from tests.api.site import Site, Tenant
from tests.mcp.speaking import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_plan_says_what_would_happen_and_nothing_does(site: Site, acme: Tenant) -> None:
    agent = Agent(acme)
    before = site.position
    found = await agent.done("create_service", name="thought", image="web:1", dry_run=True)
    assert found.keys() == {"plan"}
    assert [event["type"] for event in found["plan"]["events"]] == ["service.created", "service.deploy_requested"]
    assert (site.position, (await acme.get("/v1/services")).json) == (before, [])


async def test_a_plan_to_destroy_says_what_would_be_gone_and_wants_no_name(acme: Tenant) -> None:
    service = await acme.service()
    plan = (await Agent(acme).done("delete_service", service_id=service["id"], dry_run=True))["plan"]
    assert [one["resource_id"] for one in plan["destroys"] if one["resource_type"] == "service"] == [service["id"]]
    assert (await acme.get(f"/v1/services/{service['id']}")).status == 200


async def test_what_was_planned_is_done_only_as_long_as_nothing_changed(acme: Tenant) -> None:
    agent = Agent(acme)
    service = await acme.running()
    wanted = {"service_id": service["id"], "memory_mb": 128}
    plan = (await agent.done("update_service", **wanted, dry_run=True))["plan"]
    await acme.patch(f"/v1/services/{service['id']}", {"port": 9})
    assert (await agent.refused("update_service", **wanted, if_match=plan["etag"]))["code"] == "precondition_failed"
    plan = (await agent.done("update_service", **wanted, dry_run=True))["plan"]
    assert (await agent.done("update_service", **wanted, if_match=plan["etag"]))["memory_mb"] == 128


async def test_a_plan_that_cannot_be_is_refused_as_the_real_one(acme: Tenant) -> None:
    await acme.service(name="there")
    problem = await Agent(acme).refused("create_service", name="there", image="web:1", dry_run=True)
    assert problem["code"] == "name_taken"
