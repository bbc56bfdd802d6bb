"""Builds on a simulated builder and virtual time: the queue, the steps, what calls them off, and what serves meanwhile."""

import asyncio
import secrets
from typing import Any

import pytest

from ahplat import limits
from ahplat.builders.builder import Job
from ahplat.commands.builds import CancelBuild, RequestBuild
from ahplat.commands.tenants import RequestErasure, SuspendTenant
from ahplat.errors import Rejected, Unavailable
from events.builds import BuildCancelled, BuildFailed, BuildRequested, BuildSucceeded
from events.services import ServiceBuildFailed, ServiceDeployRequested
from projections import builds, services
from projections.builds import BuildRow
from tests.effects.world import TENANT, World

STEPS = ("clone", "plan", "build", "push")
OTHER, THIRD, FOURTH = "b" * 32, "c" * 32, "d" * 32


async def request(world: World, service_id: str = "", tenant_id: str = TENANT, ref: str = "", **fields: Any) -> str:
    """Asks for a build, as HTTP would; its id."""
    build_id, service_id = world.new_id(), service_id or world.service_id
    requested = BuildRequested(
        service_id=service_id,
        deployment_id=world.new_id(),
        url=world.keyring.seal(tenant_id, f"build-{build_id}", "url", b"https://github.com/acme/web"),
        ref=ref,
        source=ref.encode() or secrets.token_bytes(8),
        builder="nixpacks",
        image="web:1",
    )
    command = RequestBuild(tenant_id=tenant_id, service_id=service_id, build_id=build_id, requested=requested)
    await world.submit(command, **fields)
    return build_id


def row(world: World, build_id: str) -> BuildRow:
    found = builds.find(world.views, build_id)
    assert found
    return found


def held(world: World, step: str) -> asyncio.Event:
    return world.builder.held.setdefault(step, asyncio.Event())


async def cancel(world: World, build_id: str, tenant_id: str = TENANT) -> None:
    await world.submit(CancelBuild(tenant_id=tenant_id, build_id=build_id))


async def test_a_build_goes_all_its_steps_and_is_deployed_once(world: World) -> None:
    await world.create(image="")
    assert world.service.status == "created"
    build_id = await request(world)
    await world.settled()
    assert [name for name, _ in world.builder.calls] == [*STEPS, "discard"]
    assert row(world, build_id).status == "succeeded"
    (deployed,) = world.facts(ServiceDeployRequested)
    assert (deployed.trigger, deployed.deployment_id) == ("build", row(world, build_id).deployment_id)
    assert world.service.status == "running"
    world.check()


@pytest.mark.parametrize("step", STEPS)
async def test_a_build_that_is_cancelled_never_deploys(world: World, step: str) -> None:
    await world.create(image="")
    held(world, step)
    build_id = await request(world)
    await world.until(lambda: build_id in world.builder.running and row(world, build_id).step == step, every_s=0.01)
    before = world.clock.monotonic()
    await cancel(world, build_id)
    await world.settled()
    assert world.clock.monotonic() - before < 1, "it went on after it was called off"
    assert row(world, build_id).status == "cancelled"
    assert not world.builder.running
    assert not world.builder.folders
    assert not world.facts(ServiceDeployRequested)
    held(world, step).set()
    await world.later(100)
    assert not world.facts(ServiceDeployRequested)
    world.check()


async def test_a_build_that_waits_is_cancelled_before_it_begins(world: World) -> None:
    await world.create(image="")
    held(world, "clone")
    first, second = await request(world), await request(world)
    await cancel(world, second)
    held(world, "clone").set()
    await world.settled()
    assert [row(world, one).status for one in (first, second)] == ["succeeded", "cancelled"]
    assert ("clone", second) not in world.builder.calls


async def test_what_has_ended_cannot_be_cancelled(world: World) -> None:
    await world.create(image="")
    build_id = await request(world)
    await world.settled()
    with pytest.raises(Rejected, match="build_ended"):
        await cancel(world, build_id)


async def test_cancelling_twice_is_cancelling_once(world: World) -> None:
    await world.create(image="")
    held(world, "build")
    build_id = await request(world)
    await cancel(world, build_id)
    await cancel(world, build_id)
    await world.settled()
    assert len(world.facts(BuildCancelled)) == 1


