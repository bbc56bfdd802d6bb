"""Clients that ask at a constant rate, whatever the answers: new and kept connections, GET and POST."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import docker

from tests.real.beside import REGISTRY, pushed
from tests.real.platform import echo_app
from tests.real.platform.server import Tenant

KINDS = [(method, keeps) for method in ("GET", "POST") for keeps in (False, True)]


def image_of(sdk: docker.DockerClient, tenant: Tenant, version: str) -> str:
    """The echo app as an image of the tenant's own."""
    source = Path(echo_app.__file__).read_text()
    changes = [f"CMD {json.dumps(['python3', '-c', source])}", f"ENV VERSION={version}"]
    return pushed(sdk, "hello:1", f"{REGISTRY}/ah/{tenant.id}-echo{version}", changes)


@asynccontextmanager
async def asking(port: int, host: str, per_s: float) -> AsyncIterator[Counter[str]]:
    """Each kind of client asks `per_s` times a second; what came of it, by kind and answer."""
    answers: Counter[str] = Counter()
    async with aiohttp.ClientSession(headers={"Host": host}) as kept, asyncio.TaskGroup() as requests:

        async def once(session: aiohttp.ClientSession, method: str, name: str) -> None:
            data = b"x" * 100 if method == "POST" else None
            try:
                async with session.request(
                    method, f"http://127.0.0.1:{port}/", data=data, timeout=aiohttp.ClientTimeout(30)
                ) as answer:
                    text = await answer.text()
                    good = answer.status == 200 and text.startswith("echo")
                    answers[f"{name} {'ok' if good else f'{answer.status} {text[:100]}'}"] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                answers[f"{name} {type(error).__name__}: {error}"] += 1

        async def ask(method: str, keeps: bool) -> None:
            if keeps:
                return await once(kept, method, f"{method} kept")
            connector = aiohttp.TCPConnector(force_close=True)
            async with aiohttp.ClientSession(headers={"Host": host}, connector=connector) as fresh:
                return await once(fresh, method, f"{method} new")

        async def ask_on() -> None:
            due = time.monotonic()
            while True:
                for method, keeps in KINDS:
                    requests.create_task(ask(method, keeps))
                due += 1 / per_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        asking_on = requests.create_task(ask_on())
        try:
            yield answers
        finally:
            asking_on.cancel()


def lost(answers: Counter[str]) -> dict[str, int]:
    """What was not answered as it should have been."""
    return {what: count for what, count in answers.items() if not what.endswith(" ok")}
