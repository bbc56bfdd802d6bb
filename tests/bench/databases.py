"""What the platform adds until a new database answers a query, beside bare `docker run` and the same query."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median

import asyncpg
import docker as sdk

from tests.bench.figure import Figure
from tests.bench.process import docker_is_here
from tests.parts import docker
from tests.real.beside import wipe
from tests.real.platform.server import OPEN, Server, Tenant, eventually

POLL_S = 0.005
ANSWERS_S = 60
PASSWORD = secrets.token_hex(16)  # of the bare ones, which live for a moment on a network of their own
REDIS = "exec docker-entrypoint.sh redis-server - <<END\nrequirepass $REDIS_PASSWORD\nappendonly yes\nEND\n"
LIMITS = ("--memory=512m", "--cpus=1", "--pids-limit=256", "--security-opt=no-new-privileges")


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Both kinds, where Docker is here."""
    if not docker_is_here():
        return
    server = Server(folder / "ah", *OPEN, "--no-rate-limits")
    client = sdk.DockerClient(base_url=docker.HOST)
    try:
        tenant = server.start().register("bench")
        for kind in ("postgres", "redis"):
            yield first_answer(tenant, kind, rounds=4 if quick else 12)
    finally:
        server.end()
        wipe(client, server.installation)
        client.close()


def first_answer(tenant: Tenant, kind: str, rounds: int) -> Figure:
    """Milliseconds from asking until a query was answered, in turn with the bare one. The first round is not counted."""
    network = f"bench-{secrets.token_hex(4)}"
    docker.client("network", "create", "--internal", network)
    try:
        found = [(ours(tenant, kind), bare(network, kind)) for _ in range(rounds + 1)]
    finally:
        docker.client("network", "rm", network)
    own, others = zip(*found[1:], strict=True)
    return Figure(f"POST database to running, {kind}", "ms", median(own), median(others))


def ours(tenant: Tenant, kind: str) -> float:
    began = time.perf_counter()
    body = {"name": "store", "type": kind}
    made = tenant.call("POST", "/v1/databases", body, Prefer=f"wait={ANSWERS_S}")
    took_ms = (time.perf_counter() - began) * 1e3
    assert made["status"] == "running", made
    path = f"/v1/databases/{made['id']}"
    tenant.call("DELETE", f"{path}?purge=true")
    eventually(lambda: tenant.ask("GET", path).status == 404)
    return took_ms


def bare(network: str, kind: str) -> float:
    """The same image with the same limits and a volume of its own, which goes with it."""
    began = time.perf_counter()
    made = docker.client(*arguments(network, kind)).strip()
    try:
        address = docker.client(
            "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", made
        ).strip()
        asyncio.run(until_answered(postgres if kind == "postgres" else redis, address))
        return (time.perf_counter() - began) * 1e3
    finally:
        docker.client("rm", "--force", "--volumes", made)


def arguments(network: str, kind: str) -> tuple[str, ...]:
    run = ("run", "--detach", "--runtime=runsc", f"--network={network}", *LIMITS)
    if kind == "postgres":
        return (*run, f"--env=POSTGRES_PASSWORD={PASSWORD}", "postgres:16-alpine")
    return (*run, f"--env=REDIS_PASSWORD={PASSWORD}", "redis:7-alpine", "sh", "-c", REDIS)


async def until_answered(query: Callable[[str], Awaitable[bool]], address: str) -> None:
    deadline = time.monotonic() + ANSWERS_S
    while not await query(address):
        assert time.monotonic() < deadline, f"no query is answered at {address}"
        await asyncio.sleep(POLL_S)


async def postgres(address: str) -> bool:
    """Whether `SELECT 1` is answered."""
    try:
        connection = await asyncpg.connect(
            host=address, user="postgres", password=PASSWORD, database="postgres", ssl=False, timeout=5
        )
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    try:
        return bool(await connection.fetchval("SELECT 1") == 1)
    finally:
        connection.terminate()


async def redis(address: str) -> bool:
    """Whether `PING` is answered, after `AUTH`."""
    try:
        reader, writer = await asyncio.open_connection(address, 6379)
    except OSError:
        return False
    try:
        writer.write(f"AUTH {PASSWORD}\r\nPING\r\n".encode())
        return [await reader.readline(), await reader.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False
    finally:
        writer.close()
