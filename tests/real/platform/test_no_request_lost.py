"""Deployments in a row under a client that asks at a constant rate: no request is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import docker
import pytest

from tests.real.platform.server import Service, Tenant

pytestmark = pytest.mark.real

PER_S = 40
DEPLOYS = 8


async def test_deployments_in_a_row_lose_no_request(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = await asyncio.to_thread(tenant.run, "web")
    async with asking(service, PER_S) as answers:
        for number in range(DEPLOYS):
            deployment = await asyncio.to_thread(service.deploy, f"hello:{2 - number % 2}")
            await asyncio.to_thread(deployment.until, "running")
            if number % 4 == 3:  # the other ones supersede the draining before them
                await asyncio.to_thread(service.settled)
        await asyncio.sleep(1)
    print(f"{DEPLOYS} deployments, {answers.total()} requests: {dict(answers)}")
    assert set(answers) == {"200 hello 1", "200 hello 2"}
    assert answers.total() > DEPLOYS * PER_S / 2
    assert len(service.containers(sdk)) == 1


@asynccontextmanager
async def asking(service: Service, per_s: int) -> AsyncIterator[Counter[str]]:
    """Asks the service's URL at a constant rate, whatever the answers; what came of it, by kind."""
    answers: Counter[str] = Counter()
    url = urlsplit(service.now["url"])
    address = f"http://127.0.0.1:{service.tenant.server.port}/"
    async with aiohttp.ClientSession(headers={"Host": url.netloc}) as session, asyncio.TaskGroup() as requests:

        async def ask() -> None:
            try:
                async with session.get(address, timeout=aiohttp.ClientTimeout(30)) as answer:
                    text = await answer.text()
                    answers[f"{answer.status} {text[:7] if answer.status == 200 else text[:200]}"] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                answers[type(error).__name__] += 1

        async def ask_on() -> None:
            due = time.monotonic()
            while True:
                requests.create_task(ask())
                due += 1 / per_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        asking_on = requests.create_task(ask_on())
        try:
            yield answers
        finally:
            asking_on.cancel()
