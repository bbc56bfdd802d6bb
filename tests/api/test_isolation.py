"""Two tenants who ask at random with each other's ids, names, cursors, keys, tags and filters: no byte crosses.

All that a tenant makes carries a mark. Of each answer: no mark, id or key of the other is in it that the caller did not
send; and in the end the log has no event of a tenant that another one's key brought about. `AH_SEED` repeats a run.
"""

import json
import os
import random
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from ahplat.api.route import Route
from ahplat.api.routes import ROUTES
from events.log import read_all
from tests.api.answering import answering, with_databases
from tests.api.site import Answer, Site, Tenant, a_site
from tests.folders import memory_folder

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="module")]

PARTS, CALLS = 10, 1_000
LEFT_OUT = {"suspend_tenant": "it would end the caller", "register_tenant": "it makes a third one"}
KEYED = [route for route in ROUTES if route.auth in ("key", "key_or_operator") and route.id not in LEFT_OUT]
NOTED = ("ETag", "Link", "Location")
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")  # and no part of a hash, which a proof may show to both


class Side:
    """A tenant, and what there is to know about it."""

    def __init__(self, tenant: Tenant, mark: str) -> None:
        self.tenant = tenant
        self.mark = mark
        self.ids = {tenant.id}
        self.values: dict[str, list[str]] = {}  # segment of a path → what can stand there
        self.tags: list[str] = []
        self.cursors: list[str] = []
        self.next: dict[str, str] = {}  # route → the cursor of its next page
        self.keys: list[str] = []  # idempotency keys that it used
        self.positions: list[str] = []

    def learn(self, answer: Answer, route: str = "") -> None:
        """Takes over what an answer to it says."""
        self.ids |= set(ID.findall(answer.body.decode(errors="replace")))
        self.tags += [answer.headers["ETag"]] if "ETag" in answer.headers else []
        found = re.findall(r"cursor=([^&>]+)", answer.headers.get("Link", ""))
        self.cursors += found
        if found:
            self.next[route] = found[-1]
        if "Event-Position" in answer.headers:
            self.positions.append(answer.headers["Event-Position"])


async def a_side(site: Site, mark: str) -> Side:
    """A tenant with something of every kind."""
    side = Side(await site.register(f"{mark} tenant"), mark)
    await site.operator.patch(f"/v1/tenants/{side.tenant.id}/quotas", {"max_databases": 9, "max_services": 200})
    acme = side.tenant
    service = await acme.running(
        f"{mark}-web", env={f"{mark}_TOKEN": f"{mark}-secret"}, volumes={f"{mark}-data": "/data"}
    )
    path = f"/v1/services/{service['id']}"
    await acme.post(f"{path}/domains", {"domain": f"{mark}.example"})
    database = await acme.post("/v1/databases", {"name": f"{mark}-db", "type": "redis"}, Prefer="wait=5")
    backup = (await acme.post(f"/v1/databases/{database.json['id']}/backups", Prefer="wait=5")).json
    build = (await acme.post(f"{path}/builds", {"git_url": f"https://github.com/{mark}/web"}, Prefer="wait=5")).json
    key = (await acme.post("/v1/auth/keys", {"name": f"{mark} key"})).json
    await site.settled()
    deployments = (await acme.get(f"{path}/deployments")).json
    side.values = {
        "service_id": [service["id"], (await acme.service(f"{mark}-other", image=""))["id"]],
        "deployment_id": [one["id"] for one in deployments],
        "database_id": [database.json["id"]],
        "backup_id": [backup["id"]],
        "build_id": [build["id"]],
        "key_id": [key["id"]],
        "volume_id": [(await acme.get("/v1/volumes")).json[0]["id"]],
        "domain": [f"{mark}.example"],
        "key": [f"{mark}_TOKEN"],
    }
    for list_ in ("services", "databases", "activity", "auth/keys", "builds", "tenant/usage", "whoami"):
        side.learn(await acme.get(f"/v1/{list_}?limit=1"))
    side.learn(await acme.get("/v1/events?after=0&limit=50", Accept="application/json"))
    side.learn(await acme.get("/v1/checkpoint"))  # which everybody may see, and the installation's id in it
    events = (await acme.get("/v1/events?after=0&limit=200", Accept="application/json")).json
    side.positions += [str(event["position"]) for event in events]
    for value in side.values.values():
        side.ids |= {one for one in value if ID.fullmatch(one)}
    return side


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def isolated() -> AsyncIterator[Site]:
    with memory_folder() as folder, answering():
        async with a_site(folder, dev=True, engine="docker") as site:
            with_databases(site, "u_one")
            yield site


