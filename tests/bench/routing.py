"""What the platform adds until a new service answers through Traefik, beside bare `docker run`; and what switches lose."""

import asyncio
import http.client
import secrets
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import docker as sdk
from msgspec import Struct

from tests.bench.figure import Figure
from tests.bench.process import docker_is_here
from tests.parts import docker
from tests.real.beside import wipe
from tests.real.platform.asking import Answers, asking, image_of
from tests.real.platform.router import Traefik
from tests.real.platform.server import OPEN, Server, Service, Tenant

POLL_S = 0.005
ANSWERS_S = 60
PORT = 8000
PER_S = 12  # of each of four kinds of client
EXPLAINED = 200  # lines of each kind


class Bench(Struct, frozen=True):
    """A server behind a Traefik of its own."""

    server: Server
    traefik: Traefik
    tenant: Tenant


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Both, where Docker and Traefik are here."""
    if not docker_is_here():
        return
    traefik = Traefik(folder / "traefik", told=True).start()
    server = Server(folder / "ah", *OPEN, *traefik.options, "--no-rate-limits")
    client = sdk.DockerClient(base_url=docker.HOST)
    try:
        bench = Bench(server.start(), traefik, server.register("bench"))
        yield first_answer(bench, rounds=4 if quick else 12)
        yield asyncio.run(switches(bench, client, deploys=10 if quick else 100))
    finally:
        server.end()
        traefik.end()
        wipe(client, server.installation)
        client.close()


def first_answer(bench: Bench, rounds: int) -> Figure:
    """Milliseconds from asking for a service to its first 200, in turn with the bare one. The first round is not counted."""
    network = f"bench-{secrets.token_hex(4)}"
    docker.client("network", "create", "--internal", network)
    try:
        found = [(ours(bench), bare(network)) for _ in range(rounds + 1)]
    finally:
        docker.client("network", "rm", network)
    own, others = zip(*found[1:], strict=True)
    return Figure("POST service to first 200", "ms", median(own), median(others))


def ours(bench: Bench) -> float:
    began = time.perf_counter()
    service = bench.tenant.create("web", "hello:1", cpu_count=1)
    host = urlsplit(service.now["url"]).netloc
    took_ms = until_200("127.0.0.1", bench.traefik.web, host, began)
    bench.tenant.call("DELETE", service.path)
    deadline = time.monotonic() + ANSWERS_S
    while not _is_gone(service):
        assert time.monotonic() < deadline, "a deleted service is still there"
        time.sleep(0.05)
    return took_ms


def _is_gone(service: Service) -> bool:
    return any(event["type"] == "service.deleted" for event in service.events())


def bare(network: str) -> float:
    began = time.perf_counter()
    made = docker.client(
        *("run", "--detach", "--runtime=runsc", f"--network={network}", "--memory=128m", "--cpus=1"),
        *("--read-only", "--tmpfs=/tmp", f"--env=PORT={PORT}", "hello:1"),
    ).strip()
    address = docker.client(
        "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", made
    ).strip()
    took_ms = until_200(address, PORT, address, began)
    docker.client("rm", "--force", made)
    return took_ms


def until_200(address: str, port: int, host: str, began: float) -> float:
    """Milliseconds since `began` until a request is answered with 200."""
    while not answers(address, port, host):
        assert time.perf_counter() - began < ANSWERS_S, f"{host} does not answer"
        time.sleep(POLL_S)
    return (time.perf_counter() - began) * 1e3


def answers(address: str, port: int, host: str) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


async def switches(bench: Bench, client: sdk.DockerClient, deploys: int) -> Figure:
    """Requests that failed while one image after the other took the service over; every tenth time by a rollback."""
    tenant = bench.tenant
    images = [await asyncio.to_thread(image_of, client, tenant, version) for version in ("1", "2")]
    service = await asyncio.to_thread(tenant.run, "switched", images[0])
    host = urlsplit((await asyncio.to_thread(lambda: service.now))["url"]).netloc
    async with asking(bench.traefik.web, host, PER_S) as found:
        for number in range(deploys):
            if number % 10 == 9:
                await asyncio.to_thread(service.order, "rollback" if number % 20 == 9 else "restart", None, 60)
                continue
            deployment = await asyncio.to_thread(service.deploy, images[1 - number % 2])
            await asyncio.to_thread(deployment.until, "running")
            if number % 2:  # the others supersede the draining before them, so that it takes longer than drain_s
                await asyncio.to_thread(service.settled)
        await asyncio.to_thread(service.settled)
        await asyncio.sleep(1)
    print(
        f"{deploys} switches, {found.total()} requests, {len(found.lost)} lost, the slowest took {found.slowest_s:.2f} s",
        file=sys.stderr,
        flush=True,
    )
    if found.lost:
        await asyncio.to_thread(explain, bench, service, found)
    return Figure("requests lost at switches", "", len(found.lost))


def explain(bench: Bench, service: Service, found: Answers) -> None:
    """Says all that there is to say of lost requests: the client's, the router's and the log's own words, with times."""
    said = found.lost[:EXPLAINED]
    said += bench.traefik.failures()[:EXPLAINED]
    for event in service.events():
        at = datetime.fromtimestamp(event["at"] / 1e6 if event["at"] > 1e12 else event["at"], UTC)
        said.append(f"{at.isoformat(timespec='milliseconds')} {event['position']} {event['type']}")
    print("\n".join(said), file=sys.stderr, flush=True)
