"""Clients that ask at a constant rate, whatever the answers: new and kept connections, GET and POST.

What is not answered with 200 and the app's own words within TIMEOUT_S is lost, and is kept with its time and its kind of
connection. The wait is long on purpose: a loaded machine makes a request late, and late is not lost.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import docker

from tests.real.beside import REGISTRY, pushed
from tests.real.platform import echo_app
from tests.real.platform.server import Tenant

KINDS = [(method, keeps) for method in ("GET", "POST") for keeps in (False, True)]
TIMEOUT_S = 60


def image_of(sdk: docker.DockerClient, tenant: Tenant, version: str) -> str:
    """The echo app as an image of the tenant's own."""
    source = Path(echo_app.__file__).read_text()
    changes = [f"CMD {json.dumps(['python3', '-c', source])}", f"ENV VERSION={version}"]
    return pushed(sdk, "hello:1", f"{REGISTRY}/ah/{tenant.id}-echo{version}", changes)


@dataclass
class Answers:
    """What came of the requests: how many of each kind were answered well, and each one that was not, in order."""

    good: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def total(self) -> int:
        """Requests that came to an end, well or not."""
        return self.good.total() + len(self.lost)

    def ended(self, kind: str, took_s: float, wrong: str) -> None:
        """One request came to its end; `wrong` is "" for a good answer."""
        self.slowest_s = max(self.slowest_s, took_s)
        if wrong:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.lost.append(f"{at} {kind}, after {took_s:.3f} s: {wrong}")
        else:
            self.good[kind] += 1


@asynccontextmanager
async def asking(port: int, host: str, per_s: float) -> AsyncIterator[Answers]:
    """Each kind of client asks `per_s` times a second; what came of it."""
    answers = Answers()
    async with aiohttp.ClientSession(headers={"Host": host}) as kept, asyncio.TaskGroup() as requests:

        async def once(session: aiohttp.ClientSession, method: str, kind: str) -> None:
            data = b"x" * 100 if method == "POST" else None
            url, timeout = f"http://127.0.0.1:{port}/", aiohttp.ClientTimeout(TIMEOUT_S)
            began, wrong = time.monotonic(), ""
            try:
                async with session.request(method, url, data=data, timeout=timeout) as answer:
                    text = await answer.text()
                    if answer.status != 200 or not text.startswith("echo"):
                        wrong = f"{answer.status} {text[:100]}"
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong = f"{type(error).__name__}: {error}"
            answers.ended(kind, time.monotonic() - began, wrong)

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
