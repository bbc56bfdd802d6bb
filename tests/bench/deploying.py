"""What the platform adds to a deploy: over HTTP until the service runs, beside the engine's own calls and a connect."""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from msgspec import Struct

from ahplat.engines.docker import DockerEngine
from ahplat.engines.embedded import EmbeddedEngine
from ahplat.engines.engine import Engine, Identity, Network, Spec
from events.database import open_reader
from projections.views import read_checkpoint
from tests.bench.figure import Figure
from tests.bench.process import Served, docker_is_here, platform, register, serving
from tests.parts import docker

POLL_S = 0.005  # between two looks whether the bare instance takes a connection
HEALTHY_S = 60
DRAINED_S = 60
PORT = 8000
POOL = int(ipaddress.ip_address("10.136.0.0"))  # each run takes a piece of it at random, a /20
PIECES = 128


class Kind(Struct, frozen=True):
    """An engine to measure: how it is made for an installation, how the server is told, what is deployed."""

    name: str
    image: str
    make: Callable[[str, Path], Engine]
    options: tuple[str, ...] = ()


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Milliseconds of a deploy, on each engine that is here; ours and the bare one in turn."""
    kinds = [Kind("embedded", "ah/hello", EmbeddedEngine)]
    if docker_is_here():
        pool = f"{ipaddress.ip_address(POOL + secrets.randbelow(PIECES) * 4096)}/20"
        options = ("--docker-host", docker.HOST, "--tenant-pool", pool)
        kinds.append(
            Kind("docker", "hello:1", lambda who, data: DockerEngine(who, data, base_url=docker.HOST), options)
        )
    for kind in kinds:
        yield compared(kind, folder / kind.name, rounds=4 if quick else 12)


def compared(kind: Kind, folder: Path, rounds: int) -> Figure:
    """The medians. The server ends first, so that it repairs nothing; then what is left of both is removed."""
    folder.mkdir()
    ours, bare = folder / "ours", folder / "bare"
    whose = {bare: secrets.token_hex(16)}
    try:
        with serving(platform(ours, *kind.options, engine=kind.name), folder / "log") as server:
            whose[ours] = installation_of(ours)
            both = asyncio.run(in_turn(kind, server, whose[bare], bare, rounds))
    finally:
        asyncio.run(wipe([kind.make(who, data) for data, who in whose.items()]))
        if kind.name == "docker":
            remove_networks(list(whose.values()))
    return Figure(f"deploy, {kind.name}", "ms", median(one for one, _ in both), median(other for _, other in both))


def installation_of(data: Path) -> str:
    """What instances of the server whose data is there are labelled with."""
    views = open_reader(data / "views.db")
    checkpoint = read_checkpoint(views)
    views.close()
    assert checkpoint
    return checkpoint.installation


async def in_turn(kind: Kind, server: Served, who: str, data: Path, rounds: int) -> list[tuple[float, float]]:
    """(ours, bare) of each round; the first deploy of each, which fetches the image, is not counted."""
    engine, network = kind.make(who, data), a_network(who)
    try:
        key = await asyncio.to_thread(register, server)
        body = {"name": "web", "image": kind.image, "port": PORT, "memory_mb": 128}
        service = (await asyncio.to_thread(deploy, server, "/v1/services", key, body))["id"]
        await started(engine, network, kind.image, 0)
        found = []
        for number in range(1, rounds + 1):
            ours = await asyncio.to_thread(redeployed, server, key, service)
            found.append((ours, await started(engine, network, kind.image, number)))
        return found
    finally:
        await engine.close()


def deploy(server: Served, path: str, key: str, body: dict[str, object]) -> dict[str, str]:
    """Asks for a deploy and waits for its end; the service."""
    answer: dict[str, str] = server.ask("POST", path, key, body, Prefer=f"wait={HEALTHY_S}")
    assert answer["status"] == "running", answer
    return answer


def redeployed(server: Served, key: str, service: str) -> float:
    """Milliseconds until the new deployment serves. Then waits until the one before is gone."""
    began = time.perf_counter()
    deploy(server, f"/v1/services/{service}/redeploy", key, {})
    took_ms = (time.perf_counter() - began) * 1e3
    deadline = time.monotonic() + DRAINED_S
    while server.ask("GET", f"/v1/services/{service}/deployments?limit=2", key)[1]["status"] != "stopped":
        assert time.monotonic() < deadline, "what served before still runs"
        time.sleep(0.05)
    return took_ms


async def started(engine: Engine, network: Network, image: str, number: int) -> float:
    """Milliseconds until a fresh instance takes a connection. Then removes it."""
    began = time.perf_counter()
    fetched = await engine.fetch(image, lambda: False)
    await engine.ensure_network(network)
    instance = await engine.find_or_start(a_spec(network, number), fetched)
    while not await takes_connections(instance.host, instance.port):
        assert time.perf_counter() - began < HEALTHY_S, "the instance takes no connection"
        await asyncio.sleep(POLL_S)
    took_ms = (time.perf_counter() - began) * 1e3
    await engine.remove(instance.id)
    return took_ms


async def takes_connections(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def a_network(who: str) -> Network:
    """A network in a part of the pool that no server of this run uses."""
    subnet = ipaddress.ip_network((POOL + PIECES * 4096 + secrets.randbelow(1024) * 64, 26))
    return Network(f"ah-tenant-{who[:10]}", f"ah{who[:10]}", str(subnet), who, who[:10])


def a_spec(network: Network, number: int) -> Spec:
    identity = Identity(network.instance, 1, network.tenant, "svc", f"dep{number}", number, 1, 7, "hash", 1)
    env = {"PORT": str(PORT), "AH_SERVICE": "svc", "AH_DEPLOYMENT": f"dep{number}"}
    return Spec(f"ah-{network.tenant}-svc-{number}-1", identity, env, PORT, 128, 1000, network)


async def wipe(engines: list[Engine]) -> None:
    """Removes all instances that they have."""
    for engine in engines:
        for instance in await engine.list():
            await engine.remove(instance.id)
        await engine.close()


def remove_networks(whose: list[str]) -> None:
    """Those of these installations."""
    for who in whose:
        found = docker.client("network", "ls", "-q", "--filter", f"label=ah.instance={who}").split()
        if found:
            docker.client("network", "rm", *found)
