"""What is done about builds: one effect a step, each an attempt of its own, each called off for real.

A step that is called off, or whose time is over, is cancelled where it is: the builder ends every process that it started
before it returns. What serves is never touched: the last step asks for a deployment as anybody would.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from typing import Any

from apsw import Connection

from ahplat import limits
from ahplat.builders.build_logs import BuildLog
from ahplat.builders.builder import Job
from ahplat.builders.lines import secrets_in
from ahplat.commands.builds import CancelBuild, DeployBuild
from ahplat.commands.command import Command
from ahplat.effects.task import Effect, Expired, Failed, Task
from ahplat.errors import Rejected, Unavailable, Unreadable
from events.builds import (
    BuildBuilt,
    BuildCloned,
    BuildFailed,
    BuildPlanned,
    BuildPushed,
    BuildRequested,
    BuildSucceeded,
)
from events.event import Event, Intent
from events.services import ServiceBuildFailed
from projections import builds, deployments, env, services
from projections.builds import BuildRow
from projections.todo import TodoRow

logger = logging.getLogger("ahplat.builds")

Step = Callable[[Job, BuildLog], Awaitable[str]]
NOT_DEPLOYED = ("service_not_found", "quota_exceeded", "tenant_suspended")


def has_turn(views: Connection, work: TodoRow, busy: Collection[str]) -> bool:
    """Whether a build may begin: BUILDS_OF_ONE for a tenant at once, BUILDS_AT_ONCE in all; who asked first goes first.

    What was called off counts until it is cleaned up, which `busy` (subjects that are worked on) tells.
    """
    running = {f"build-{row.build_id}": row.tenant_id for row in builds.list_open(views) if row.status == "running"}
    for subject in busy:
        row = builds.find(views, subject.removeprefix("build-")) if subject.startswith("build-") else None
        if row:
            running[subject] = row.tenant_id
    if work.subject in running:
        return True
    of_tenant = sum(tenant_id == work.tenant_id for tenant_id in running.values())
    return len(running) < limits.BUILDS_AT_ONCE and of_tenant < limits.BUILDS_OF_ONE


async def clone(task: Task[BuildRequested]) -> list[Event]:
    """Fetches the source."""
    return [BuildCloned(task.work.intent, await _step(task, task.platform.builder.clone))]


async def plan(task: Task[BuildCloned]) -> list[Event]:
    """Works out how it is built."""
    return [BuildPlanned(task.work.intent, await _step(task, task.platform.builder.plan))]


async def build(task: Task[BuildPlanned]) -> list[Event]:
    """Makes the image."""
    return [BuildBuilt(task.work.intent, await _step(task, task.platform.builder.build))]


async def push(task: Task[BuildBuilt]) -> list[Event]:
    """Puts the image where the engine takes images from."""
    return [BuildPushed(task.work.intent, await _step(task, task.platform.builder.push))]


async def deliver(task: Task[BuildPushed]) -> list[Event]:
    """Asks for the deployment, once; where that is refused by now, the image is there all the same."""
    row = _row(task)
    undeployed = ""
    order = DeployBuild(
        tenant_id=row.tenant_id,
        service_id=row.service_id,
        build_id=row.build_id,
        intent=task.work.intent,
        attempt=task.attempt,
    )
    try:
        task.check()
        await task.submit(order)
    except Rejected as rejected:
        if rejected.code not in NOT_DEPLOYED:
            raise
        undeployed = rejected.code
    if not undeployed and deployments.find(task.platform.views, row.deployment_id) is None:
        undeployed = "service_stopped"
    with task.platform.build_logs.open(row.tenant_id, row.build_id, []) as log:
        log.say(f"not deployed: {undeployed}" if undeployed else f"deploying {row.image}")
    await discard(task)
    return [BuildSucceeded(task.work.intent, undeployed)]


async def tell(task: Task[BuildFailed]) -> list[Event]:
    """Tells the service: one that waited for this build has failed."""
    row = _row(task)
    service = services.find(task.platform.views, row.service_id)
    task.outcome_stream = f"service-{row.service_id}"
    detail = "" if service is None or service.desired == "deleted" else _detail(task, row)
    sealed = task.seal("detail", detail, task.outcome_stream)
    return [ServiceBuildFailed(task.work.intent, row.build_id, "build_failed", sealed)]


def _detail(task: Task[Any], row: BuildRow) -> str:
    try:
        text = task.platform.keyring.unseal(row.tenant_id, f"build-{row.build_id}", "detail", row.error or b"").decode()
    except Unreadable:
        text = ""
    return f"{row.error_code} at {row.step}: {text}".rstrip(": ")


async def _step(task: Task[Any], step: Step) -> str:
    """One step of the builder, with the build's log open, ended where it is when it is called off or its time is over."""
    task.check()
    row = _row(task)
    begun_us = row.started_us or task.platform.clock.now_us()
    timeout_s = task.platform.build_timeout_s
    task.deadline_us = min(task.deadline_us, begun_us + int(timeout_s * 1_000_000))
    task.check()
    left_s = (task.deadline_us - task.platform.clock.now_us()) / 1e6
    with ExitStack() as stack:
        log = stack.enter_context(
            task.platform.build_logs.open(row.tenant_id, row.build_id, _secrets(task.platform, row))
        )
        if task.attempt > 1:
            log.say(f"attempt {task.attempt} at {row.step}")
        try:
            async with asyncio.timeout(left_s):
                return await task.unless_called_off(_called(step, _job(task, row, left_s), log))
        except TimeoutError as error:
            log.say(f"it was ended: {timeout_s:.0f} s are over")
            raise Expired("deadline", f"the build did not come to an end within {timeout_s:.0f} s") from error
        except Rejected as rejected:
            why = log.shown(rejected.detail)  # it may be a program's own words
            log.say(f"failed: {why}")
            raise Rejected(rejected.code, why, rejected.violations) from rejected
        except Unavailable as error:
            log.say(f"{row.step} is tried again: {error.code}")
            logger.warning("build %s: %s", row.build_id, error)
            raise


