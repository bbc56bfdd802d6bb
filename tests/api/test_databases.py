"""Databases over HTTP: the answer comes at once, the password only to who asks for it, and what is deleted may come back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.api.answering import answering, with_databases
from tests.api.site import Site, Tenant, a_site
from tests.engines.simulated import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="module")

DATABASE = [
    "id",
    "tenant_id",
    "name",
    "type",
    "status",
    "host",
    "port",
    "db_name",
    "username",
    "created_at",
    "updated_at",
]
MORE = ["memory_mb", "cpu_count", "image"]


@pytest.fixture(scope="module", autouse=True)
def ready() -> Iterator[None]:
    """Servers answer queries as soon as they run."""
    with answering():
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def images(site: Site) -> None:
    with_databases(site, "u_db")


async def running(acme: Tenant, name: str = "orders", kind: str = "postgres") -> dict[str, Any]:
    answer = await acme.post("/v1/databases", {"name": name, "type": kind}, Prefer="wait=5")
    assert (answer.status, answer.json["status"]) == (201, "running"), answer.body
    return dict(answer.json)


async def connection_string(acme: Tenant, database: dict[str, Any]) -> str:
    answer = await acme.get(f"/v1/databases/{database['id']}/connection-string")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store"), answer.body
    assert list(answer.json) == ["connection_string"]
    return str(answer.json["connection_string"])


async def test_a_new_database_is_answered_at_once_as_provisioning(site: Site, acme: Tenant) -> None:
    answer = await acme.post("/v1/databases", {"name": "My Orders", "type": "postgres"})
    made = answer.json
    assert (answer.status, answer.headers["Location"]) == (201, f"/v1/databases/{made['id']}")
    assert list(made) == [*DATABASE, *MORE]
    shown = {"name": "My Orders", "type": "postgres", "status": "provisioning", "host": "my-orders.db.internal"}
    shown |= {"port": 5432, "db_name": "u_my_orders", "username": "u_my_orders", "memory_mb": 512, "cpu_count": 1}
    assert made | shown == made
    waited = await acme.get(f"/v1/databases/{made['id']}?wait=running&timeout=5")
    assert list(waited.json) == [*DATABASE, *MORE, "container_id", "observed_at"]
    assert waited.json["status"] == "running"


async def test_a_body_begins_with_its_own_id_and_status_as_the_scripts_grep_for_them(site: Site, acme: Tenant) -> None:
    made = await acme.post("/v1/databases", {"name": "db", "type": "redis"})
    assert made.body.startswith(b'{"id":"%b"' % made.json["id"].encode())
    assert made.body.count(b'"id":') == made.body.count(b'"status":') == 1


async def test_the_string_is_there_from_the_start_and_its_reading_is_an_event(site: Site, acme: Tenant) -> None:
    made = (await acme.post("/v1/databases", {"name": "db", "type": "postgres"})).json
    string = await connection_string(acme, made)
    assert string.startswith("postgres://u_db:")
    assert string.endswith("@db.db.internal:5432/u_db")
    events = await acme.get(f"/v1/events?after=0&resource={made['id']}", Accept="application/json")
    (read,) = [one for one in events.json if one["type"] == "database.connection_string_read"]
    assert read["actor"].startswith("key:")
    password = string.partition(":")[2].partition(":")[2].partition("@")[0]
    assert password.encode() not in events.body
    assert await connection_string(acme, made) == string


async def test_redis_has_a_string_of_its_own_form(site: Site, acme: Tenant) -> None:
    string = await connection_string(acme, await running(acme, "cache", "redis"))
    assert string.startswith("redis://default:") and string.endswith("@cache.db.internal:6379/0")


async def test_a_key_that_only_reads_is_not_told_the_password(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    reader = await site.another_key(acme, scopes=["read"])
    assert (await reader.get(f"/v1/databases/{made['id']}")).status == 200
    answer = await reader.get(f"/v1/databases/{made['id']}/connection-string")
    assert (answer.status, answer.code) == (403, "forbidden_scope")


async def test_a_link_sets_the_variable_and_deploys(site: Site, acme: Tenant) -> None:
    made, service = await running(acme), await acme.running("web")
    answer = await acme.post(f"/v1/databases/{made['id']}/link", {"service_id": service["id"]}, Prefer="wait=5")
    assert (answer.status, answer.json["key"], answer.json["status"]) == (200, "DATABASE_URL", "linked")
    revealed = await acme.get(f"/v1/services/{service['id']}/env?reveal=true")
    assert revealed.json == {"DATABASE_URL": await connection_string(acme, made)}
    (newest, _) = (await acme.get(f"/v1/services/{service['id']}/deployments")).json
    assert (newest["id"], newest["trigger"], newest["status"]) == (answer.json["deployment_id"], "link", "running")
    (instance,) = [one for one in site.host.instances.values() if one.identity.deployment == newest["id"]]
    assert site.host.env[instance.id]["DATABASE_URL"] == revealed.json["DATABASE_URL"]
    assert list(site.host.specs[instance.id].hosts) == ["orders.db.internal"]


async def test_a_link_takes_the_name_of_the_variable(site: Site, acme: Tenant) -> None:
    made, service = await running(acme, kind="redis"), await acme.running("web")
    answer = await acme.post(f"/v1/databases/{made['id']}/link", {"service_id": service["id"], "key": "CACHE"})
    assert answer.json["key"] == "CACHE"


@pytest.mark.parametrize("key", ["PATH", "AH_SERVICE", "ah_deployment"])
async def test_a_link_takes_no_name_that_is_the_platforms(site: Site, acme: Tenant, key: str) -> None:
    made, service = await running(acme), await acme.running("web")
    answer = await acme.post(f"/v1/databases/{made['id']}/link", {"service_id": service["id"], "key": key})
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/key"])
    assert (await acme.get(f"/v1/services/{service['id']}/env")).json == {}


async def test_a_deleted_one_is_gone_at_once_and_comes_back_with_the_same_string(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    before = await connection_string(acme, made)
    path = f"/v1/databases/{made['id']}"
    assert (await acme.delete(path)).status == 204
    assert (await acme.get("/v1/databases")).json == []
    (kept,) = (await acme.get("/v1/databases?status=deleted")).json
    assert (kept["id"], kept["status"]) == (made["id"], "deleted")
    assert kept["purged_at"] > site.app.clock.now_us() // 1_000_000 + 86_000
    answer = await acme.post(f"{path}/undelete", Prefer="wait=5")
    assert (answer.status, answer.json["status"]) == (200, "running")
    assert await connection_string(acme, made) == before
    assert (await acme.post(f"{path}/undelete")).code == "database_not_deleted"


async def test_purged_it_is_gone_for_good(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    path = f"/v1/databases/{made['id']}"
    assert (await acme.delete(f"{path}?purge=true")).status == 204
    await site.app.hub.until_committed(lambda: f"ah-db-{made['id']}" not in site.host.volumes, 5)
    assert f"ah-db-{made['id']}" not in site.host.volumes
    for answer in (await acme.get(path), await acme.post(f"{path}/undelete"), await acme.delete(path)):
        assert (answer.status, answer.code) == (404, "database_not_found")


async def test_one_that_is_kept_can_be_purged(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    path = f"/v1/databases/{made['id']}"
    await acme.delete(path)
    assert (await acme.delete(path)).code == "database_not_found"
    assert (await acme.delete(f"{path}?purge=true")).status == 204
    await site.app.hub.until_committed(lambda: f"ah-db-{made['id']}" not in site.host.volumes, 5)
    assert (await acme.get("/v1/databases?status=deleted")).json == []


async def test_the_quota_holds_however_many_ask_at_once(site: Site, acme: Tenant) -> None:
    asked = [acme.post("/v1/databases", {"name": f"db{n}", "type": "redis"}) for n in range(12)]
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 9
    assert {answer.code for answer in answers if answer.status == 409} == {"quota_exceeded"}
    usage = (await acme.get("/v1/tenant/usage")).json
    assert (usage["databases"], usage["used_memory_mb"], usage["used_cpu_cores"]) == ({"used": 3, "max": 3}, 1536, 3)
    hosts = [site.app.views.execute("SELECT address FROM database WHERE tenant_id = ?", (acme.id,)).fetchall()]
    assert len({address for (address,) in hosts[0]}) == 3


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"type": "postgres"}, "/name"),
        ({"name": "x"}, "/type"),
        ({"name": "x", "type": "mysql"}, "/type"),
        ({"name": "", "type": "redis"}, "/name"),
        ({"name": "...", "type": "redis"}, "/name"),
        ({"name": "a\nb", "type": "redis"}, "/name"),
        ({"name": "x" * 129, "type": "redis"}, "/name"),
        ({"name": "x", "type": "redis", "memory_mb": 1}, "/memory_mb"),
    ],
)
async def test_what_is_no_database_is_pointed_at(site: Site, acme: Tenant, body: Any, pointer: str) -> None:
    answer = await acme.post("/v1/databases", body)
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", [pointer])


@pytest.mark.parametrize(
    "name", ["x" * 128, "-" * 127 + "a", "ä" * 127 + "1", "a'b\"; DROP TABLE x", "$(id)", "%s", "\\"]
)
async def test_a_name_at_its_limits_harms_nothing(site: Site, acme: Tenant, name: str) -> None:
    answer = await acme.post("/v1/databases", {"name": name, "type": "postgres"}, Prefer="wait=5")
    if name == "\\":
        assert answer.code == "validation_failed"
        return
    assert (answer.status, answer.json["status"], answer.json["name"]) == (201, "running", name)
    assert len(answer.json["host"].partition(".")[0]) <= 63
    assert answer.json["db_name"].isidentifier() and len(answer.json["db_name"]) <= 63


async def test_lists_are_newest_first_and_by_status(site: Site, acme: Tenant) -> None:
    ids = [(await running(acme, f"db{n}"))["id"] for n in range(3)]
    assert [one["id"] for one in (await acme.get("/v1/databases")).json] == ids[::-1]
    assert [one["id"] for one in (await acme.get("/v1/databases?status=running&limit=1&offset=1")).json] == [ids[1]]
    assert (await acme.get("/v1/databases?status=dancing")).pointers == ["/query/status"]


async def test_a_database_has_a_version_that_a_write_can_be_bound_to(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    path = f"/v1/databases/{made['id']}"
    etag = (await acme.get(path)).headers["ETag"]
    assert (await acme.get(path, If_None_Match=etag)).status == 304
    await connection_string(acme, made)
    answer = await acme.ask("DELETE", path, headers={"If-Match": etag})
    assert (answer.status, answer.code) == (412, "precondition_failed")


async def test_what_happened_to_it_is_told_with_its_name(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    lines = (await acme.get("/v1/activity?resource_type=database")).json
    assert [line["action"] for line in lines] == ["started", "create_requested"]
    assert {(line["resource_id"], line["resource_name"]) for line in lines} == {(made["id"], "orders")}


@pytest_asyncio.fixture(loop_scope="module")
async def brief(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A server that keeps what is deleted for no time."""
    async with a_site(tmp_path_factory.mktemp("brief"), dev=True, db_retention_s=0.0) as made:
        made.host.images["redis:7-alpine"] = Behaviour()
        yield made


