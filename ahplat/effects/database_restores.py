"""Puts what is in a backup in the place of what a database holds, which it goes on serving until the new is whole.

Postgres: the backup is restored into `ah_restore` beside the database. Then one transaction renames the database to
`ah_before` and `ah_restore` to the database, and `ah_before` is dropped. A comment on what was restored names the intent:
an attempt that finds it on the database knows that the exchange was made. So there is one of the two, whole, at any time.
With the exchange the restore is done: what could not be dropped then goes with the next one.

Redis: a scratch server with the backup becomes the master of the database, which replaces what it holds once all of the
new has arrived. When its file of appends was written anew it has the new for good, and only then is it its own master
again, and takes writes.
"""

import logging
from typing import Any

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.effects import database_tools, scratch
from ahplat.effects.database_specs import Plan, load_plan
from ahplat.effects.database_tools import in_redis, psql, run, server_of
from ahplat.effects.task import Effect, Failed, Task
from ahplat.engines.engine import Engine, Instance
from ahplat.errors import Rejected, Unavailable
from events.databases import DatabaseRestored, DatabaseRestoreFailed, DatabaseRestoreRequested
from events.event import Event, Intent

logger = logging.getLogger("ahplat.databases")

RESTORED, BEFORE = "ah_restore", "ah_before"
_STAYS = (  # what Postgres would not let go
    "SELECT CASE WHEN datistemplate THEN 'it is a template' ELSE 'it has a subscription' END FROM pg_database"
    " LEFT JOIN pg_subscription ON subdbid = pg_database.oid"
    " WHERE datname = '{name}' AND (datistemplate OR subdbid IS NOT NULL) LIMIT 1"
)
_OWN_MASTER = ("REPLICAOF", "NO", "ONE")
_NO_SECRET = ("CONFIG", "SET", "masterauth", "")


async def restore(task: Task[DatabaseRestoreRequested]) -> list[Event]:
    """The database holds what the backup does, and nothing else."""
    plan, backup_id = load_plan(task.platform, task.subject), task.intent.backup_id
    server = await server_of(task, plan)
    await task.step(task.engine.end_execution, server.id, backup_id)
    exchange = _in_redis if plan.database.kind == "redis" else _in_postgres
    try:
        await exchange(task, plan, server)
    except Rejected as refused:
        if refused.code in ("command_failed", "not_running"):
            raise Failed("restore_failed", refused.detail) from refused
        raise
    return [DatabaseRestored(task.work.intent, backup_id)]


async def _in_postgres(task: Task[DatabaseRestoreRequested], plan: Plan, server: Instance) -> None:
    name, mark = plan.database.db_name, f"ah restore {task.work.intent}"
    comment = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{name}'"
    found = await _sql(task, server, comment)  # an empty line where it has none, nothing where there is no database
    if found.strip() != mark:
        if why := await _sql(task, server, _STAYS.format(name=name)):
            raise Failed("restore_failed", f"it could not take the database's place: {why.strip()}")
        await _sql(task, server, *(_drop(left) for left in (RESTORED, BEFORE)))
        await _sql(task, server, f"CREATE DATABASE {RESTORED} TEMPLATE template0")
        await database_tools.make_roles(task, server, task.intent.backup_id)
        await database_tools.feed(task, server, database_tools.load(RESTORED), task.intent.backup_id)
        await _sql(task, server, f"COMMENT ON DATABASE {RESTORED} IS '{mark}'")
        await _exchange(task, server, name, is_there=bool(found))
    try:
        await _sql(task, server, _drop(BEFORE))
    except (Failed, Rejected) as failed:
        logger.warning("database-%s: what it held before its restore is still there: %s", task.subject, failed.detail)


async def _exchange(task: Task[DatabaseRestoreRequested], server: Instance, name: str, is_there: bool) -> None:
    """In one transaction, once a moment without clients is found: they are cut off, and who is quick is back before it."""
    swap = f"ALTER DATABASE {RESTORED} RENAME TO {name}"
    if is_there:
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        swap = f"{cut}; ALTER DATABASE {name} RENAME TO {BEFORE}; {swap}"
    for left in reversed(range(limits.DATABASE_SWAP_TRIES)):
        try:
            await _sql(task, server, swap)
            break
        except Failed:
            if not left:
                raise


