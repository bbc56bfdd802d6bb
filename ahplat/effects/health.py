"""Whether an instance is healthy: it answers HTTP on its health path, else takes a TCP connection, else just stays up.

The image's own HEALTHCHECK counts too, where it has one. `running` means that this passed, not that a process started.
"""

import asyncio
from typing import Any

import aiohttp
from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.effects.task import Failed, Task
from ahplat.engines.engine import Identity, Instance
from ahplat.errors import Unavailable
from projections import databases, deployments
from projections.crashes import in_words


async def wait_healthy(task: Task[Any], instances: list[Instance], port: int, health_path: str) -> list[Instance]:
    """Waits until all are healthy and returns them as seen last. `port` is the spec's, 0 for a worker.

    Raises Failed `crashed`, `out_of_memory`, `vanished` or `unhealthy` with the last lines of the log; CalledOff and
    Expired as any step does.
    """
    since_us = task.platform.clock.now_us()
    return [await _wait_one(task, instance, Check(port, health_path, since_us)) for instance in instances]


class Check(Struct, frozen=True):
    """What healthy means for an instance. `since_us` is from when on it was watched."""

    port: int
    path: str
    since_us: int


async def _wait_one(task: Task[Any], instance: Instance, check: Check) -> Instance:
    poll_s, slowest_s = limits.HEALTH_POLL_S
    why, is_late = "", False
    clock, timeout_s = task.platform.clock, task.platform.deploy_timeout_s
    limit_us = check.since_us + timeout_s * 1e6
    while not is_late:  # the last look comes when the time is over: what ended meanwhile has crashed
        is_late = clock.now_us() >= limit_us
        seen = await task.step(task.engine.inspect, instance.id)
        if seen is None:
            raise Failed("vanished", "the instance was removed from the engine while it was becoming healthy")
        if seen.state == "exited":
            raise await crashed(task, seen, "healthy")
        why = await task.unless_called_off(unhealthy(seen, check, (clock.now_us() - check.since_us) / 1e6))
        if not why:
            return seen
        await task.pause(min(poll_s, max(0.0, limit_us - clock.now_us()) / 1e6))
        poll_s = min(slowest_s, poll_s * 1.5)
    raise Failed("unhealthy", f"not healthy within {timeout_s:g} s: {why}", await tail_of(task, instance))


async def crashed(task: Task[Any], seen: Instance, wanted: str) -> Failed:
    """Why it ended early. Raises Unavailable where that may be the engine's own end: then it is started again."""
    if task.interrupted:
        raise Unavailable("engine_interrupted", "the engine was away, and the instance ended, maybe with it")
    tail = await tail_of(task, seen)
    if seen.oom_killed:
        how = in_words(seen.exit_code, True, _memory_mb(task.platform.views, seen.identity))
        return Failed("out_of_memory", f"the instance was {how}", tail)
    return Failed("crashed", f"the instance ended with exit code {seen.exit_code} before it was {wanted}", tail)


def _memory_mb(views: Connection, of: Identity) -> int | None:
    row = deployments.find(views, of.deployment) or databases.find(views, of.database)
    return row.memory_mb if row else None


async def tail_of(task: Task[Any], instance: Instance) -> str:
    """Its last lines; "" where the engine does not give them: what failed has failed all the same."""
    try:
        return await task.engine.tail(instance.id, limits.OUTCOME_TAIL_LINES)
    except Unavailable:
        return ""


async def unhealthy(seen: Instance, check: Check, up_s: float) -> str:
    """Why the instance is not healthy now; "" when it is. `up_s` is for how long it has been watched."""
    if seen.state != "running":
        return f"it is {seen.state}"
    if seen.health in ("starting", "unhealthy"):
        return f"the image's HEALTHCHECK says {seen.health}"
    if check.port == 0:
        return "" if up_s >= limits.WORKER_UP_S else f"it has been up for {up_s:.1f} s"
    if not seen.host or not seen.port:
        return "it has no address yet"
    if check.path:
        return await _http(seen.host, seen.port, check.path)
    return await _tcp(seen.host, seen.port)


async def _tcp(host: str, port: int) -> str:
    try:
        async with asyncio.timeout(limits.HEALTH_REQUEST_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        return f"nothing takes a connection on port {port} ({error or 'timeout'})"
    writer.close()
    return ""


async def _http(host: str, port: int, path: str) -> str:
    timeout = aiohttp.ClientTimeout(total=limits.HEALTH_REQUEST_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{host}:{port}{path}", allow_redirects=False) as response,
        ):
            return "" if 200 <= response.status < 400 else f"GET {path} answers {response.status}"
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return f"GET {path} fails: {error or 'timeout'}"