async def test_the_operator_says_for_how_long_a_volume_is_kept(brief: Site) -> None:
    acme = await brief.register()
    made = await running(acme, kind="redis")
    await acme.delete(f"/v1/databases/{made['id']}")
    await brief.settled()
    assert brief.host.volumes == {}


async def test_an_image_that_cannot_be_had_is_told(brief: Site) -> None:
    acme = await brief.register()
    answer = await acme.post("/v1/databases", {"name": "db", "type": "postgres"}, Prefer="wait=5")
    assert (answer.status, answer.json["status"]) == (201, "failed")
    assert answer.json["last_error"].startswith("image_not_found")
    brief.host.images["postgres:16-alpine"] = Behaviour()
    answer = await acme.post(f"/v1/databases/{answer.json['id']}/start", Prefer="wait=5")
    assert (answer.status, answer.json["status"]) == (200, "running")
    assert "last_error" not in answer.json


async def test_one_that_was_killed_for_its_memory_says_so_with_the_limit(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    site.host.crash(made["container_id"], 137, oom_killed=True)
    answer = await acme.get(f"/v1/databases/{made['id']}?wait=unavailable&timeout=5")
    limit = f"{answer.json['memory_mb']} MB (memory_mb)"
    assert answer.json["last_error"] == f"out_of_memory: killed for using more than its {limit}"
    await acme.delete(f"/v1/databases/{made['id']}")


async def test_a_volume_that_is_kept_is_no_work_that_anybody_waits_for(site: Site, acme: Tenant) -> None:
    made = await running(acme)
    await acme.delete(f"/v1/databases/{made['id']}")
    kept = "SELECT count(*) FROM todo WHERE type = 'database.deleted' AND tenant_id = ?"
    await site.app.hub.until_committed(lambda: site.app.views.execute(kept, (acme.id,)).get, 5)
    site.clock.ahead_s += 3_600
    effects = (await acme.get("/v1/system/health/detailed")).json["effects"]
    assert effects["open"] >= 1
    assert effects["oldest_s"] < 3_600
    site.clock.ahead_s -= 3_600
