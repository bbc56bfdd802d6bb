"""Of every command's route one request that is accepted, in an order in which all of them are."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from ahplat.api.routes import ROUTES
from events.log import read_all
from tests.api.answering import answering, with_databases
from tests.api.site import TOKENS, Client, Site, Tenant, a_site
from tests.folders import memory_folder

COMMANDS = [route for route in ROUTES if route.method != "GET"]
RECOVERY = {"email": "known@example.org", "bootstrap_token": TOKENS[1]}
NO_COMMAND = {
    "/mcp",  # a door to others: see tests/mcp/test_repeats.py
    "/v1/system/bootstrap-token/validate",
    "/v1/system/garbage/collect",  # a repeat finds less, or nothing
    "/v1/services/{service_id}/exec",  # what it said is told once: see test_execs.py
}


async def asked(site: Site, acme: Tenant) -> dict[str, tuple[Client, str, str, Any]]:
    """Of each command's route one request that is accepted."""
    service = await acme.running()
    path = f"/v1/services/{service['id']}"
    await acme.post(f"{path}/env", {"A": "1"})
    await acme.post(f"{path}/deploy", {"image": "web:2"}, Prefer="wait=5")
    await site.settled()
    suspended, erased, known = await site.register(), await site.register("to be erased"), await site.register("known")
    await suspended.delete("/v1/tenant")
    stores = await asked_of_stores(site, acme, service["id"])  # before anything waits without end
    waiting = await acme.service()
    variables = await acme.post(f"/v1/services/{waiting['id']}/env", {"A": "1"})
    await acme.post(f"/v1/services/{waiting['id']}/deploy", {"image": "slow:1"})
    newest = (await acme.get(f"/v1/services/{waiting['id']}/deployments")).json[0]
    key = await site.another_key(acme)
    boss = site.operator
    return {
        **(stores | await builds(site, acme, path) | await asked_of_names(site, acme, path)),
        "POST /v1/system/effects/{position}/unpark": (
            boss,
            "POST",
            f"/v1/system/effects/{await parked(site)}/unpark",
            None,
        ),
        "POST /v1/tenants/register": (boss, "POST", "/v1/tenants/register", {"name": "new", "email": "new@x"}),
        "POST /v1/tenants/{tenant_id}/reactivate": (boss, "POST", f"/v1/tenants/{suspended.id}/reactivate", None),
        "POST /v1/auth/recover": (site.anybody, "POST", "/v1/auth/recover", RECOVERY),
        "PATCH /v1/tenant": (known, "PATCH", "/v1/tenant", {"email": "changed@example.org"}),
        "DELETE /v1/tenants/{tenant_id}/data": (
            site.socket,
            "DELETE",
            f"/v1/tenants/{erased.id}/data",
            {"confirm": "to be erased"},
        ),
        "PATCH /v1/tenants/{tenant_id}/quotas": (boss, "PATCH", f"/v1/tenants/{acme.id}/quotas", {"max_services": 9}),
        "POST /v1/auth/keys": (acme, "POST", "/v1/auth/keys", {"name": "ci"}),
        "DELETE /v1/auth/keys/{key_id}": (acme, "DELETE", f"/v1/auth/keys/{key.key.partition('.')[0]}", None),
        "POST /v1/services": (acme, "POST", "/v1/services", {"name": "new", "image": "web:1", "port": 0}),
        "PATCH /v1/services/{service_id}": (acme, "PATCH", path, {"memory_mb": 128}),
        "POST /v1/services/{service_id}/env": (acme, "POST", f"{path}/env", {"B": "2"}),
        "DELETE /v1/services/{service_id}/env/{key}": (acme, "DELETE", f"{path}/env/A", None),
        "POST /v1/services/{service_id}/deploy": (acme, "POST", f"{path}/deploy", {"image": "web:1"}),
        "POST /v1/services/{service_id}/rollback": (acme, "POST", f"{path}/rollback", {}),
        "POST /v1/services/{service_id}/redeploy": (acme, "POST", f"{path}/redeploy", None),
        "POST /v1/services/{service_id}/restart": (acme, "POST", f"{path}/restart", None),
        "POST /v1/services/{service_id}/reset": (acme, "POST", f"{path}/reset", None),
        "POST /v1/services/{service_id}/deployments/{deployment_id}/cancel": (
            acme,
            "POST",
            f"/v1/services/{waiting['id']}/deployments/{newest['id']}/cancel",
            None,
        ),
        "POST /v1/events/{event_position}/undo": (acme, "POST", f"/v1/events/{variables.position}/undo", None),
        "POST /v1/services/{service_id}/stop": (acme, "POST", f"{path}/stop", None),
        "POST /v1/services/{service_id}/start": (acme, "POST", f"{path}/start", None),
        "DELETE /v1/services/{service_id}": (acme, "DELETE", path, None),
        "DELETE /v1/tenant": (await site.register(), "DELETE", "/v1/tenant", None),
    }