async def _called(step: Step, job: Job, log: BuildLog) -> str:
    return await step(job, log)


def _row(task: Task[Any]) -> BuildRow:
    row = builds.find(task.platform.views, task.subject)
    assert row, f"an intent names build {task.subject}, the views do not know it"
    return row


def _job(task: Task[Any], row: BuildRow, left_s: float) -> Job:
    return Job(
        build_id=row.build_id,
        tenant_id=row.tenant_id,
        service_id=row.service_id,
        url=task.platform.keyring.unseal(row.tenant_id, f"build-{row.build_id}", "url", row.url).decode(),
        ref=row.ref,
        commit=row.commit_id or "",
        builder=row.builder,
        image=row.image,
        left_s=left_s,
    )


def _secrets(platform: Any, row: BuildRow) -> list[str]:
    """What is masked in the log: the values of the service's variables. The build itself is given none of them."""
    service = services.find(platform.views, row.service_id)
    sealed = env.values_at(platform.views, row.service_id, service.env_version) if service else {}
    stream = f"service-{row.service_id}"
    values = (platform.keyring.unseal(row.tenant_id, stream, f"env.{key}", value) for key, value in sealed.items())
    return secrets_in(value.decode() for value in values)


async def discard(task: Task[Any]) -> None:
    """Ends what still runs of it, and its folder goes."""
    await task.platform.builder.discard(task.subject)


async def call_off(task: Task[Any], rows: list[BuildRow]) -> None:
    """Cancels builds on behalf of an intent that has no use for them; what has its outcome stays as it is."""
    for row in rows:
        if not row.is_open:
            continue
        order = CancelBuild(tenant_id=row.tenant_id, build_id=row.build_id)
        try:
            await task.submit(order)
        except Rejected as rejected:
            if rejected.code != "build_ended":
                raise


def build_failed(task: Task[Any], failed: Failed) -> Command:
    """Nothing of it is left but its log."""
    outcome = BuildFailed(
        intent=task.work.intent,
        step=_row(task).step,
        code=failed.code,
        detail=task.seal("detail", failed.detail),
    )
    return task.conclusion([outcome])


EFFECTS: dict[type[Intent], Effect] = {
    BuildRequested: Effect(clone, build_failed, discard, limits.BUILD_DEADLINE_AT_MOST_S, has_turn),
    BuildCloned: Effect(plan, build_failed, discard, limits.BUILD_DEADLINE_AT_MOST_S),
    BuildPlanned: Effect(build, build_failed, discard, limits.BUILD_DEADLINE_AT_MOST_S),
    BuildBuilt: Effect(push, build_failed, discard, limits.BUILD_DEADLINE_AT_MOST_S),
    BuildPushed: Effect(deliver, build_failed, discard, limits.BUILD_DEADLINE_AT_MOST_S),
    BuildFailed: Effect(tell),
}
