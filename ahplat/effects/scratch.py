"""A scratch server: of a database's kind and image, with what is in one backup, for as long as that is looked at.

Its name and its labels are the backup's, so it is never taken for the database's own, and nothing leads to it: no route,
no name, and a password that nobody is told. Whatever died while there was one, it is found by its name and removed.
"""

from typing import Any

from msgspec import structs

from ahplat.effects import database_tools
from ahplat.effects.database_health import wait_ready
from ahplat.effects.database_specs import PATHS, Plan, server_spec
from ahplat.effects.networks import join_networks
from ahplat.effects.task import Platform, Task
from ahplat.engines.engine import Engine, Image, Instance, Mount, Spec, Volume


def scratch_name(backup_id: str) -> str:
    """Of its container and of its volume.

    >>> scratch_name("ab")
    'ah-dbscratch-ab'
    """
    return f"ah-dbscratch-{backup_id}"


def volume_of(backup_id: str, tenant_id: str, installation: str) -> Volume:
    """Where it puts what is in the backup."""
    return Volume(scratch_name(backup_id), installation, tenant_id)


def scratch_plan(plan: Plan, backup_id: str, platform: Platform) -> Plan:
    """The database as it is in the scratch server: with a password that follows from the backup, and is told to nobody."""
    return structs.replace(plan, password=platform.keyring.mac("specs", scratch_name(backup_id).encode()).hex())


def scratch_spec(plan: Plan, backup_id: str, image: Image, platform: Platform, attempt: int) -> Spec:
    """What it is to be. One of Redis does not begin before the backup is in its folder."""
    spec, name = server_spec(plan, image, platform, attempt), scratch_name(backup_id)
    return structs.replace(
        spec,
        name=name,
        identity=structs.replace(spec.identity, database=backup_id),
        env=spec.env | {"AH_SCRATCH": "1"},
        address="",
        mounts=(Mount(name, PATHS[plan.database.kind]),),
    )


async def fill(task: Task[Any], plan: Plan, backup_id: str) -> Instance:
    """A new one that holds what the backup does, and answers. `plan` is its own.

    Raises what `database_tools.feed` and `wait_ready` do.
    """
    await task.step(remove, task.engine, backup_id, task.work.tenant_id, task.platform.installation)
    image = await task.step(task.engine.fetch, plan.database.pinned or plan.database.image, task.over)
    await join_networks(task, plan.tenant, egress="none")
    volume = volume_of(backup_id, task.work.tenant_id, task.platform.installation)
    await task.step(task.engine.ensure_volume, volume)
    spec = scratch_spec(plan, backup_id, image, task.platform, task.attempt)
    started = await task.step(task.engine.find_or_start, spec, image)
    if plan.database.kind == "redis":
        await database_tools.feed(task, started, database_tools.TAKE_RDB, backup_id)
        return await wait_ready(task, started, plan)
    ready = await wait_ready(task, started, plan)
    await database_tools.make_roles(task, ready, backup_id)
    await database_tools.feed(task, ready, database_tools.load(plan.database.db_name), backup_id)
    return ready


async def remove(engine: Engine, backup_id: str, tenant_id: str, installation: str) -> None:
    """Removes it with its volume, where it is."""
    for found in await engine.list_databases(backup_id):
        await engine.remove(found.id)
    await engine.remove_volume(volume_of(backup_id, tenant_id, installation))
