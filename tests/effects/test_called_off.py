"""Something newer is accepted while a deploy is under way: it is dropped at its next step, and takes its own with it."""

from collections.abc import Awaitable, Callable

import pytest

from ahplat import limits
from ahplat.commands.deployments import CancelDeployment
from ahplat.effects import health
from ahplat.errors import Rejected, Unavailable
from events.services import ServiceDeployCancelled, ServiceDeployFailed, ServiceDeploySuperseded, ServiceDrifted
from tests.effects.world import World

Order = Callable[[World], Awaitable[object]]

STEPS = ["fetch", "ensure_network", "find_or_start", "inspect"]
LONG_S = 30.0


async def stop(world: World) -> None:
    await world.stop()


async def delete(world: World) -> None:
    await world.delete()


async def cancel(world: World) -> None:
    await world.cancel()


async def deploy(world: World) -> None:
    await world.deploy("web:2")


async def a_deploy_at(world: World, step: str) -> None:
    """A second deployment is as far as `step`, which takes its time."""
    world.image("web:2")
    await world.create()
    await world.settled()
    world.engine.calls.clear()
    world.engine.lag_s[step] = LONG_S
    await world.deploy("dead:1")
    await world.called(step)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("order", "left", "status", "was"),
    [
        (stop, [], "stopped", "superseded"),
        (delete, [], "deleted", "superseded"),
        (cancel, [1], "running", "cancelled"),
        (deploy, [3], "running", "superseded"),
    ],
)
async def test_a_deploy_that_is_called_off_ends_at_its_next_step(
    world: World, step: str, order: Order, left: list[int], status: str, was: str
) -> None:
    await a_deploy_at(world, step)
    await order(world)
    world.engine.lag_s.clear()
    world.engine.calls.clear()
    await world.settled()
    of_the_worker = [method for method, subject in world.engine.calls if subject]
    assert of_the_worker[0] == "list", "the next thing that it does is to clean up"
    assert (world.numbers, world.service.status) == (left, status)
    assert world.deployments[1 if order is deploy else 0].status == was


async def test_a_call_that_is_under_way_comes_to_its_end_before_anything_else_begins(world: World) -> None:
    await a_deploy_at(world, "find_or_start")
    began = world.loop.now
    await world.stop()
    world.engine.lag_s.clear()
    await world.settled()
    assert world.loop.now - began == pytest.approx(LONG_S, abs=1)
    assert world.instances == []


async def test_a_pull_is_broken_off(world: World) -> None:
    asked: list[Callable[[], bool]] = []
    fetch = world.engine.fetch

    async def slow(reference: str, cancelled: Callable[[], bool]) -> object:
        asked.append(cancelled)
        await world.until(cancelled)
        return await fetch(reference, cancelled)

    world.engine.fetch = slow  # type: ignore[method-assign, assignment]
    await world.create()
    await world.until(lambda: asked)
    await world.cancel()
    await world.settled()
    assert world.facts(ServiceDeployFailed) == []
    assert world.runner.outcomes["called_off"] == 1


async def test_a_newer_deploy_takes_over_at_once_from_one_that_hangs(world: World) -> None:
    await world.create(image="dead:1")
    await world.later(20)
    began = world.loop.now
    await world.deploy("web:1")
    await world.until(lambda: world.service.status == "running")
    assert world.loop.now - began < 0.5
    assert world.statuses == ["running", "superseded"]
    await world.settled()
    assert world.numbers == [2]


async def test_it_does_so_too_while_a_health_check_waits_for_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = health._tcp

    async def tcp(host: str, port: int) -> str:
        if not world.answers(host, port):
            await world.later(5)
        return await answers(host, port)

    monkeypatch.setattr(health, "_tcp", tcp)
    await world.create(image="dead:1")
    await world.until(lambda: world.instances)
    await world.later(1)
    began = world.loop.now
    await world.deploy("web:1")
    await world.until(lambda: world.service.status == "running")
    assert world.loop.now - began < 0.5


async def test_of_many_deploys_in_a_row_only_the_last_one_serves(world: World) -> None:
    await world.create()
    for _ in range(20):
        await world.deploy("web:1")
    await world.settled()
    assert world.numbers == [21]
    assert world.statuses == ["running"] + ["superseded"] * 20
    assert len(world.facts(ServiceDeploySuperseded)) == 20