def _drop(name: str) -> str:
    return f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"


async def _sql(task: Task[DatabaseRestoreRequested], server: Instance, *statements: str) -> str:
    return await task.step(run, task.engine, server.id, psql("postgres", *statements), task.intent.backup_id)


async def _in_redis(task: Task[DatabaseRestoreRequested], plan: Plan, server: Instance) -> None:
    backup_id = task.intent.backup_id
    await task.step(_obey, task.engine, server.id, _OWN_MASTER, backup_id)
    other = scratch.scratch_plan(plan, backup_id, task.platform)
    master = await scratch.fill(task, other, backup_id)
    words = f"CONFIG SET masterauth {other.password}\nREPLICAOF {master.host} {master.port}\n"
    said = await task.step(database_tools.tell, task.engine, server.id, in_redis(), backup_id, words)
    if said.split() != ["OK", "OK"]:
        raise Failed("restore_failed", f"it does not take another master: {said[:200]}")
    await _until(task, server, "replication", {"master_link_status": "up", "master_sync_in_progress": "0"}, master)
    await _until(task, server, "persistence", {"aof_rewrite_in_progress": "0", "aof_rewrite_scheduled": "0"})
    await task.step(scratch.remove, task.engine, backup_id, task.work.tenant_id, task.platform.installation)
    for order in (_NO_SECRET, _OWN_MASTER):
        await task.step(_obey, task.engine, server.id, order, backup_id)


async def _obey(engine: Engine, instance_id: str, words: tuple[str, ...], mark: str) -> None:
    """A command that Redis is to take. Raises Unavailable while it loads what has arrived, for then it takes none; Failed."""
    said = await run(engine, instance_id, in_redis(*words), mark)
    if said.startswith("LOADING"):
        raise Unavailable("database_loading", "the database is loading what has arrived")
    if not said.startswith("OK"):
        raise Failed("restore_failed", f"{words[0]}: {said[:200].strip()}")


async def _until(
    task: Task[DatabaseRestoreRequested],
    server: Instance,
    section: str,
    wanted: dict[str, str],
    master: Instance | None = None,
) -> None:
    """Waits until `INFO` says all of that. While it loads what has arrived it says nothing of the kind."""
    ask = in_redis("INFO", section)
    while True:
        told = await task.step(run, task.engine, server.id, ask, task.intent.backup_id)
        if wanted.items() <= dict(line.split(":", 1) for line in told.split() if ":" in line).items():
            return
        if master is not None:
            seen = await task.step(task.engine.inspect, master.id)
            if seen is None or seen.state != "running":
                raise Unavailable("scratch_gone", "the scratch server ended before all had arrived")
        await task.pause(limits.DATABASE_POLL_S)


async def undo(task: Task[DatabaseRestoreRequested]) -> None:
    """Takes away what was to take the place of what the database holds."""
    plan, backup_id = load_plan(task.platform, task.subject), task.intent.backup_id
    server = await task.engine.inspect(plan.database.container_id or "")
    if server is not None and server.state == "running":
        await task.engine.end_execution(server.id, backup_id)
        if plan.database.kind == "redis":
            for words in (_OWN_MASTER, _NO_SECRET):
                await _obey(task.engine, server.id, words, backup_id)
        else:
            await run(task.engine, server.id, psql("postgres", _drop(RESTORED)), backup_id)
    await scratch.remove(task.engine, backup_id, task.work.tenant_id, task.platform.installation)


def restore_failed(task: Task[Any], failed: Failed) -> Command:
    """The database goes on with what it held."""
    why = f"{failed.detail}\n{failed.tail}".strip()
    sealed = task.seal("detail", why)
    return task.conclusion([DatabaseRestoreFailed(task.work.intent, task.intent.backup_id, failed.code, sealed)])


EFFECTS: dict[type[Intent], Effect] = {
    DatabaseRestoreRequested: Effect(restore, restore_failed, undo, limits.DATABASE_RESTORE_DEADLINE_S)
}
