"""What is done about databases. Each story reads top to bottom; what a step finds done already it leaves as it is."""

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.database_servers import FailDatabaseStart
from ahplat.effects.database_health import wait_ready
from ahplat.effects.database_specs import Plan, load_plan, server_spec, volume_of
from ahplat.effects.networks import join_networks
from ahplat.effects.services import end
from ahplat.effects.task import Effect, Failed, Task
from ahplat.engines.engine import Volume
from events.databases import (
    DatabaseCreateRequested,
    DatabaseDeleted,
    DatabaseDeleteRequested,
    DatabasePurged,
    DatabasePurgeRequested,
    DatabaseStarted,
    DatabaseStartFailed,
    DatabaseStartRequested,
    DatabaseStopped,
    DatabaseStopRequested,
    DatabaseUndeleted,
)
from events.event import Event, Intent

Start = DatabaseCreateRequested | DatabaseStartRequested | DatabaseUndeleted


async def start(task: Task[Start]) -> list[Event]:
    """Has the server run on its volume, and waits until it answers a query."""
    plan = load_plan(task.platform, task.subject)
    image = await task.step(task.engine.fetch, plan.database.pinned or plan.database.image, task.over)
    await join_networks(task, plan.tenant, egress="none")
    if not plan.database.ran:
        await begin_anew(task, plan)
    await task.step(task.engine.ensure_volume, _volume(task))
    started = await task.step(task.engine.find_or_start, server_spec(plan, image, task.platform, task.attempt), image)
    ready = await wait_ready(task, started, plan)
    return [DatabaseStarted(task.work.intent, ready.id, ready.host, ready.port, image.digest, image.pinned)]


async def begin_anew(task: Task[Start], plan: Plan) -> None:
    """A server that ended before it ever answered may have left half a cluster, on which none comes to run."""
    found = await task.step(task.engine.list_databases, plan.database.database_id)
    if all(one.state != "running" for one in found):
        await end(task, found)
        await task.step(task.engine.remove_volume, _volume(task))


async def stop(task: Task[DatabaseStopRequested]) -> list[Event]:
    """Ends the server; the volume stays."""
    return [DatabaseStopped(task.work.intent, await _end_all(task))]


async def delete(task: Task[DatabaseDeleteRequested]) -> list[Event]:
    """Ends the server. What this returns is the next work, which waits until the volume need not be kept any longer."""
    return [DatabaseDeleted(task.work.intent, await _end_all(task), task.intent.purge_us)]


async def purge(task: Task[DatabaseDeleted | DatabasePurgeRequested]) -> list[Event]:
    """Removes the volume, and whatever may have come to run on it."""
    await _end_all(task)
    await task.step(task.engine.remove_volume, _volume(task))
    return [DatabasePurged(task.work.intent)]


async def _end_all(task: Task[Intent]) -> list[str]:
    return await end(task, await task.step(task.engine.list_databases, task.subject))


def _volume(task: Task[Intent]) -> Volume:
    return volume_of(task.subject, task.work.tenant_id, task.platform.installation)


def start_failed(task: Task[Start], failed: Failed) -> Command:
    """A new one has failed; one that ran before is tried again, as after a crash."""
    return FailDatabaseStart(
        tenant_id=task.work.tenant_id,
        database_id=task.subject,
        intent=task.work.intent,
        attempt=task.attempt,
        seen_us=task.platform.clock.now_us(),
        failure=DatabaseStartFailed(
            intent=task.work.intent,
            code=failed.code,
            detail=task.seal("detail", failed.detail),
            tail=task.seal("tail", failed.tail),
        ),
    )


async def discard(task: Task[DatabaseCreateRequested]) -> None:
    """Removes the server that never answered. One that may hold data is left to go on: it may only be slow."""
    for instance in await task.engine.list_databases(task.subject):
        await task.engine.remove(instance.id)


_START = Effect(start, start_failed, deadline_s=limits.DATABASE_DEADLINE_S)

EFFECTS: dict[type[Intent], Effect] = {
    DatabaseCreateRequested: Effect(start, start_failed, discard, limits.DATABASE_DEADLINE_S),
    DatabaseStartRequested: _START,
    DatabaseUndeleted: _START,
    DatabaseStopRequested: Effect(stop),
    DatabaseDeleteRequested: Effect(delete),
    DatabaseDeleted: Effect(purge),
    DatabasePurgeRequested: Effect(purge),
}