async def test_one_build_of_a_tenant_runs_and_three_in_all(world: World) -> None:
    for tenant_id in (OTHER, THIRD, FOURTH):
        await world.register(tenant_id)
    asked = []
    held(world, "build")
    for tenant_id in (TENANT, OTHER, THIRD, FOURTH):
        service_id = await world.create(image="", tenant_id=tenant_id)
        asked += [await request(world, service_id, tenant_id) for _ in range(2)]
    await world.until(lambda: len(world.builder.running) == 3, every_s=0.01)
    await world.later(30)
    assert world.builder.running == {asked[0], asked[2], asked[4]}
    places = [builds.place_of(world.views, row(world, one)) for one in asked]
    assert places == [0, 1, 0, 2, 0, 3, 4, 5]
    held(world, "build").set()
    await world.settled()
    assert world.builder.most_at_once == 3
    assert {row(world, one).status for one in asked} == {"succeeded"}
    began = [build_id for name, build_id in world.builder.calls if name == "clone"]
    assert began[:3] == [asked[0], asked[2], asked[4]]
    world.check()


async def test_the_same_source_twice_is_one_build_until_it_is_cloned(world: World) -> None:
    await world.create(image="")
    held(world, "clone")
    await request(world, ref="main")
    await request(world, ref="main")
    assert len(world.facts(BuildRequested)) == 1
    await request(world, ref="other")
    assert len(world.facts(BuildRequested)) == 2
    held(world, "clone").set()
    await world.settled()
    await request(world, ref="main")
    await world.settled()
    assert len(world.facts(BuildRequested)) == 3


async def test_the_same_source_after_a_stop_is_a_build_that_will_be_deployed(world: World) -> None:
    await world.create(image="")
    held(world, "clone")
    await request(world, ref="main")
    await world.stop()
    await request(world, ref="main")
    assert len(world.facts(BuildRequested)) == 2
    held(world, "clone").set()
    await world.settled()
    assert world.service.status == "running"


async def test_more_builds_than_the_quota_are_refused(world: World) -> None:
    await world.create(image="")
    held(world, "clone")
    for _ in range(3):
        await request(world)
    with pytest.raises(Rejected, match="quota_exceeded"):
        await request(world)


async def test_requests_that_race_are_no_way_around_the_quota(world: World) -> None:
    await world.create(image="")
    held(world, "clone")
    answers = await asyncio.gather(*(request(world) for _ in range(12)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Rejected)]
    assert {answer.code for answer in refused} == {"quota_exceeded"}
    assert (len(answers) - len(refused), len(world.facts(BuildRequested))) == (3, 3)
    await cancel(world, next(answer for answer in answers if isinstance(answer, str)))
    again = await asyncio.gather(*(request(world) for _ in range(4)), return_exceptions=True)
    assert [isinstance(answer, str) for answer in again].count(True) == 1


async def test_a_build_is_another_try_for_a_service_that_crashed_too_often(world: World) -> None:
    await world.create()
    await world.settled()
    for _ in range(limits.CRASHES):
        world.host.crash(world.instances[0].id, 1)
        await world.later(20)
        await world.settled()
    assert world.service.circuit_open
    await request(world)
    await world.settled()
    assert (world.service.circuit_open, world.service.status) == (0, "running")


async def test_a_first_build_that_fails_is_told_to_its_service(world: World) -> None:
    await world.create(image="")
    world.builder.fail["plan"] = [Rejected("plan_failed", "no way to build this")]
    build_id = await request(world)
    await world.settled()
    (failed,) = world.facts(BuildFailed)
    assert (failed.step, failed.code) == ("plan", "plan_failed")
    (told,) = world.facts(ServiceBuildFailed)
    assert world.unsealed("detail", told.detail) == "plan_failed at plan: no way to build this"
    assert (world.service.status, world.service.last_error_code) == ("failed", "build_failed")
    assert not world.builder.folders
    assert not row(world, build_id).is_open
    await request(world)
    await world.settled()
    assert (world.service.status, world.service.last_error_code) == ("running", None)
    world.check()


async def test_what_serves_goes_on_when_a_build_fails(world: World) -> None:
    await world.create()
    await world.settled()
    before = world.routes()
    world.builder.fail["build"] = [Rejected("build_failed", "exit code 1")]
    await request(world)
    await world.settled()
    assert (world.service.status, world.routes()) == ("running", before)


async def test_what_is_our_fault_is_tried_again(world: World) -> None:
    await world.create(image="")
    world.builder.fail["build"] = [Unavailable("builder_unavailable", "not now")] * 3
    build_id = await request(world)
    await world.settled()
    assert row(world, build_id).status == "succeeded"
    assert [name for name, _ in world.builder.calls].count("build") == 4


