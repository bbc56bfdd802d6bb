"""What is done about services. Each story reads top to bottom; what a step finds done already it leaves as it is."""

import asyncio
from typing import Any

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.instances import FailRepair
from ahplat.effects.builds import call_off
from ahplat.effects.health import wait_healthy
from ahplat.effects.networks import join_networks
from ahplat.effects.specs import Plan, deployment_up, instance_specs, load_plan, volumes_of
from ahplat.effects.switch import follow_up, move, put_back, withdraw
from ahplat.effects.task import Effect, Failed, Task
from ahplat.engines.engine import Image, Instance, Volume
from events.event import Event, Intent
from events.services import (
    ServiceDeleted,
    ServiceDeleteRequested,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDrained,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceRouteFailed,
    ServiceStopped,
    ServiceStopRequested,
    Target,
)
from projections import builds, deployments, services


async def deploy(task: Task[ServiceDeployRequested]) -> list[Event]:
    """Puts a deployment beside what serves now, which stays untouched until the new one is healthy and routed to."""
    plan = load_plan(task.platform, task.intent.deployment_id)
    left: list[Instance] = []
    leaving = asyncio.create_task(end_leftovers(task, left), name="leftovers")
    try:
        image = await task.step(task.engine.fetch, plan.deployment.image, task.over)
        healthy = await start(task, plan, image)
        if len(left) > limits.LEFTOVERS:
            await asyncio.wait({leaving})
    finally:
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    return [
        ServiceInstanceHealthy(
            intent=task.work.intent,
            deployment_id=task.intent.deployment_id,
            digest=image.digest,
            pinned=image.pinned,
            targets=targets(healthy),
        )
    ]


async def end_leftovers(task: Task[ServiceDeployRequested], left: list[Instance]) -> None:
    """Ends what a drain had to that was superseded, and says in `left` what that is.

    Nobody waits for a few: what is left the next drain ends. But where deployments follow each other faster than anything
    drains, none would come to its end, and they would fill the tenant's network: so many of them are waited for.
    """
    service = services.find(task.platform.views, task.subject)
    up = deployment_up(task.platform.views, service) if service else None
    kept = {task.intent.deployment_id, up.deployment_id if up else ""}
    found = await task.step(task.engine.list, task.subject)
    left += [one for one in found if one.identity.deployment not in kept]
    if service and left:
        await task.pause(task.platform.drain_s if service.drain_s is None else service.drain_s)
        await end(task, left)


async def route(task: Task[ServiceInstanceHealthy]) -> list[Event]:
    """Has the router send requests to the deployment; until it has shown that it does, what served before is untouched."""
    task.check()
    await move(task, task.intent.targets)
    return [ServiceRouted(task.work.intent, task.intent.deployment_id)]


async def drain(task: Task[ServiceRouted]) -> list[Event]:
    """Lets what served before finish its requests, then ends it. What is to serve next is left alone."""
    routed = deployments.find(task.platform.views, task.intent.deployment_id)
    service = services.find(task.platform.views, task.subject)
    assert routed and service, task.work
    old = [
        instance
        for instance in await task.step(task.engine.list, task.subject)
        if instance.identity.deployment != routed.deployment_id
        and (instance.identity.epoch != task.platform.epoch or instance.identity.number < routed.number)
    ]
    if old:
        await task.pause(task.platform.drain_s if service.drain_s is None else service.drain_s)
    return [ServiceDrained(task.work.intent, task.intent.deployment_id, await end(task, old))]


async def stop(task: Task[ServiceStopRequested]) -> list[Event]:
    """Ends everything of the service, once no more requests come."""
    await withdraw(task)
    return [ServiceStopped(task.work.intent, await end(task, await task.step(task.engine.list, task.subject)))]


async def delete(task: Task[ServiceDeleteRequested]) -> list[Event]:
    """Ends everything of the service, its builds too; the views forget its variables with this."""
    await call_off(task, builds.list_of(task.platform.views, task.work.tenant_id, task.subject))
    await task.step(task.platform.builder.forget, task.work.tenant_id, task.subject)
    await withdraw(task)
    return [ServiceDeleted(task.work.intent, await end(task, await task.step(task.engine.list, task.subject)))]


async def repair(task: Task[ServiceRepairRequested]) -> list[Event]:
    """Makes what runs what should run: starts what is missing, removes what is too many."""
    healthy: list[Instance] = []
    service = services.find(task.platform.views, task.subject)
    up = deployment_up(task.platform.views, service) if service else None
    if up and up.deployment_id == task.intent.deployment_id:
        plan = load_plan(task.platform, up.deployment_id)
        image = await task.step(task.engine.fetch, plan.deployment.pinned or plan.deployment.image, task.over)
        healthy = await start(task, plan, image)
    wanted = {instance.id for instance in healthy}
    strays = [one for one in await task.step(task.engine.list, task.subject) if one.id not in wanted]
    if healthy and any(one.state == "running" for one in strays):
        await follow_up(task, targets(healthy))
    return [
        ServiceRepaired(task.work.intent, task.intent.deployment_id, targets(healthy), await end(task, strays)),
    ]


