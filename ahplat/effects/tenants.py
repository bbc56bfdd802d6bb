"""What is done about tenants: their services are stopped, started again or deleted by commands like any other."""

import asyncio

from ahplat import limits
from ahplat.clock import new_id
from ahplat.commands.command import Command
from ahplat.commands.database_backups import RemoveBackup
from ahplat.commands.databases import DeleteDatabase, StartDatabase, StopDatabase
from ahplat.commands.deployments import StartService
from ahplat.commands.services import DeleteService, StopService
from ahplat.commands.tenants import EndKeeping, KeepSuspended
from ahplat.commands.volumes import PurgeVolume
from ahplat.effects.builds import call_off
from ahplat.effects.networks import leave_networks
from ahplat.effects.task import Effect, Task
from ahplat.errors import Rejected, Unavailable
from events.event import Event, Intent
from events.tenants import (
    TenantErased,
    TenantErasureRequested,
    TenantKept,
    TenantQuieted,
    TenantReactivated,
    TenantResumed,
    TenantSuspended,
    TenantWorkSuperseded,
)
from projections import builds, database_backups, databases, paused, services, tenants, todo, volumes


async def quiet(task: Task[TenantSuspended]) -> list[Event]:
    """Stops all that runs of a suspended tenant; nothing, where it is back before that."""
    if tenants.status_of(task.platform.views, task.subject) == "active":
        return [TenantQuieted(task.work.intent, [])]
    await call_off(task, builds.list_of(task.platform.views, task.subject, ""))
    for backup in database_backups.of_tenant(task.platform.views, task.subject):
        if backup.is_open:  # its scratch server runs what is in it
            await _order(task, RemoveBackup(tenant_id=task.subject, backup_id=backup.backup_id))
    stopped = [
        row.service_id
        for row in services.list_of(task.platform.views, task.subject)
        if row.desired == "running"
        and await _order(task, StopService(tenant_id=task.subject, service_id=row.service_id))
    ]
    for database in databases.list_of(task.platform.views, task.subject):  # after those who use them
        await _order(task, StopDatabase(tenant_id=task.subject, database_id=database.database_id))
    due_us = task.platform.clock.now_us() + int(task.platform.keep_suspended_s * 1_000_000)
    await _order(task, KeepSuspended(tenant_id=task.subject, due_us=due_us))
    return [TenantQuieted(task.work.intent, stopped)]


async def resume(task: Task[TenantReactivated]) -> list[Event]:
    """Starts what was wanted to run when the tenant was suspended."""
    for database in databases.list_of(task.platform.views, task.subject):  # before those who use them
        await _order(task, StartDatabase(tenant_id=task.subject, database_id=database.database_id))
    started = []
    for service_id in paused.paused_of(task.platform.views, task.subject):
        deployment_id = new_id(task.platform.clock.now_us())
        order = StartService(tenant_id=task.subject, service_id=service_id, deployment_id=deployment_id)
        if await _order(task, order):
            started.append(service_id)
    return [TenantResumed(task.work.intent, started)]


async def end_keeping(task: Task[TenantKept]) -> list[Event]:
    """Asks for the erasure of a tenant that stayed suspended; that is what ends this work."""
    await _order(task, EndKeeping(tenant_id=task.subject, intent=task.work.intent))
    task.check()
    return [TenantWorkSuperseded(task.work.intent)]


async def erase(task: Task[TenantErasureRequested]) -> list[Event]:
    """Deletes the tenant's services and databases, waits until the engine holds nothing of it, then destroys its key."""
    tenant = tenants.find(task.platform.views, task.subject)
    assert tenant, task.subject
    for _ in range(limits.ERASURE_LOOKS):
        left = services.list_of(task.platform.views, task.subject)
        for row in left:  # each time: a command that was on its way may have made one more
            await _order(task, DeleteService(tenant_id=task.subject, service_id=row.service_id))
        kept = databases.kept_of(task.platform.views, task.subject)
        for database in kept:
            now_us = task.platform.clock.now_us()
            gone = DeleteDatabase(tenant_id=task.subject, database_id=database.database_id, purge_us=now_us, purge=True)
            await _order(task, gone)
        backups = database_backups.of_tenant(task.platform.views, task.subject)
        for backup in backups:
            await _order(task, RemoveBackup(tenant_id=task.subject, backup_id=backup.backup_id))
        written = volumes.list_of(task.platform.views, task.subject)
        for volume in written:
            await _order(task, PurgeVolume(tenant_id=task.subject, volume_id=volume.volume_id))
        if not (left or kept or backups or written or _work_elsewhere(task)):
            break
        await task.pause(limits.ERASURE_LOOK_S)
    else:
        raise Unavailable("waiting", "the tenant's services and databases are still being removed")
    await leave_networks(task, tenant)
    await task.step(task.platform.builder.forget_tenant, task.subject)
    await asyncio.to_thread(task.platform.keyring.erase, task.subject)
    task.platform.build_logs.remove(task.subject)
    task.platform.database_files.remove_tenant(task.subject)
    return [TenantErased(task.work.intent)]


def _work_elsewhere(task: Task[TenantErasureRequested]) -> bool:
    """Whether work is open on anything of the tenant's. On the tenant itself it waits for the erasure's own end."""
    open_work = todo.open_of_all(task.platform.views)
    return any(work.tenant_id == task.subject and work.subject != task.work.subject for work in open_work)


REFUSALS = (
    "service_not_found",
    "database_not_found",
    "volume_not_found",
    "backup_not_found",
    "backup_in_use",
    "volume_in_use",
    "circuit_open",
    "nothing_to_deploy",
    "quota_exceeded",
    "tenant_suspended",
)


async def _order(task: Task[Intent], command: Command) -> bool:
    """A command on behalf of the intent. False where it is refused: what is done, gone or forbidden by now stays so."""
    task.check()
    try:
        await task.submit(command)
    except Rejected as rejected:
        if rejected.code not in REFUSALS:
            raise
        return False
    return True


EFFECTS: dict[type[Intent], Effect] = {
    TenantSuspended: Effect(quiet),
    TenantReactivated: Effect(resume),
    TenantKept: Effect(end_keeping),
    TenantErasureRequested: Effect(erase),
}
