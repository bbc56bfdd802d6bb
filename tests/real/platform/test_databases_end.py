"""Databases are deleted, brought back and purged; their tenant leaves; the platform dies over them."""

import docker
import pytest

from tests.real.platform.conftest import MakeServer
from tests.real.platform.databases import READ, WRITE, Database, client, query, run
from tests.real.platform.server import OPEN, Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

KINDS = pytest.mark.parametrize("kind", ["postgres", "redis"])


@KINDS
def test_deleted_its_container_goes_and_undeleted_its_data_is_back(
    tenant: Tenant, sdk: docker.DockerClient, kind: str
) -> None:
    database, service = run(tenant, kind), client(tenant)
    string = database.string
    query(service, sdk, string, WRITE[kind])
    tenant.call("DELETE", database.path)
    eventually(lambda: not database.containers(sdk))
    assert database.has_volume(sdk)
    assert tenant.call("GET", "/v1/databases") == []
    tenant.call("POST", f"{database.path}/undelete", Prefer="wait=60")
    assert database.string == string
    assert query(service, sdk, string, READ[kind]) == "42"


def test_purged_neither_container_nor_volume_are_left(tenant: Tenant, sdk: docker.DockerClient) -> None:
    database = run(tenant, "redis")
    assert database.has_volume(sdk)
    tenant.call("DELETE", f"{database.path}?purge=true")
    eventually(lambda: tenant.ask("GET", database.path).status == 404)
    assert not database.has_volume(sdk)
    assert database.containers(sdk) == []


def test_a_volume_whose_time_is_over_goes_by_itself_also_when_the_server_was_down(
    make_server: MakeServer, sdk: docker.DockerClient
) -> None:
    server = make_server(*OPEN, "--db-retention", "2").start()
    tenant = server.register("acme")
    database = run(tenant, "redis")
    tenant.call("DELETE", database.path)
    eventually(lambda: not database.containers(sdk))
    server.end()
    server.start()
    eventually(lambda: not database.has_volume(sdk))


def test_suspended_it_stops_and_reactivated_it_is_back_with_its_data(tenant: Tenant, sdk: docker.DockerClient) -> None:
    database, service = run(tenant, "postgres"), client(tenant)
    string = database.string
    query(service, sdk, string, WRITE["postgres"])
    tenant.call("DELETE", "/v1/tenant")
    eventually(lambda: not database.containers(sdk) and not service.containers(sdk))
    back = tenant.server.operate("POST", f"/v1/tenants/{tenant.id}/reactivate")
    tenant.key = back.json["api_key"]
    database.until("running")
    service.until("running")
    assert query(service, sdk, string, READ["postgres"]) == "42"


def test_erased_neither_its_databases_nor_their_volumes_are_left(tenant: Tenant, sdk: docker.DockerClient) -> None:
    there, kept = run(tenant, "redis"), run(tenant, "redis", "kept")
    tenant.call("DELETE", kept.path)
    name = tenant.call("GET", "/v1/tenant")["name"]
    assert tenant.server.operate("DELETE", f"/v1/tenants/{tenant.id}/data", {"confirm": name}).status == 202
    eventually(lambda: tenant.server.operate("GET", f"/v1/tenants/{tenant.id}").json["status"] == "erased")
    assert [*there.containers(sdk), *kept.containers(sdk)] == []
    assert not there.has_volume(sdk) and not kept.has_volume(sdk)
    assert sdk.networks.list(names=[f"ah-tenant-{tenant.id}"]) == []


def test_of_many_that_are_asked_for_at_once_the_quota_lets_three_run(tenant: Tenant, sdk: docker.DockerClient) -> None:
    body = {"type": "redis", "memory_mb": 128, "cpu_count": 0.5}
    answers = [tenant.ask("POST", "/v1/databases", {"name": f"db{n}", **body}) for n in range(5)]
    assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 2
    made = [Database(tenant, answer.json["id"], "redis") for answer in answers if answer.status == 201]
    for database in made:
        database.until("running")
    networks = [one.container(sdk).attrs["NetworkSettings"]["Networks"] for one in made]
    assert len({network[f"ah-tenant-{tenant.id}"]["IPAddress"] for network in networks}) == 3


@pytest.mark.sampled
@pytest.mark.parametrize("point", ["after-intent", "after-attempt", "after-effect", "after-outcome", "between-commits"])
def test_whatever_kills_the_platform_there_is_one_container_one_volume_and_an_outcome(
    make_server: MakeServer, sdk: docker.DockerClient, point: str
) -> None:
    server = make_server(*OPEN).start()
    tenant = server.register("acme")
    server.end()
    server.env["AH_CRASH_AT"] = point
    server.start()
    answer = post_and_forget(tenant)
    server.wait()
    del server.env["AH_CRASH_AT"]
    server.start()
    if answer is None:  # it died before it could answer: the client tries again, with its key
        answer = post_and_forget(tenant)
    assert answer
    database = Database(tenant, answer, "redis")
    database.until("running")
    assert len(database.containers(sdk)) == 1
    assert database.has_volume(sdk)
    assert database.events().count("started") == database.events().count("create_requested") == 1
    service = client(tenant)
    assert query(service, sdk, database.string, "PING") == "PONG"


def post_and_forget(tenant: Tenant) -> str | None:
    """Asks for a database with a key; its id, None where the server died over it."""
    body = {"name": "store", "type": "redis", "memory_mb": 128}
    try:
        return str(tenant.call("POST", "/v1/databases", body, Idempotency_Key="store")["id"])
    except (OSError, ValueError):
        return None
