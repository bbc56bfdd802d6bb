"""The story of a deploy: the old one is untouched until the new one is healthy, and stays where it never is."""

import re

import pytest

from ahplat.commands.deployments import RestartService, RollBack
from ahplat.errors import Unavailable
from events.services import ServiceDeployFailed, ServiceDrained, ServiceInstanceHealthy
from tests.effects.facts import a_stranger
from tests.effects.world import World

FIRST = ["created", "deploy_requested", "attempted", "instance_healthy", "attempted", "routed"]
AGAIN = ["deploy_requested", "attempted", "instance_healthy", "attempted", "routed"]
FAILED = ["deploy_requested", "attempted", "deploy_failed"]


async def test_a_service_comes_to_run(world: World) -> None:
    await world.create()
    await world.settled()
    assert world.story() == FIRST
    assert (world.service.status, world.service.serving) == ("running", 1)
    assert world.statuses == ["running"]
    assert [one.state for one in world.instances] == ["running"]


async def test_the_outcome_says_what_runs_and_where_it_answers(world: World) -> None:
    await world.create()
    await world.settled()
    healthy: ServiceInstanceHealthy = world.last(ServiceInstanceHealthy)
    (instance,) = world.instances
    assert healthy.digest == world.host.images["web:1"].digest()
    assert healthy.digest in healthy.pinned
    (target,) = healthy.targets
    assert (target.replica, target.instance, target.host, target.port) == (1, instance.id, instance.host, 8000)


async def test_the_variables_reach_the_instance_in_the_clear(world: World) -> None:
    await world.create(env={"COLOUR": "blue"})
    await world.settled()
    (env,) = world.host.env.values()
    assert env == {
        "COLOUR": "blue",
        "PORT": "8000",
        "AH_SERVICE": "web",
        "AH_DEPLOYMENT": world.deployments[0].deployment_id,
    }


async def test_all_replicas_come_to_run(world: World) -> None:
    await world.create(replicas=3)
    await world.settled()
    assert sorted(one.identity.replica for one in world.instances) == [1, 2, 3]
    assert [target.replica for target in world.last(ServiceInstanceHealthy).targets] == [1, 2, 3]


async def test_a_worker_is_healthy_once_it_stayed_up(world: World) -> None:
    world.image("worker:1", listens=False)
    began = world.loop.now
    await world.create(image="worker:1", port=0)
    await world.settled()
    assert world.service.status == "running"
    assert world.loop.now - began >= 2


async def test_the_old_one_is_untouched_until_the_new_one_is_healthy(world: World) -> None:
    await world.create()
    await world.settled()
    (old,) = world.instances
    world.image("slow:1", health="starting")
    await world.deploy("slow:1")
    await world.later(30)
    assert world.host.instances[old.id] == old
    assert world.numbers == [1, 2]
    (new,) = (one for one in world.instances if one.identity.number == 2)
    world.host.be(new.id, "healthy")
    await world.settled()
    assert [one.id for one in world.instances] == [new.id]
    assert world.last(ServiceDrained).removed == [old.id]
    assert world.statuses == ["running", "stopped"]


async def test_the_old_one_may_finish_its_requests(world: World) -> None:
    await world.create()
    await world.settled()
    await world.deploy("web:1")
    await world.until(lambda: world.deployments[0].status == "running")
    routed = world.loop.now
    assert world.numbers == [1, 2]
    await world.settled()
    assert world.numbers == [2]
    assert world.loop.now - routed >= world.drain_s


async def test_one_that_never_gets_healthy_has_failed_and_the_old_one_serves(world: World) -> None:
    await world.create()
    await world.settled()
    began = world.loop.now
    await world.deploy("dead:1")
    await world.settled()
    assert world.loop.now - began == pytest.approx(60, abs=1)
    assert world.story() == [*FIRST, "configured", *FAILED]
    failed: ServiceDeployFailed = world.last(ServiceDeployFailed)
    assert failed.code == "unhealthy"
    assert "nobody listens" in world.unsealed("detail", failed.detail)
    assert world.unsealed("tail", failed.tail) == "starting\nno, I will not\n"
    assert (world.service.status, world.service.serving, world.numbers) == ("running", 1, [1])
    assert world.statuses == ["failed", "running"]


async def test_a_health_path_has_to_answer(world: World) -> None:
    await world.create(health_path="/nope")
    await world.settled()
    failed: ServiceDeployFailed = world.last(ServiceDeployFailed)
    assert "GET /nope answers 404" in world.unsealed("detail", failed.detail)


async def test_a_first_deploy_that_fails_leaves_a_service_that_can_be_deployed(world: World) -> None:
    await world.create(image="dead:1")
    await world.settled()
    assert (world.service.status, world.service.serving, world.instances) == ("failed", 0, [])
    await world.deploy("web:1")
    await world.settled()
    assert (world.service.status, world.numbers) == ("running", [2])


