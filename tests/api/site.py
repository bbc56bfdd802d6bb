"""The real server in this process, over a real socket: on the simulated engine, with a clock that moves on demand.

acme = await site.register("acme")
answer = await acme.post("/v1/services", {"name": "web", "image": "web:1"})
assert answer.status == 201 and answer.json["status"] == "deploying"
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from msgspec import Struct
from multidict import CIMultiDictProxy
from yarl import URL

from ahplat import limits
from ahplat.builders.builder import Builder
from ahplat.clock import SystemClock
from ahplat.config import Config
from ahplat.engines.engine import Engine
from ahplat.main import Running, start
from tests.api import contract
from tests.builds.simulated import SimulatedBuilder
from tests.engines.simulated import Behaviour, SimulatedEngine, SimulatedHost

TOKENS = ("first-token-of-the-operator-1234567", "second-token-of-the-operator-123456")
BOOTSTRAP = {"X-Bootstrap-Token": TOKENS[0]}
HTTPS = {"X-Forwarded-Proto": "https"}
IMAGES = {"web:1": Behaviour(), "web:2": Behaviour(version="2"), "broken:latest": Behaviour(exit_code=3)}
FAST = {"BCRYPT_COST": 4, "WORKER_UP_S": 0.0, "HEALTH_POLL_S": (0.001, 0.01)}
_numbers = itertools.count(1)


class Movable(SystemClock):
    """The machine's clock, and what a test puts on top."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def go_on_from(self, at_us: int) -> None:
        super().go_on_from(at_us - int(self.ahead_s * 1_000_000))

    def now_us(self) -> int:
        return super().now_us() + int(self.ahead_s * 1_000_000)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Answer(Struct):
    """What came back, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code, after a look at its form."""
        return str(self.problem["code"])

    @property
    def problem(self) -> dict[str, Any]:
        """A whole problem (RFC 9457), as every answer that is not 2xx or 304 has to be."""
        assert self.headers["Content-Type"] == "application/problem+json", self.headers
        assert self.headers["X-Content-Type-Options"] == "nosniff"
        found: dict[str, Any] = self.json
        required = {"type", "title", "status", "detail", "error", "code", "request_id", "retryable", "remediation"}
        assert found.keys() >= required, found
        assert found["status"] == self.status
        assert found["request_id"] == self.headers["X-Request-Id"]
        assert b"Traceback" not in self.body and b".py" not in self.body
        return found

    @property
    def pointers(self) -> list[str]:
        """Where the violations are."""
        return [violation["pointer"] for violation in self.problem.get("violations", [])]

    @property
    def position(self) -> int:
        return int(self.headers["Event-Position"])


