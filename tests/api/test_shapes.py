"""What each route answers with: the fields that clients depend on, in their order, absent where there is nothing to say."""

import re
from typing import Any

import pytest

from tests.api.site import Site, Tenant
from tests.engines.simulated import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID = re.compile("[0-9a-f]{32}").fullmatch

SERVICE = [
    *("id", "tenant_id", "name", "dns_label", "status", "image", "url", "port", "crash_count", "circuit_open"),
    *("created_at", "updated_at", "desired_status", "memory_mb", "cpu_count", "egress", "replicas"),
    *("drain_s", "env_keys"),
]
DEPLOYMENT = ["id", "service_id", "tenant_id", "image", "status", "trigger", "started_at", "created_at", "number"]
TENANT = ["id", "tenant_id", "dns_label", "status", "created_at", "updated_at", "name", "email"]


def no_nulls(value: Any) -> bool:
    """Whether nothing in it is null, and no integer came as a float."""
    if isinstance(value, dict):
        return all(no_nulls(one) for one in value.values())
    if isinstance(value, list):
        return all(no_nulls(one) for one in value)
    return value is not None and not (isinstance(value, float) and value.is_integer())


async def test_a_new_service(site: Site, acme: Tenant) -> None:
    answer = await acme.post(
        "/v1/services", {"name": "My App", "image": "web:1", "port": 0, "env": {"B": "2", "A": "1"}}
    )
    service = answer.json
    assert (answer.status, answer.headers["Location"]) == (201, f"/v1/services/{service['id']}")
    assert list(service) == SERVICE and no_nulls(service)
    assert ID(service["id"]) and service["tenant_id"] == acme.id
    shown = {
        "name": "My App",
        "dns_label": "my-app",
        "status": "deploying",
        "desired_status": "running",
        "image": "web:1",
        "port": 0,
        "crash_count": 0,
        "circuit_open": False,
        "memory_mb": 512,
        "cpu_count": 1,
        "egress": "none",
        "replicas": 1,
        "drain_s": 0,
        "env_keys": ["A", "B"],
    }
    assert service | shown == service
    assert service["created_at"] == service["updated_at"] == int(service["created_at"])
    label = (await acme.get("/v1/tenant")).json["dns_label"]
    assert service["url"] == f"http://my-app.{label}.localhost:{site.app.port}"


async def test_a_service_that_runs_and_one_that_failed(site: Site, acme: Tenant) -> None:
    service = await acme.running(health_path="/up", cpu_count=0.25, replicas=2)
    more = ["health_path", "container_id", "deployment_id", "image_digest", "observed_at"]
    assert list(service) == [*SERVICE, *more] and no_nulls(service)
    assert (service["cpu_count"], service["replicas"]) == (0.25, 2)
    failed = await acme.post("/v1/services", {"name": "bad", "image": "broken", "port": 0}, Prefer="wait=5")
    assert list(failed.json) == [*SERVICE, "last_error"]
    assert failed.json["last_error"] == "crashed: the instance ended with exit code 3 before it was healthy"


@pytest.mark.parametrize("image", ["", "pending", "placeholder:latest", None])
async def test_a_service_that_waits_for_its_build_is_created_and_its_image_pending(
    site: Site, acme: Tenant, image: str | None
) -> None:
    answer = await acme.post("/v1/services", {"name": "web"} | ({} if image is None else {"image": image}))
    assert (answer.status, answer.json["status"], answer.json["image"]) == (201, "created", "pending")
    assert list(answer.json) == SERVICE


async def test_what_scripts_look_for_first_in_a_service_is_its_own(site: Site, acme: Tenant) -> None:
    service = await acme.running(env={"URL": "x"})
    text = (await acme.get(f"/v1/services/{service['id']}")).body.decode()
    for field in ("id", "status", "url"):
        found = re.search(f'"{field}":"([^"]*)"', text)
        assert found and found[1] == service[field]


async def test_a_crash_shows_in_the_service(site: Site, acme: Tenant) -> None:
    site.host.images["frail:1"] = Behaviour()
    service = await acme.running(image="frail:1")
    site.host.crash(service["container_id"], exit_code=9)
    answer = await acme.get(f"/v1/services/{service['id']}?wait=crashed&timeout=5")
    assert answer.json["crash_count"] == 1 and answer.json["last_error"] == "crashed: ended with exit code 9"
    assert type(answer.json["last_crashed_at"]) is int and no_nulls(answer.json)
    await acme.delete(f"/v1/services/{service['id']}")  # or it would be repaired in a second