async def test_what_is_not_its_own_is_left_alone_when_it_is_called_off(world: World) -> None:
    await world.create()
    await world.settled()
    (old,) = world.instances
    await world.deploy("dead:1")
    await world.until(lambda: world.numbers == [1, 2])
    await world.cancel()
    await world.settled()
    assert world.instances == [old]
    assert world.facts(ServiceDrifted) == []
    assert world.service.status == "running"
    assert len(world.facts(ServiceDeployCancelled)) == 1


async def test_a_first_deploy_that_is_cancelled_leaves_nothing(world: World) -> None:
    await world.create(image="dead:1")
    await world.until(lambda: world.instances)
    await world.cancel()
    await world.settled()
    assert (world.instances, world.service.status) == ([], "stopped")


async def test_a_deployment_that_ended_cannot_be_cancelled(world: World) -> None:
    await world.create()
    await world.settled()
    with pytest.raises(Rejected) as refused:
        await world.order(CancelDeployment, deployment_id=world.deployments[0].deployment_id)
    assert refused.value.code == "not_cancellable"


async def test_what_could_not_be_cleaned_up_is_found_later(world: World) -> None:
    await world.create()
    await world.settled()
    await world.deploy("dead:1")
    await world.until(lambda: world.numbers == [1, 2])
    world.engine.fail("remove", Unavailable("engine_error", "not now"))
    await world.cancel()
    await world.later(90)
    await world.settled()
    assert world.numbers == [1]
    assert world.service.status == "running"
    assert [fact.finding for fact in world.facts(ServiceDrifted)] == ["stray"]


async def test_a_stop_during_the_drain_ends_all(world: World) -> None:
    await world.create()
    await world.settled()
    await world.deploy("web:1")
    await world.until(lambda: world.deployments[0].status == "running")
    await world.stop()
    await world.settled()
    assert (world.instances, world.statuses) == ([], ["stopped", "stopped"])


async def test_a_deploy_during_the_drain_drains_both_that_were_before(world: World) -> None:
    await world.create()
    await world.settled()
    await world.deploy("web:1")
    await world.until(lambda: world.deployments[0].status == "running")
    assert world.numbers == [1, 2]
    await world.deploy("web:1")
    await world.settled()
    assert (world.numbers, world.statuses) == ([3], ["running", "stopped", "stopped"])


async def test_what_a_superseded_drain_had_to_end_is_ended_while_the_next_deployment_hangs(world: World) -> None:
    await world.create()
    await world.settled()
    await world.deploy("web:1")
    await world.until(lambda: world.deployments[0].status == "running")
    assert world.numbers == [1, 2]
    world.engine.lag_s["fetch"] = LONG_S
    await world.deploy("web:1")
    await world.until(lambda: world.numbers == [2], every_s=0.5)
    assert world.deployments[0].status == "deploying"
    world.engine.lag_s.clear()
    await world.settled()
    assert (world.numbers, world.statuses[0]) == ([3], "running")


async def test_deployments_that_follow_each_other_faster_than_anything_drains_do_not_pile_up(world: World) -> None:
    await world.create()
    await world.settled()
    most = 0
    for _ in range(20):
        await world.deploy("web:1")
        await world.until(lambda: world.deployments[0].status == "running")
        most = max(most, len(world.numbers))
    assert most <= limits.LEFTOVERS + 3  # one more than are let be, what served until now, and what serves
    await world.settled()
    assert (world.numbers, world.statuses[0]) == ([21], "running")


async def test_a_deploy_takes_over_from_a_stop(world: World) -> None:
    await world.create(replicas=3)
    await world.settled()
    world.engine.lag_s["stop"] = LONG_S
    await world.stop()
    await world.called("stop")
    await world.deploy("web:1")
    world.engine.lag_s.clear()
    await world.settled()
    assert (world.service.status, world.numbers) == ("running", [2, 2, 2])


async def test_a_deploy_that_took_over_from_a_stop_and_fails_leaves_what_served_before(world: World) -> None:
    await world.create()
    await world.settled()
    await world.stop()
    await world.deploy("dead:1")
    await world.settled()
    assert world.service.desired == "running"
    assert (world.service.status, world.numbers) == ("running", [1])
    assert world.routes() == [world.instances[0].id]
