"""What is run in a database's container to read it, to write it and to ask it.

The programs are those that the image brings for its own server. They find it, and its password, in the environment of the
container: so the password is in no argv, and it is the same in a container as beside an embedded server.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from ahplat import limits
from ahplat.effects.database_specs import Plan
from ahplat.effects.task import Expired, Failed, Task
from ahplat.engines.engine import Engine, Instance
from ahplat.errors import Rejected
from projections import database_backups

T = TypeVar("T")

_POSTGRES = 'export PGHOST=127.0.0.1 PGPORT="$PORT" PGUSER="$POSTGRES_USER" PGPASSWORD="$POSTGRES_PASSWORD"; exec "$@"'
_REDIS = 'export REDISCLI_AUTH="$REDIS_PASSWORD"; exec redis-cli -p "$PORT" "$@"'
ROLES = (
    "SELECT string_agg(format('DO $do$ BEGIN CREATE ROLE %I; EXCEPTION WHEN duplicate_object THEN NULL; END $do$', rolname),"
    f" '; ') FROM (SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY oid LIMIT {limits.DATABASE_ROLES + 1}) AS made"
)
"""Says the SQL that makes all roles, by their names alone, where they are missing: a dump names them and does not make them."""

RDB = "dump.rdb"  # what a scratch server waits for, in the folder of its data, where commands are run, too
TAKE_RDB = ("sh", "-c", f"cat > half && mv half {RDB}")


def in_postgres(*argv: str) -> tuple[str, ...]:
    """A program of Postgres, as the database's user."""
    return ("sh", "-c", _POSTGRES, "sh", *argv)


def in_redis(*words: str) -> tuple[str, ...]:
    """A command of Redis, or what `redis-cli` takes."""
    return ("sh", "-c", _REDIS, "sh", *words)


def psql(database: str, *statements: str) -> tuple[str, ...]:
    """Statements, each in a transaction of its own, whose rows are said as `a|b`; without any, those on stdin."""
    said = (word for statement in statements for word in ("-c", statement))
    return in_postgres("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, *said)


def dump(plan: Plan) -> tuple[str, ...]:
    """All that is in the database, on stdout."""
    if plan.database.kind == "redis":
        return in_redis("--rdb", "-")
    return in_postgres("pg_dump", "-Fc", "--lock-wait-timeout=60s", "-d", plan.database.db_name)


def load(database: str) -> tuple[str, ...]:
    """Puts what comes on stdin into an empty database of Postgres."""
    return in_postgres("pg_restore", "--exit-on-error", "-d", database)


async def run(engine: Engine, instance_id: str, argv: tuple[str, ...], mark: str) -> str:
    """What a short command says. Raises Failed `command_failed` where it ends with anything but 0."""
    done = await engine.execute(instance_id, argv, mark, limits.DATABASE_QUERY_S)
    said = done.stdout.decode(errors="replace")
    if done.exit_code != 0:
        why = (done.stderr or done.stdout)[-limits.PIPE_TAIL_BYTES :].decode(errors="replace").strip()
        raise Failed("command_failed", f"{program_of(argv)} ended with exit code {done.exit_code}: {why}")
    return said


def program_of(argv: tuple[str, ...]) -> str:
    """Which program a command is, for whoever reads that it failed.

    >>> program_of(psql("postgres", "SELECT 1")), program_of(in_redis("PING"))
    ('psql', 'redis-cli')
    """
    return "redis-cli" if argv[2] == _REDIS else argv[4]


async def feed(task: Task[Any], instance: Instance, argv: tuple[str, ...], backup_id: str) -> None:
    """Gives what is in a backup to a command. Raises Rejected `command_failed`; Unreadable; CalledOff and Expired."""
    await within(task, _fed(task, instance, argv, backup_id))


async def _fed(task: Task[Any], instance: Instance, argv: tuple[str, ...], backup_id: str) -> None:
    chunks = task.platform.database_files.read(task.work.tenant_id, backup_id)
    async with aclosing(chunks), aclosing(task.engine.pipe(instance.id, argv, backup_id, chunks)) as said:
        async for _ in said:
            pass


async def make_roles(task: Task[Any], instance: Instance, backup_id: str) -> None:
    """Makes the roles that a backup of Postgres may name."""
    row = database_backups.find(task.platform.views, backup_id)
    if row is not None and row.roles:
        sql = task.platform.keyring.unseal(row.tenant_id, f"backup-{backup_id}", "roles", row.roles).decode()
        await task.step(tell, task.engine, instance.id, psql("postgres"), backup_id, sql)


async def tell(engine: Engine, instance_id: str, argv: tuple[str, ...], mark: str, words: str) -> str:
    """What a command says to `words` on its stdin, which is where a secret may be."""

    async def once() -> AsyncGenerator[bytes, None]:
        yield words.encode()

    async with aclosing(engine.pipe(instance_id, argv, mark, once())) as said:
        return b"".join([piece async for piece in said]).decode(errors="replace")


async def within(task: Task[Any], call: Coroutine[Any, Any, T]) -> T:
    """What a call says, ended where it is when the work is called off or its time is over."""
    left_s = (task.deadline_us - task.platform.clock.now_us()) / 1e6
    try:
        async with asyncio.timeout(left_s):
            return await task.unless_called_off(call)
    except TimeoutError as error:
        raise Expired("deadline", "it did not come to an end within its deadline") from error


async def server_of(task: Task[Any], plan: Plan) -> Instance:
    """The database's server. Raises Rejected `database_not_running` where it does not run."""
    seen = await task.step(task.engine.inspect, plan.database.container_id or "")
    if seen is None or seen.state != "running":
        raise Rejected("database_not_running", "the database's server does not run")
    return seen