async def builds(site: Site, acme: Tenant, path: str) -> dict[str, tuple[Client, str, str, Any]]:
    """Another build, and the end of one that clones."""
    site.builder.held["clone"] = asyncio.Event()
    source = {"git_url": "https://github.com/acme/web"}
    build = (await acme.post(f"{path}/builds", source)).json
    return {
        "POST /v1/services/{service_id}/builds": (acme, "POST", f"{path}/builds", source | {"branch": "next"}),
        "DELETE /v1/services/{service_id}/builds/{build_id}": (acme, "DELETE", f"{path}/builds/{build['id']}", None),
    }


async def asked_of_stores(site: Site, acme: Tenant, service_id: str) -> dict[str, tuple[Client, str, str, Any]]:
    """The same of databases and volumes."""
    owner = await acme.running(volumes={"data": "/data"})
    [volume] = (await acme.get("/v1/volumes")).json
    await acme.delete(f"/v1/services/{owner['id']}")
    made = await acme.post("/v1/databases", {"name": "old", "type": "redis"})
    database = f"/v1/databases/{made.json['id']}"
    return await asked_of_backups(site, acme) | {
        "POST /v1/databases": (acme, "POST", "/v1/databases", {"name": "new", "type": "redis"}),
        "POST /v1/databases/{database_id}/start": (acme, "POST", f"{database}/start", None),
        "POST /v1/databases/{database_id}/link": (acme, "POST", f"{database}/link", {"service_id": service_id}),
        "DELETE /v1/databases/{database_id}": (acme, "DELETE", database, None),
        "POST /v1/databases/{database_id}/undelete": (acme, "POST", f"{database}/undelete", None),
        "DELETE /v1/volumes/{volume_id}": (acme, "DELETE", f"/v1/volumes/{volume['id']}", None),
    }


async def asked_of_backups(site: Site, acme: Tenant) -> dict[str, tuple[Client, str, str, Any]]:
    """The same of backups of databases."""
    with_databases(site, "u_one")
    await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"max_databases": 9})
    one, other = [
        (await acme.post("/v1/databases", {"name": name, "type": "redis"}, Prefer="wait=5")).headers["Location"]
        for name in ("one", "other")
    ]
    first, second = [(await acme.post(f"{one}/backups", Prefer="wait=5")).json["id"] for _ in range(2)]
    its = "/v1/databases/{database_id}"
    return {
        f"POST {its}/backups": (acme, "POST", f"{other}/backups", None),
        f"DELETE {its}/backups/{{backup_id}}": (acme, "DELETE", f"{one}/backups/{first}", None),
        f"POST {its}/restore": (acme, "POST", f"{one}/restore", {"backup_id": second}),
    }


async def asked_of_names(site: Site, acme: Tenant, path: str) -> dict[str, tuple[Client, str, str, Any]]:
    """The same, of the commands about a service's further names."""
    for host in ("old.example", "mine.example"):
        await acme.post(f"{path}/domains", {"domain": host})
    names = "/v1/services/{service_id}/domains"
    verify = f"{path}/domains/mine.example/verify"
    return {
        f"POST {names}": (acme, "POST", f"{path}/domains", {"domain": "new.example"}),
        f"DELETE {names}/{{domain}}": (acme, "DELETE", f"{path}/domains/old.example", None),
        f"POST {names}/{{domain}}/verify": (site.operator, "POST", verify, None),
    }


async def parked(site: Site) -> int:
    """The position of work that an operator has to look at."""
    from ahplat.commands.effects import Park

    acme = await site.register()
    site.engine.lag_s["fetch"] = 0.0
    await acme.service(image="stuck:1")
    intent = int(site.app.views.execute("SELECT max(intent) FROM todo").get)
    await site.app.writer.submit(Park(tenant_id=acme.id, intent=intent, code="test"), actor="test")
    return intent


@pytest_asyncio.fixture(loop_scope="module")
async def slow() -> AsyncIterator[Site]:
    """A server of one test, on which the images `slow:1` and `stuck:1` never come."""
    with memory_folder() as folder, answering():
        async with a_site(folder / "slow", dev=True) as made:
            fetch = made.engine.fetch

            async def never(reference: str, cancelled: Any) -> Any:
                while reference in ("slow:1", "stuck:1") and not cancelled():
                    await asyncio.sleep(0.001)
                return await fetch(reference, cancelled)

            made.engine.fetch = never  # type: ignore[method-assign]
            yield made


def asked_for(site: Site) -> list[str]:
    """The types of the events that requests brought about, and not effects."""
    return [at.type for at in read_all(site.app.log, 0, 10_000) if at.decoded_meta().actor != "system"]
