"""What is done about backups of databases: taken out of the server, proved in a scratch server, and removed.

Each step finds what an earlier attempt left and begins anew: the dump that still runs is ended, the file is written over,
the scratch server is removed.
"""

from collections.abc import Collection
from contextlib import aclosing
from typing import Any

from apsw import Connection

from ahplat import limits
from ahplat.backups.database_files import Stored
from ahplat.commands.command import Command
from ahplat.effects import database_tools, scratch
from ahplat.effects.database_specs import Plan, load_plan
from ahplat.effects.database_tools import program_of, psql, run, server_of, within
from ahplat.effects.task import Effect, Failed, Task
from ahplat.engines.engine import Instance
from ahplat.errors import Rejected, Unavailable
from events.database_backups import (
    DatabaseBackupFailed,
    DatabaseBackupRemoved,
    DatabaseBackupRemoveRequested,
    DatabaseBackupRequested,
    DatabaseBackupTaken,
    DatabaseBackupVerified,
)
from events.event import Event, Intent
from projections import database_backups, databases
from projections.todo import TodoRow

_COUNT = (
    "SELECT count(*), coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class"
    " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    " WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')"
)


def has_turn(views: Connection, work: TodoRow, busy: Collection[str]) -> bool:
    """Whether one may be taken or proved now: DATABASE_BACKUPS_AT_ONCE in all, and one of a tenant's."""
    others = [subject for subject in busy if subject.startswith("backup-") and subject != work.subject]
    rows = [database_backups.find(views, subject.partition("-")[2]) for subject in others]
    return len(others) < limits.DATABASE_BACKUPS_AT_ONCE and work.tenant_id not in {
        row.tenant_id for row in rows if row
    }


async def take(task: Task[DatabaseBackupRequested]) -> list[Event]:
    """Writes what is in the database into a sealed file."""
    plan = _running(task)
    try:
        server = await server_of(task, plan)
        await task.step(task.engine.end_execution, server.id, task.subject)
        roles = await _roles(task, plan, server)
        stored = await within(task, _dumped(task, plan, server))
    except Rejected as refused:
        if refused.code == "command_failed" and await _still_runs(task, server):
            raise Failed("dump_failed", f"{program_of(database_tools.dump(plan))}: {refused.detail}") from refused
        if refused.code in ("command_failed", "not_running", "database_not_running"):
            raise Unavailable("database_not_running", refused.detail) from refused
        raise
    return [DatabaseBackupTaken(task.work.intent, stored.size, stored.sha256, task.seal("roles", roles))]


async def _roles(task: Task[Any], plan: Plan, server: Instance) -> str:
    if plan.database.kind == "redis":
        return ""
    roles = await task.step(run, task.engine, server.id, psql("postgres", database_tools.ROLES), task.subject)
    if roles.count("CREATE ROLE") > limits.DATABASE_ROLES:
        raise Failed("too_many_roles", f"a database with more than {limits.DATABASE_ROLES} roles cannot be backed up")
    return roles


def _running(task: Task[DatabaseBackupRequested]) -> Plan:
    """The database. Raises Failed where it is not to run any more, Unavailable where it is to run again."""
    row = databases.find(task.platform.views, task.intent.database_id)
    if row is None or row.desired != "running" or row.status == "failed":
        raise Failed("database_not_running", f"the database is {row.status if row else 'gone'}")
    if row.status != "running":
        raise Unavailable("database_not_running", f"the database is {row.status}")
    return load_plan(task.platform, row.database_id)


async def _still_runs(task: Task[Any], server: Instance) -> bool:
    seen = await task.step(task.engine.inspect, server.id)
    return seen is not None and seen.state == "running"


async def _dumped(task: Task[Any], plan: Plan, server: Instance) -> Stored:
    dump = task.engine.pipe(server.id, database_tools.dump(plan), task.subject)
    async with aclosing(dump):
        return await task.platform.database_files.store(task.work.tenant_id, task.subject, dump)


async def prove(task: Task[DatabaseBackupTaken]) -> list[Event]:
    """Restores it into a scratch server, asks that what is in it, and removes the server."""
    plan = _proved_as(task)
    try:
        server = await scratch.fill(task, plan, task.subject)
        found = await _counted(task, plan, server)
    except Rejected as refused:
        if refused.code in ("command_failed", "not_running"):
            raise Failed("not_restorable", refused.detail) from refused
        raise
    await task.step(scratch.remove, task.engine, task.subject, task.work.tenant_id, task.platform.installation)
    return [found]


def _proved_as(task: Task[DatabaseBackupTaken]) -> Plan:
    row = database_backups.find(task.platform.views, task.subject)
    assert row, f"an intent names backup {task.subject}, the views do not know it"
    database = databases.find(task.platform.views, row.database_id)
    if database is None or database.desired == "purged":
        raise Failed("database_purged", "the database is gone for good")
    return scratch.scratch_plan(load_plan(task.platform, row.database_id), task.subject, task.platform)


async def _counted(task: Task[Any], plan: Plan, server: Instance) -> DatabaseBackupVerified:
    """What a real query says of it."""
    if plan.database.kind == "redis":
        said = await task.step(run, task.engine, server.id, database_tools.in_redis("INFO", "keyspace"), task.subject)
        return DatabaseBackupVerified(task.work.intent, keys=keys_in(said))
    ask = psql(plan.database.db_name, "ANALYZE", _COUNT)
    said = await task.step(run, task.engine, server.id, ask, task.subject)
    tables, _, rows = said.strip().partition("|")
    if not (tables.isdecimal() and rows.isdecimal()):
        raise Failed("not_restorable", f"expected a count of tables and rows, found {said[:80]!r}")
    return DatabaseBackupVerified(task.work.intent, tables=int(tables), rows=int(rows))


def keys_in(keyspace: str) -> int:
    """How many keys there are, of what `INFO keyspace` says. Raises Failed.

    >>> keys_in("# Keyspace\\r\\ndb0:keys=3,expires=0,avg_ttl=0\\r\\ndb7:keys=4,expires=0,avg_ttl=0\\r\\n")
    7
    """
    head, *lines = keyspace.split() or [""]
    if head != "#":
        raise Failed("not_restorable", f"expected the keys of each database, found {keyspace[:80]!r}")
    return sum(int(line.partition("keys=")[2].partition(",")[0]) for line in lines[1:])


async def discard(task: Task[Any]) -> None:
    """Removes the scratch server and the file, whole or half: it is of no use."""
    await scratch.remove(task.engine, task.subject, task.work.tenant_id, task.platform.installation)
    task.platform.database_files.remove(task.work.tenant_id, task.subject)


async def remove(task: Task[DatabaseBackupRemoveRequested]) -> list[Event]:
    """Removes whatever there is of it."""
    task.check()
    await discard(task)
    return [DatabaseBackupRemoved(task.work.intent)]


def backup_failed(task: Task[Any], failed: Failed) -> Command:
    """Nothing of it is left but why."""
    why = f"{failed.detail}\n{failed.tail}".strip()
    return task.conclusion([DatabaseBackupFailed(task.work.intent, failed.code, task.seal("detail", why))])


EFFECTS: dict[type[Intent], Effect] = {
    DatabaseBackupRequested: Effect(take, backup_failed, discard, limits.DATABASE_BACKUP_DEADLINE_S, has_turn),
    DatabaseBackupTaken: Effect(prove, backup_failed, discard, limits.DATABASE_BACKUP_DEADLINE_S, has_turn),
    DatabaseBackupRemoveRequested: Effect(remove),
}