async def test_an_image_that_is_not_there(world: World) -> None:
    await world.create(image="nobody:1")
    await world.settled()
    failed: ServiceDeployFailed = world.last(ServiceDeployFailed)
    assert failed.code == "image_not_found"
    assert "nobody:1" in world.unsealed("detail", failed.detail)
    assert failed.tail == b""


async def test_a_crash_on_start_keeps_its_last_lines(world: World) -> None:
    world.image("broken:1", exit_code=3, output=("hello", "Traceback"))
    await world.create(image="broken:1")
    await world.settled()
    failed: ServiceDeployFailed = world.last(ServiceDeployFailed)
    assert failed.code == "crashed"
    assert "exit code 3" in world.unsealed("detail", failed.detail)
    assert world.unsealed("tail", failed.tail) == "hello\nTraceback\n"
    assert world.instances == []


async def test_of_many_lines_the_last_50_are_kept(world: World) -> None:
    world.image("broken:1", exit_code=3, output=tuple(str(n) for n in range(200)))
    await world.create(image="broken:1")
    await world.settled()
    tail = world.unsealed("tail", world.last(ServiceDeployFailed).tail)
    assert tail.split() == [str(n) for n in range(150, 200)]


async def test_what_used_too_much_memory_is_told_so(world: World) -> None:
    world.image("hungry:1", listens=False)
    await world.create(image="hungry:1")
    await world.until(lambda: world.instances)
    world.host.crash(world.instances[0].id, 137, oom_killed=True)
    await world.settled()
    failed = world.last(ServiceDeployFailed)
    assert failed.code == "out_of_memory"
    assert re.search(r"more than its \d+ MB \(memory_mb\)", world.unsealed("detail", failed.detail))


async def test_what_somebody_removes_while_it_becomes_healthy_has_failed(world: World) -> None:
    await world.create(image="dead:1")
    await world.until(lambda: world.instances)
    world.host.vanish(world.instances[0].id)
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "vanished"


async def test_one_replica_that_fails_fails_the_deployment(world: World) -> None:
    world.image("dead:2", listens=False)
    await world.create(image="dead:2", replicas=3)
    await world.until(lambda: len(world.instances) == 3)
    world.host.crash(world.instances[1].id, 1)
    await world.settled()
    assert (world.service.status, world.instances) == ("failed", [])


async def test_a_failure_is_told_also_where_the_log_cannot_be_read(world: World) -> None:
    world.image("broken:1", exit_code=3, output=("hello",))
    world.engine.fail("tail", Unavailable("engine_error", "no"))
    await world.create(image="broken:1")
    await world.settled()
    failed: ServiceDeployFailed = world.last(ServiceDeployFailed)
    assert (failed.code, failed.tail) == ("crashed", b"")


async def test_a_name_that_a_stranger_holds_fails_and_is_left_to_it(world: World) -> None:
    await world.create()
    await world.settled()
    (ours,) = world.instances
    theirs = ours.name.removesuffix("1-1") + "2-1"
    stranger = a_stranger(world, theirs)
    await world.deploy("web:1")
    await world.settled()
    assert world.last(ServiceDeployFailed).code == "name_taken"
    assert world.host.instances[stranger.id] == stranger
    assert world.host.instances[ours.id] == ours


async def test_a_restart_runs_the_digest_that_ran_whatever_the_tag_means_now(world: World) -> None:
    await world.create()
    await world.settled()
    ran = world.last(ServiceInstanceHealthy).digest
    world.image("web:1", output=("another",))
    await world.order(RestartService)
    await world.settled()
    assert world.last(ServiceInstanceHealthy).digest == ran


async def test_a_redeploy_pulls_what_the_tag_means_now(world: World) -> None:
    await world.create()
    await world.settled()
    moved = world.image("web:1", output=("another",))
    await world.deploy()
    await world.settled()
    assert world.last(ServiceInstanceHealthy).digest == moved.digest()


async def test_a_roll_back_runs_an_earlier_digest(world: World) -> None:
    await world.create()
    await world.settled()
    ran = world.last(ServiceInstanceHealthy).digest
    world.image("web:2")
    await world.deploy("web:2")
    await world.settled()
    await world.order(RollBack)
    await world.settled()
    assert world.last(ServiceInstanceHealthy).digest == ran
    assert (world.numbers, world.statuses) == ([3], ["running", "stopped", "stopped"])


async def test_services_do_not_wait_for_each_other(world: World) -> None:
    await world.create("slow", image="dead:1")
    began = world.loop.now
    await world.create("quick")
    await world.until(lambda: world.service.status == "running")
    assert world.loop.now - began < 1