async def test_an_end_for_want_of_memory_is_told_with_the_limit(site: Site, acme: Tenant) -> None:
    site.host.images["hungry:1"] = Behaviour()
    service = await acme.running(image="hungry:1", memory_mb=128)
    site.host.crash(service["container_id"], 137, oom_killed=True)
    answer = await acme.get(f"/v1/services/{service['id']}?wait=crashed&timeout=5")
    assert answer.json["last_error"] == "out_of_memory: killed for using more than its 128 MB (memory_mb)"
    await acme.delete(f"/v1/services/{service['id']}")


async def test_commands_on_a_service(site: Site, acme: Tenant) -> None:
    path = f"/v1/services/{(await acme.running())['id']}"
    for command in ("stop", "start", "restart", "reset"):
        answer = await acme.post(f"{path}/{command}", Prefer="wait=5")
        assert (answer.status, list(answer.json)) == (200, ["status", "desired_status"])
        assert answer.body.startswith(b'{"status":"')
    answer = await acme.post(f"{path}/redeploy")
    assert answer.status == 200 and set(SERVICE) <= answer.json.keys()
    for command, body in (("deploy", {"image": "web:2"}), ("rollback", {})):
        answer = await acme.post(f"{path}/{command}", body, Prefer="wait=5")
        assert (answer.status, list(answer.json)[: len(DEPLOYMENT)]) == (202, DEPLOYMENT)
        assert answer.headers["Location"] == f"{path}/deployments/{answer.json['id']}"
        assert (await acme.get(answer.headers["Location"])).json["trigger"] == command
    assert (await acme.patch(path, {"memory_mb": 64})).json["memory_mb"] == 64
    answer = await acme.delete(path)
    assert (answer.status, answer.body) == (204, b"") and "Content-Type" not in answer.headers


async def test_deployments(site: Site, acme: Tenant) -> None:
    path = f"/v1/services/{(await acme.running())['id']}/deployments"
    [row] = (await acme.get(path)).json
    assert list(row) == [*DEPLOYMENT, "completed_at", "container_id", "image_digest"] and no_nulls(row)
    assert (row["status"], row["trigger"], row["number"]) == ("running", "create", 1)
    assert row["created_at"] <= row["started_at"] <= row["completed_at"]
    await acme.post(path.replace("deployments", "deploy"), {"image": "broken"}, Prefer="wait=5")
    failed, before = (await acme.get(path)).json
    assert list(failed) == [*DEPLOYMENT, "completed_at", "error_code", "error_message"] and no_nulls(failed)
    assert (failed["status"], failed["error_code"], before["id"]) == ("failed", "crashed", row["id"])
    answer = await acme.post(f"{path}/{failed['id']}/cancel")
    assert (answer.status, answer.code) == (409, "not_cancellable")


async def test_a_deployment_that_is_called_off(site: Site, acme: Tenant) -> None:
    site.engine.lag_s["fetch"] = 0.05
    try:
        service = await acme.service()
        [row] = (await acme.get(f"/v1/services/{service['id']}/deployments")).json
        assert list(row) == DEPLOYMENT and row["started_at"] >= row["created_at"]
        answer = await acme.post(f"/v1/services/{service['id']}/deployments/{row['id']}/cancel")
    finally:
        site.engine.lag_s.clear()
    assert (answer.status, answer.json["status"]) == (200, "cancelled") and no_nulls(answer.json)
    assert type(answer.json["cancelled_at"]) is int


async def test_variables_are_masked_unless_they_are_wanted(site: Site, acme: Tenant) -> None:
    path = f"/v1/services/{(await acme.service(image=''))['id']}/env"
    assert (await acme.get(path)).body == b"{}"
    answer = await acme.post(path, {"TOKEN": "hunter2", "EMPTY": ""})
    assert (answer.status, list(answer.json), answer.json["status"]) == (200, ["note", "status"], "updated")
    await acme.post(path, {"EMPTY": "no more"})
    masked = await acme.get(path)
    assert masked.json == {"EMPTY": "********", "TOKEN": "********"} and "Cache-Control" not in masked.headers
    shown = await acme.get(f"{path}?reveal=true")
    assert shown.json == {"EMPTY": "no more", "TOKEN": "hunter2"}
    assert shown.headers["Cache-Control"] == "no-store"
    assert (await acme.get(f"{path}?reveal=maybe")).pointers == ["/query/reveal"]
    assert (await acme.delete(f"{path}/EMPTY")).status == 204
    answer = await acme.delete(f"{path}/EMPTY")
    assert (answer.status, answer.code) == (404, "env_not_found")