class Caller:
    """Sends one side's requests with what is the other's."""

    def __init__(self, draw: random.Random, mine: Side, other: Side) -> None:
        self.draw = draw
        self.mine = mine
        self.other = other

    def either(self, of: str) -> str:
        """A value of that kind: the other's more often than not."""
        sides = [self.other, self.other, self.mine]
        found = self.draw.choice(sides).values.get(of) or self.draw.choice(self.other.positions or ["1"])
        return self.draw.choice(found) if isinstance(found, list) else found

    def request(self) -> tuple[Route, str, Any, dict[str, str]]:
        """(route, path with query, body, header fields)."""
        draw, route = self.draw, self.draw.choice(KEYED)
        path = route.path.format(**{name: self.either(name) for name in route.segments})
        query = {
            name: value
            for name, value in {
                "cursor": draw.choice(self.other.cursors or [""]),
                "after": draw.choice(self.other.positions),
                "min_position": draw.choice(self.mine.positions),
                "service_id": self.either("service_id"),
                "resource_id": self.either("database_id"),
                "tenant_id": self.other.tenant.id,
                "deployment": self.either("deployment_id"),
                "status": "running",
                "limit": draw.choice(["1", "200"]),
                "reveal": "true",
                "as_of": draw.choice(self.other.positions),
            }.items()
            if draw.random() < 0.2
        }
        if route.id in self.mine.next and draw.random() < 0.5:
            query |= {"cursor": self.mine.next[route.id], "limit": "1"}
        if route.stream or route.events is not None:
            query |= {"follow": "false"}
        fields = {
            name: value
            for name, value in {
                "If-Match": draw.choice(self.other.tags),
                "If-None-Match": draw.choice(self.other.tags),
                "Idempotency-Key": draw.choice(self.other.keys or ["k"]),
                "Last-Event-ID": draw.choice(self.other.positions),
                "X-Forwarded-For": "127.0.0.1",
            }.items()
            if draw.random() < 0.2
        }
        if route.method != "GET" and "Idempotency-Key" not in fields:
            fields["Idempotency-Key"] = f"{self.mine.mark}-{len(self.mine.keys)}"
            self.mine.keys.append(fields["Idempotency-Key"])
        text = f"{path}?{urlencode(query)}" if query else path
        return route, text, self.body(route), fields | {"Accept": "application/json"}

    def body(self, route: Route) -> Any:
        if route.method in ("GET", "DELETE"):
            return None
        if route.id == "send_message":
            return self.message()
        if route.id == "set_env":  # what is set is shown again
            return {"A": self.mine.mark}
        ours = {
            "name": f"{self.mine.mark}-{self.draw.randrange(10**6)}",
            "type": "redis",
            "image": self.draw.choice(["web:1", f"127.0.0.1:5000/ah/{self.other.tenant.id}-web:1"]),
            "port": 0,
            "command": ["true"],
            "service_id": self.either("service_id"),
            "deployment_id": self.either("deployment_id"),
            "backup_id": self.either("backup_id"),
            "tenant_id": self.other.tenant.id,
            "source_url": f"https://github.com/{self.mine.mark}/web",
            "domain": f"{self.mine.mark}{self.draw.randrange(10**6)}.example",
            "A": "1",
        }
        return {name: value for name, value in ours.items() if self.draw.random() < 0.5}

    def message(self) -> dict[str, Any]:
        """A tool of MCP, asked with the same."""
        tool = self.draw.choice(
            ["get_service", "get_env", "read_logs", "list_builds", "get_database", "delete_service"]
        )
        arguments = {"service_id": self.either("service_id"), "database_id": self.either("database_id")}
        wanted = "database_id" if "database" in tool else "service_id"
        return {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": {wanted: arguments[wanted]}},
        }

    async def ask(self) -> None:
        """One request; what it may not say it does not."""
        route, path, body, fields = self.request()
        answer = await self.mine.tenant.ask(route.method, path, body, headers=fields)
        sent = f"{path} {json.dumps(body)} {fields}"
        got = answer.body.decode(errors="replace") + "".join(answer.headers.get(name, "") for name in NOTED)
        where = f"{route.method} {path} {body} {fields} answered {answer.status} {got[:1_000]}"
        theirs = self.other.ids - self.mine.ids
        assert not {one for one in ID.findall(got) if one in theirs and one not in sent}, where
        assert self.other.mark not in got or self.other.mark in sent, where
        assert f"{self.other.mark}-secret" not in got, where
        named = [value for name in route.segments for value in self.other.values.get(name, ())]
        if any(f"/{value}" in path.partition("?")[0] for value in named):
            assert answer.status >= 400, where
        self.mine.learn(answer, route.id)


@pytest.mark.parametrize("part", range(PARTS))
async def test_whatever_is_asked_no_byte_of_the_other_comes(isolated: Site, part: int) -> None:
    seed = f"{os.environ.get('AH_SEED') or random.randrange(10**6)} {part}"
    draw = random.Random(seed)
    marks = [f"m{draw.randrange(16**8):08x}", f"n{draw.randrange(16**8):08x}"]
    sides = [await a_side(isolated, mark) for mark in marks]
    before = isolated.position
    try:
        for _ in range(CALLS // 2):
            for mine, other in (sides, sides[::-1]):
                await Caller(draw, mine, other).ask()
    except AssertionError as error:
        raise AssertionError(f"AH_SEED {seed}: {error}") from error
    await isolated.settled()
    for at in read_all(isolated.app.log, before, 100_000):
        actor = at.decoded_meta().actor
        for side, other in (sides, sides[::-1]):
            if actor == f"key:{side.tenant.key.partition('.')[0]}":
                assert at.tenant == side.tenant.id, at
            assert at.tenant != side.tenant.id or other.mark.encode() not in at.data, at