async def start(task: Task[Any], plan: Plan, image: Image) -> list[Instance]:
    """Has every replica run, in the tenant's network, and waits until all are healthy."""
    await join_networks(task, plan.tenant, plan.deployment.egress)
    if volumes := volumes_of(plan, task.platform.installation):
        await take_over(task, plan.deployment.deployment_id, list(volumes.values()))
    specs = instance_specs(plan, image, task.platform, task.attempt)
    started = [await task.step(task.engine.find_or_start, spec, image) for spec in specs]
    return await wait_healthy(task, started, specs[0].port, plan.deployment.health_path)


async def take_over(task: Task[Any], deployment_id: str, volumes: list[Volume]) -> None:
    """A volume is written to by one instance: what has it now goes before the next one starts.

    Where that does not come to serve, what went is found missing, and is repaired.
    """
    found = await task.step(task.engine.list, task.subject)
    await end(task, [one for one in found if one.identity.deployment != deployment_id])
    for volume in volumes:
        await task.step(task.engine.ensure_volume, volume)


def targets(instances: list[Instance]) -> list[Target]:
    """Where a deployment answers, as its outcome says it."""
    return [Target(one.identity.replica, one.id, one.host, one.port) for one in instances]


async def end(task: Task[Intent], instances: list[Instance]) -> list[str]:
    """Stops and removes instances, each by its id; returns the ids. Who calls it off does not wait for the grace."""
    if instances:
        await task.step(task.platform.meter.last_look, instances)
    for instance in instances:
        task.check()
        await task.unless_called_off(task.engine.stop(instance.id, limits.STOP_GRACE_S))
        await task.step(task.engine.remove, instance.id)
    return [instance.id for instance in instances]


async def discard_own(task: Task[ServiceDeployRequested]) -> None:
    """Removes what this intent made, and nothing else: nobody will ever want it."""
    own = (task.platform.epoch, task.work.intent)
    for instance in await task.engine.list(task.subject):
        if (instance.identity.epoch, instance.identity.position) == own:
            await task.engine.remove(instance.id)


async def discard_routed(task: Task[ServiceInstanceHealthy]) -> None:
    """The router goes back to what served before; then what was to serve is removed."""
    await put_back(task)
    for instance in await task.engine.list(task.subject):
        own = (instance.identity.epoch, instance.identity.deployment)
        if own == (task.platform.epoch, task.intent.deployment_id):
            await task.engine.remove(instance.id)


def route_failed(task: Task[ServiceInstanceHealthy], failed: Failed) -> Command:
    """The router never had the new one: it is gone, and the service goes on with the old one."""
    outcome = ServiceRouteFailed(
        intent=task.work.intent,
        deployment_id=task.intent.deployment_id,
        code=failed.code,
        detail=task.seal("detail", failed.detail),
        tail=task.seal("tail", failed.tail),
    )
    return task.conclusion([outcome])


def deploy_failed(task: Task[ServiceDeployRequested], failed: Failed) -> Command:
    """The new one is gone, its last lines are kept, and the service goes on with the old one."""
    outcome = ServiceDeployFailed(
        intent=task.work.intent,
        deployment_id=task.intent.deployment_id,
        code=failed.code,
        detail=task.seal("detail", failed.detail),
        tail=task.seal("tail", failed.tail),
    )
    return task.conclusion([outcome])


def repair_failed(task: Task[ServiceRepairRequested], failed: Failed) -> Command:
    """It counts as a crash: the breaker decides whether it is tried again."""
    return FailRepair(
        tenant_id=task.work.tenant_id,
        service_id=task.subject,
        intent=task.work.intent,
        attempt=task.attempt,
        seen_us=task.platform.clock.now_us(),
        failure=ServiceRepairFailed(
            intent=task.work.intent,
            deployment_id=task.intent.deployment_id,
            code=failed.code,
            detail=task.seal("detail", failed.detail),
            tail=task.seal("tail", failed.tail),
        ),
    )


EFFECTS: dict[type[Intent], Effect] = {
    ServiceDeployRequested: Effect(deploy, deploy_failed, discard_own, limits.DEPLOY_DEADLINE_S),
    ServiceInstanceHealthy: Effect(route, route_failed, discard_routed, limits.ROUTE_DEADLINE_S),
    ServiceRouted: Effect(drain),
    ServiceStopRequested: Effect(stop),
    ServiceDeleteRequested: Effect(delete),
    ServiceRepairRequested: Effect(repair, repair_failed, deadline_s=limits.REPAIR_DEADLINE_S),
}
