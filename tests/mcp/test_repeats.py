"""Idempotency at this door: a command that comes again with its key is done once, whatever happened in between."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from events.log import read_all
from tests.api.site import Site, Tenant, a_site
from tests.folders import memory_folder
from tests.mcp.speaking import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEB = {"name": "once", "image": "web:1", "port": 0, "idempotency_key": "k-1"}


async def test_the_same_key_twice_is_one_service_and_the_first_answer(acme: Tenant) -> None:
    agent = Agent(acme)
    first, again = await agent.done("create_service", **WEB), await agent.done("create_service", **WEB)
    assert again.pop("replayed") is True and "replayed" not in first
    assert again == first
    assert len((await acme.get("/v1/services")).json) == 1


async def test_two_at_once_are_one_service(acme: Tenant) -> None:
    agents = [Agent(acme) for _ in range(5)]
    answers = await asyncio.gather(*(agent.done("create_service", **WEB) for agent in agents))
    assert len({answer["id"] for answer in answers}) == len({answer["event_position"] for answer in answers}) == 1
    assert sorted(answer.get("replayed", False) for answer in answers) == [False, True, True, True, True]
    assert len((await acme.get("/v1/services")).json) == 1


async def test_the_order_of_arguments_makes_no_other_command(acme: Tenant) -> None:
    agent = Agent(acme)
    first = await agent.done("create_service", **WEB)
    assert (await agent.done("create_service", **dict(reversed(WEB.items()))))["id"] == first["id"]


async def test_how_long_to_wait_makes_no_other_command(acme: Tenant) -> None:
    agent = Agent(acme)
    first = await agent.done("create_service", **WEB, wait_s=5)
    again = await agent.done("create_service", **WEB)
    assert again["id"] == first["id"] and again["replayed"]


async def test_the_same_key_with_other_arguments_is_refused(acme: Tenant) -> None:
    agent = Agent(acme)
    await agent.done("create_service", **WEB)
    problem = await agent.refused("create_service", **WEB | {"name": "twice"})
    assert (problem["code"], problem["status"]) == ("idempotency_mismatch", 422)
    assert len((await acme.get("/v1/services")).json) == 1


async def test_the_same_key_with_another_tool_is_another_command(acme: Tenant) -> None:
    agent = Agent(acme)
    service = await agent.done("create_service", **WEB)
    stopped = await agent.done("stop_service", service_id=service["id"], idempotency_key="k-1")
    assert "replayed" not in stopped


async def test_another_tenants_key_is_its_own(site: Site, acme: Tenant) -> None:
    mine = await Agent(acme).done("create_service", **WEB)
    theirs = await Agent(await site.register()).done("create_service", **WEB)
    assert mine["id"] != theirs["id"] and "replayed" not in theirs


async def test_both_eras_and_rest_are_one_door(acme: Tenant) -> None:
    agent = Agent(acme)
    wanted = {"service_id": (await acme.service())["id"], "idempotency_key": "k 2"}
    first = await agent.done("stop_service", **wanted)
    legacy = await agent.legacy("tools/call", {"name": "stop_service", "arguments": wanted})
    assert legacy.result["structuredContent"]["replayed"] is True
    rest = await acme.post(f"/v1/services/{wanted['service_id']}/stop", None, Idempotency_Key='"k 2"')
    assert rest.headers["Idempotency-Replayed"] == "true" and rest.position == first["event_position"]


async def test_a_refusal_is_not_kept(acme: Tenant) -> None:
    agent = Agent(acme)
    other = await acme.service(name="once")
    assert (await agent.refused("create_service", **WEB))["code"] == "name_taken"
    await acme.delete(f"/v1/services/{other['id']}")
    assert "replayed" not in await agent.done("create_service", **WEB)


async def test_a_new_keys_secret_is_told_again(acme: Tenant) -> None:
    agent = Agent(acme)
    first, again = [await agent.done("create_key", name="ci", idempotency_key="key") for _ in range(2)]
    assert first["api_key"] == again["api_key"] and again["replayed"]


@pytest_asyncio.fixture(loop_scope="module")
async def stopping() -> AsyncIterator[Site]:
    """A server that is to be stopped."""
    with memory_folder() as made:
        async with a_site(made / "stopping", dev=True) as site:
            yield site


async def test_a_repeat_after_a_restart_is_the_first_answer(stopping: Site) -> None:
    agent = Agent(await stopping.register())
    first = await agent.done("create_service", **WEB)
    await stopping.settled()
    await stopping.restart()
    again = await agent.done("create_service", **WEB)
    assert again["replayed"] and (again["id"], again["deployment_id"]) == (first["id"], first["deployment_id"])
    made = [at for at in read_all(stopping.app.log, 0, 1_000) if at.type == "service.created"]
    assert len(made) == 1