class Client:
    """Somebody who asks; every request carries `fields`."""

    def __init__(self, site: "Site", fields: Mapping[str, str], *, by_socket: bool = False) -> None:
        self.site = site
        self.fields = fields
        self._by_socket = by_socket

    @property
    def _session(self) -> aiohttp.ClientSession:
        return self.site.socket_session if self._by_socket else self.site.session

    async def ask(
        self, method: str, path: str, body: Any = None, *, raw: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request. `body` becomes JSON, `raw` goes as it is; the path is not touched."""
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        sent = {"Content-Type": "application/json"} | dict(self.fields) | dict(headers or {})
        url = URL(f"{self.site.base}{path}", encoded=True)
        async with self._session.request(method, url, data=data, headers=sent, allow_redirects=False) as answer:
            read = await answer.read()
        if "Host" not in sent:  # else it may be a service's answer
            contract.check(method, path, answer.status, answer.headers, read)
        return Answer(answer.status, answer.headers, read)

    async def get(self, path: str, **headers: str) -> Answer:
        """GET; an underscore in a field's name is a hyphen."""
        return await self.ask("GET", path, headers=_fields(headers))

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.ask("POST", path, body, headers=_fields(headers))

    async def patch(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.ask("PATCH", path, body, headers=_fields(headers))

    async def delete(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.ask("DELETE", path, body, headers=_fields(headers))

    @asynccontextmanager
    async def stream(self, path: str = "/v1/events", **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that has no end."""
        url = URL(f"{self.site.base}{path}", encoded=True)
        async with self._session.get(url, headers=dict(self.fields) | _fields(headers)) as answer:
            yield answer


def _fields(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class Tenant(Client):
    """A client with an API key."""

    def __init__(self, site: "Site", tenant_id: str, key: str) -> None:
        super().__init__(site, site.fields | {"Authorization": f"Bearer {key}"})
        self.id = tenant_id
        self.key = key

    async def service(self, name: str = "", **settings: Any) -> dict[str, Any]:
        """A new service, a worker of the image web:1, as the answer shows it."""
        body = {"name": name or f"s{next(_numbers)}", "image": "web:1", "port": 0} | settings
        answer = await self.post("/v1/services", body)
        assert answer.status == 201, answer.body
        return dict(answer.json)

    async def running(self, name: str = "", **settings: Any) -> dict[str, Any]:
        """A new service that runs."""
        service = await self.service(name, **settings)
        answer = await self.get(f"/v1/services/{service['id']}?wait=running&timeout=5")
        assert answer.json["status"] == "running", answer.body
        await self.site.settled()
        return dict((await self.get(f"/v1/services/{service['id']}")).json)


class Site:
    """A server, and clients of it. `restart` ends it and starts the next one on the same folder."""

    engine_type = SimulatedEngine

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = Movable()
        self.host = SimulatedHost()
        self.builder = SimulatedBuilder()
        self.host.images |= IMAGES
        defaults = {"bootstrap_tokens": TOKENS, "rate_limits": False, "drain_s": 0.0, "metrics_port": 0}
        self.config = Config(data_dir=folder, port=0, **defaults | settings)
        self.fields: dict[str, str] = {} if self.config.dev else dict(HTTPS)
        self.running: Running
        self.engine: SimulatedEngine
        self.session: aiohttp.ClientSession
        self.socket_session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def begin(self) -> None:
        """Starts a server."""

        async def engine_of(_: Config, installation: str) -> Engine:
            self.engine = self.engine_type(installation, self.host)
            return self.engine

        async def builder_of(_: Config, engine: str, installation: str) -> Builder:
            return self.builder

        self.running = await start(self.config, engine_of, self.clock, builder_of)
        path = str(self.config.data_dir / "operator.sock")
        plain: Any = {"skip_auto_headers": ("User-Agent", "Content-Type"), "auto_decompress": False}
        self.session = aiohttp.ClientSession(**plain, timeout=aiohttp.ClientTimeout(total=20))
        self.socket_session = aiohttp.ClientSession(**plain, connector=aiohttp.UnixConnector(path))

    async def end(self) -> None:
        """Ends it."""
        await self.session.close()
        await self.socket_session.close()
        await self.running.close()

    async def restart(self) -> None:
        """Ends the server and starts its successor."""
        await self.end()
        await self.begin()

    @property
    def app(self) -> Any:
        return self.running.app

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.app.port}"

    @property
    def position(self) -> int:
        """The last position of the log."""
        return int(self.app.hub.position)

    # clients

    @property
    def anybody(self) -> Client:
        """Somebody without a key; over https, where that is wanted."""
        return Client(self, self.fields)

    @property
    def operator(self) -> Client:
        """Who holds the bootstrap token."""
        return Client(self, self.fields | BOOTSTRAP)

    @property
    def socket(self) -> Client:
        """Who may open the operator's socket."""
        return Client(self, {}, by_socket=True)

    async def register(self, name: str = "") -> Tenant:
        """A new tenant with its first key."""
        name = name or f"tenant {next(_numbers)}"
        body = {"name": name, "email": f"{name.replace(' ', '-')}@example.org"}
        answer = await self.operator.post("/v1/tenants/register", body)
        assert answer.status == 201, answer.body
        return Tenant(self, answer.json["tenant_id"], answer.json["api_key"])

    async def another_key(self, tenant: Tenant, **wanted: Any) -> Tenant:
        """The same tenant with one more key."""
        answer = await tenant.post("/v1/auth/keys", wanted)
        assert answer.status == 201, answer.body
        return Tenant(self, tenant.id, answer.json["api_key"])

    async def settled(self) -> None:
        """Returns once no effect is open that could end by itself."""
        await self.app.hub.until_committed(lambda: not _open(self.app), 5)

    async def raw(self, sent: bytes) -> bytes:
        """Bytes as they are, to the server's port; all that comes back until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.app.port)
        try:
            writer.write(sent)
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


def _open(app: Any) -> bool:
    due = "SELECT count(*) FROM todo WHERE parked = 0 AND code IS NULL AND due_us <= ?"
    return app.views.execute(due, (app.clock.now_us() + 60_000_000,)).get > 0


@asynccontextmanager
async def a_site(folder: Path, **settings: Any) -> AsyncIterator[Site]:
    """A server with everything that takes time made short."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FAST.items():
            patch.setattr(limits, name, value)
        async with Site(folder, **settings) as site:
            yield site
