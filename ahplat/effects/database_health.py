"""Whether a database is ready: it answers a real query, as its user, over the network. A process that started is not enough.

Postgres is asked through asyncpg, which is imported where the first database is: who has none does not pay for it. Redis
speaks RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), of which this needs two lines.
"""

import asyncio
from typing import Any

from ahplat import limits
from ahplat.effects.database_specs import Plan
from ahplat.effects.health import crashed, tail_of
from ahplat.effects.task import Failed, Task
from ahplat.engines.engine import Instance


async def wait_ready(task: Task[Any], instance: Instance, plan: Plan) -> Instance:
    """Waits until it answers, and returns it as seen last. Its limit is the task's deadline.

    Raises Failed `crashed`, `out_of_memory`, `vanished` or `unready` with the last lines of the log; CalledOff and Expired as any
    step does.
    """
    poll_s, slowest_s = limits.HEALTH_POLL_S
    why = ""
    while True:
        seen = await task.step(task.engine.inspect, instance.id)
        if seen is None:
            raise Failed("vanished", "the server was removed from the engine while it was becoming ready")
        if seen.state == "exited":
            raise await crashed(task, seen, "ready")
        why = await task.unless_called_off(unready(seen, plan))
        if not why:
            return seen
        if task.platform.clock.now_us() + poll_s * 1e6 > task.deadline_us:
            raise Failed("unready", f"not ready within its time: {why}", await tail_of(task, seen))
        await task.pause(poll_s)
        poll_s = min(slowest_s, poll_s * 1.5)


async def unready(seen: Instance, plan: Plan) -> str:
    """Why it does not answer now; "" when it does."""
    if seen.state != "running" or not seen.host:
        return f"it is {seen.state} and has no address yet"
    query = redis_answers if plan.database.kind == "redis" else postgres_answers
    try:
        async with asyncio.timeout(limits.HEALTH_REQUEST_S):
            return await query(seen.host, seen.port, plan)
    except (OSError, TimeoutError, EOFError) as error:
        return f"nothing answers on port {seen.port} ({error or 'timeout'})"


async def postgres_answers(host: str, port: int, plan: Plan) -> str:
    """`SELECT 1`, as the user, in the database."""
    import asyncpg

    row = plan.database
    try:
        connection = await asyncpg.connect(
            host=host, port=port, user=row.username, password=plan.password, database=row.db_name, ssl=False
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"it refuses its user: {error}"
    try:
        return "" if await connection.fetchval("SELECT 1") == 1 else "SELECT 1 gave something else"
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"SELECT 1 failed: {error}"
    finally:
        connection.terminate()


async def redis_answers(host: str, port: int, plan: Plan) -> str:
    """`AUTH`, then `PING`: while it loads its data it refuses the second."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for words, wanted in ((("AUTH", plan.password), b"+OK"), (("PING",), b"+PONG")):
            writer.write(resp(*words))
            if (answer := (await reader.readline()).rstrip()) != wanted:
                return f"{words[0]} is answered {answer[:80].decode(errors='replace')}"
        return ""
    finally:
        writer.close()


def resp(*words: str) -> bytes:
    """A command as an array of bulk strings.

    >>> resp("PING")
    b'*1\\r\\n$4\\r\\nPING\\r\\n'
    """
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