async def test_a_build_ends_at_its_deadline(world: World) -> None:
    await world.create(image="")
    held(world, "build")
    began_us = world.clock.now_us()
    build_id = await request(world)
    await world.until(lambda: not row(world, build_id).is_open)
    assert (world.clock.now_us() - began_us) / 1e6 == pytest.approx(world.build_timeout_s, abs=1)
    await world.settled()
    (failed,) = world.facts(BuildFailed)
    assert (failed.code, failed.step) == ("deadline", "build")
    assert not world.builder.running
    assert not world.builder.folders


async def test_a_service_that_was_stopped_meanwhile_is_built_and_stays_stopped(world: World) -> None:
    await world.create()
    await world.settled()
    held(world, "build")
    build_id = await request(world)
    await world.stop()
    held(world, "build").set()
    await world.settled()
    assert (row(world, build_id).status, row(world, build_id).error_code) == ("succeeded", "service_stopped")
    assert world.service.status == "stopped"


async def test_a_deleted_service_has_its_builds_called_off(world: World) -> None:
    await world.create(image="")
    held(world, "build")
    build_id = await request(world)
    await world.until(lambda: build_id in world.builder.running, every_s=0.01)
    await world.delete()
    await world.settled()
    assert row(world, build_id).status == "cancelled"
    assert ("forget", world.service_id) in world.builder.calls
    assert not world.builder.running


async def test_a_suspended_tenant_has_its_builds_called_off(world: World) -> None:
    await world.create(image="")
    held(world, "build")
    running, waiting = await request(world), await request(world)
    await world.submit(SuspendTenant(tenant_id=TENANT))
    await world.settled()
    assert {row(world, one).status for one in (running, waiting)} == {"cancelled"}


@pytest.mark.parametrize("step", STEPS)
async def test_a_server_that_dies_in_a_step_is_followed_by_one_that_goes_on(world: World, step: str) -> None:
    await world.create(image="")
    held(world, step)
    build_id = await request(world)
    await world.until(lambda: build_id in world.builder.running and row(world, build_id).step == step, every_s=0.01)
    await world.restart()
    held(world, step).set()
    await world.settled()
    assert row(world, build_id).status == "succeeded"
    assert [name for name, _ in world.builder.calls].count(step) == 2
    assert len(world.facts(ServiceDeployRequested)) == 1
    assert len(world.facts(BuildSucceeded)) == 1
    assert world.builder.pushed == [build_id]
    world.check()


async def test_a_tenants_variables_are_masked_in_what_a_build_says(world: World) -> None:
    await world.create(image="", env={"TOKEN": "correct horse battery"})
    say = world.builder.plan

    async def leaks(job: Job, log: Any) -> str:
        log.hear(b"the token is correct horse battery\n")
        return await say(job, log)

    world.builder.plan = leaks  # type: ignore[method-assign]
    build_id = await request(world)
    await world.settled()
    lines, _ = world.platform.build_logs.read(TENANT, build_id, 0, 0)
    offset, texts = 0, []
    while lines:
        lines, offset = world.platform.build_logs.read(TENANT, build_id, 0, offset)
        texts += [line.text for line in lines]
    assert "the token is ********" in texts
    assert services.find(world.views, world.service_id)


async def test_they_are_masked_in_why_it_failed_too(world: World) -> None:
    await world.create(image="", env={"TOKEN": "correct horse battery"})
    world.builder.fail["build"] = [Rejected("build_failed", "\x1b[31mfalse correct horse battery\x07: exit code 1")]
    build_id = await request(world)
    await world.settled()
    failed = world.last(BuildFailed)
    shown = "false ********: exit code 1"
    assert world.keyring.unseal(TENANT, f"build-{build_id}", "detail", failed.detail).decode() == shown
    assert world.unsealed("detail", world.last(ServiceBuildFailed).detail) == f"build_failed at build: {shown}"


async def test_what_a_tenant_built_goes_with_it(world: World) -> None:
    await world.create(image="")
    build_id = await request(world)
    await world.settled()
    path = world.platform.build_logs.path(TENANT, build_id)
    assert path.exists()
    await world.submit(RequestErasure(tenant_id=TENANT))
    await world.settled()
    assert not path.exists()
    assert ("forget", world.service_id) in world.builder.calls
    assert ("forget_tenant", TENANT) in world.builder.calls
