"""Whether an instance is healthy: it answers HTTP on its health path, else takes a TCP connection, else just stays up.

The image's own HEALTHCHECK counts too, where it has one. `running` means that this passed, not that a process started.
"""

import asyncio

import aiohttp

from ahplat import limits
from ahplat.effects.task import Failed, Task
from ahplat.engines.engine import Instance
from events.event import Intent


async def wait_healthy(task: Task[Intent], instances: list[Instance], health_path: str) -> list[Instance]:
    """Waits until all are healthy and returns them as seen last.

    Raises Failed `crashed` or `unhealthy` with the last lines of the log; CalledOff and Expired as any step does.
    """
    limit_us = task.platform.clock.now_us() + int(task.platform.deploy_timeout_s * 1e6)
    return [await _wait_one(task, instance, health_path, limit_us) for instance in instances]


async def _wait_one(task: Task[Intent], instance: Instance, health_path: str, limit_us: int) -> Instance:
    poll_s, slowest_s = limits.HEALTH_POLL_S
    up_since_us = task.platform.clock.now_us()
    why = "it was not looked at yet"
    while task.platform.clock.now_us() < limit_us:
        seen = await task.step(task.engine.inspect, instance.id)
        if seen is None:
            raise Failed("vanished", "the instance was removed from the engine while it was becoming healthy")
        if seen.state == "exited":
            raise await _crashed(task, seen)
        up_s = (task.platform.clock.now_us() - up_since_us) / 1e6
        why = await unhealthy(seen, health_path, up_s)
        if not why:
            return seen
        await task.pause(poll_s)
        poll_s = min(slowest_s, poll_s * 1.5)
    tail = await task.engine.tail(instance.id, limits.OUTCOME_TAIL_LINES)
    raise Failed("unhealthy", f"not healthy within {task.platform.deploy_timeout_s:g} s: {why}", tail)


async def _crashed(task: Task[Intent], seen: Instance) -> Failed:
    tail = await task.engine.tail(seen.id, limits.OUTCOME_TAIL_LINES)
    if seen.oom_killed:
        return Failed("out_of_memory", "the instance was killed for using more memory than memory_mb allows", tail)
    return Failed("crashed", f"the instance ended with exit code {seen.exit_code} before it was healthy", tail)


async def unhealthy(seen: Instance, health_path: str, up_s: float) -> str:
    """Why the instance is not healthy now; "" when it is. `up_s` is for how long it has been watched."""
    if seen.state != "running":
        return f"it is {seen.state}"
    if seen.health in ("starting", "unhealthy"):
        return f"the image's HEALTHCHECK says {seen.health}"
    if seen.port == 0:
        return "" if up_s >= limits.WORKER_UP_S else f"it has been up for {up_s:.1f} s"
    if health_path:
        return await _http(seen.host, seen.port, health_path)
    return await _tcp(seen.host, seen.port)


async def _tcp(host: str, port: int) -> str:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), limits.HEALTH_REQUEST_S)
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