async def test_registration_and_the_tenant(site: Site) -> None:
    wanted = {"name": "Shape Co", "email": "shape@example.org"}
    answer = await site.operator.post("/v1/tenants/register", wanted)
    assert (answer.status, list(answer.json)) == (201, ["tenant_id", "api_key"])
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Location"] == "/v1/tenant"
    acme = Tenant(site, answer.json["tenant_id"], answer.json["api_key"])
    found = (await acme.get("/v1/tenant")).json
    assert list(found) == TENANT and no_nulls(found) and ID(found["id"])
    assert found | wanted == found and (found["status"], found["dns_label"]) == ("active", "shape-co")
    answer = await acme.patch("/v1/tenant", {"name": "Other Shape"})
    assert (answer.json["name"], answer.json["email"]) == ("Other Shape", wanted["email"])
    assert (await site.operator.get(f"/v1/tenants/{acme.id}")).json == answer.json
    assert (await site.operator.get("/v1/tenants?limit=1")).json == [answer.json]


async def test_keys(site: Site, acme: Tenant) -> None:
    answer = await acme.post("/v1/auth/keys", {"name": "ci", "expires_in": 60, "scopes": ["deploy", "read", "read"]})
    key = answer.json
    assert list(key) == ["id", "name", "api_key", "prefix", "created_at", "expires_at", "scopes"] and no_nulls(key)
    assert (key["scopes"], key["expires_at"] - key["created_at"]) == (["deploy", "read"], 60)
    assert key["api_key"].startswith(f"{key['id']}.") and key["id"].startswith(key["prefix"])
    listed = (await acme.get("/v1/auth/keys")).json
    assert listed[0] == {name: value for name, value in key.items() if name != "api_key"}
    assert [row["name"] for row in listed] == ["ci", "first key"] and "expires_at" not in listed[1]


async def test_usage_and_quotas(site: Site, acme: Tenant) -> None:
    await acme.service(memory_mb=256, cpu_count=0.5, replicas=2)
    assert (await acme.get("/v1/tenant/usage")).json == {
        "services": {"used": 1, "max": 5},
        "databases": {"used": 0, "max": 3},
        "api_keys": {"used": 1, "max": 20},
        "memory_mb": 6144,
        "used_memory_mb": 512,
        "cpu_cores": 8,
        "used_cpu_cores": 1,
        "disk_gb": 20,
        "used_disk_gb": 0,
        "rate_limit": 100,
    }
    answer = await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"max_services": 1, "max_cpu_cores": 2})
    assert answer.status == 200 and (answer.json["max_services"], answer.json["max_memory_mb"]) == (1, 6144)
    answer = await acme.post("/v1/services", {"name": "one more"})
    assert (answer.status, answer.code) == (409, "quota_exceeded")
    found = (await acme.get("/v1/whoami")).json
    assert list(found) == ["key", "scopes", "tenant", "usage", "quotas_left"] and no_nulls(found)
    assert (found["quotas_left"]["services"], found["quotas_left"]["cpu_cores"]) == (0, 1)


async def test_health_in_detail(site: Site, acme: Tenant) -> None:
    await site.settled()
    found = (await acme.get("/v1/system/health/detailed")).json
    assert {"status", "docker", "gvisor", "disk", "engine", "router", "names", "log", "effects"} <= found.keys()
    disk = found.pop("disk")
    assert set(disk) == {"total_gb", "free_gb", "used_percent", "level"} and None not in disk.values()
    assert no_nulls(found)
    assert found["log"]["position"] == site.position
    assert found["effects"].keys() == {"open", "oldest_s", "parked"}


async def test_activity_is_the_log_in_words_deleted_resources_included(site: Site, acme: Tenant) -> None:
    service = await acme.running("web")
    await acme.delete(f"/v1/services/{service['id']}")
    await site.settled()
    rows = (await acme.get("/v1/activity")).json
    assert {row["resource_type"] for row in rows} == {"service", "tenant", "key"}
    row = next(row for row in rows if row["action"] == "delete_requested")
    told = [
        *("id", "resource_type", "resource_id", "action", "status", "message", "actor", "position", "created_at"),
        *("resource_name", "service_id"),
    ]
    assert list(row) == told and no_nulls(rows)
    assert (row["resource_id"], row["service_id"], row["resource_name"]) == (service["id"], service["id"], "web")
    assert row["actor"] == f"key:{acme.key[:32]}" and ID(row["id"])
    positions = [row["position"] for row in rows]
    assert positions == sorted(positions, reverse=True)
    since = (await acme.get(f"/v1/activity?service_id={service['id']}&action=created")).json
    assert [row["message"] for row in since] and len(since) == 1
