"""Postgres and Redis under gVisor: made, used by the tenant's services and by no other tenant's, killed, and back."""

import secrets

import docker
import pytest

from tests.real.platform.databases import READ, WRITE, client, query, run
from tests.real.platform.server import Server, Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

KINDS = pytest.mark.parametrize("kind", ["postgres", "redis"])


@KINDS
def test_a_service_of_the_tenant_uses_it_by_its_string_and_no_other_tenants_does(
    server: Server, tenant: Tenant, sdk: docker.DockerClient, kind: str
) -> None:
    database, other = run(tenant, kind), server.register(f"o{secrets.token_hex(4)}")
    string = database.string
    mine, theirs = client(tenant), client(other)
    query(mine, sdk, string, WRITE[kind])
    assert query(mine, sdk, string, READ[kind]) == "42"
    address = database.container(sdk).attrs["NetworkSettings"]["Networks"][f"ah-tenant-{tenant.id}"]["IPAddress"]
    by_address = string.replace("store.db.internal", address)
    assert query(mine, sdk, by_address, READ[kind]) == "42"
    for attempt in (string, by_address):
        assert "42" not in query(theirs, sdk, attempt, READ[kind])
    wrong = by_address.replace(string.partition("@")[0].rpartition(":")[2], "wrong")
    assert "42" not in query(mine, sdk, wrong, READ[kind])


@KINDS
def test_docker_shows_the_container_that_was_asked_for(tenant: Tenant, sdk: docker.DockerClient, kind: str) -> None:
    database = run(tenant, kind)
    container = database.container(sdk)
    host, config = container.attrs["HostConfig"], container.attrs["Config"]
    password = database.string.partition("@")[0].rpartition(":")[2]
    assert (container.name, container.id) == (database.name, database.now["container_id"])
    assert (host["Runtime"], host["Memory"], host["MemorySwap"]) == ("runsc", 256 << 20, 256 << 20)
    assert (host["NanoCpus"], host["PidsLimit"], host["ReadonlyRootfs"]) == (1_000_000_000, 256, True)
    assert (host["CapDrop"], host["Privileged"]) == (["ALL"], False)
    given = {name.removeprefix("CAP_") for name in host["CapAdd"]}
    assert given == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert host["SecurityOpt"] == ["no-new-privileges=true"]
    assert (host["PortBindings"] or {}, host["PublishAllPorts"]) == ({}, False)
    (mount,) = [one for one in container.attrs["Mounts"] if one["Destination"] != "/etc/resolv.conf"]
    assert (mount["Type"], mount["Name"]) == ("volume", database.name)
    assert password not in str((config["Cmd"], config["Entrypoint"], container.attrs["Args"], container.attrs["Path"]))
    labels = {key: value for key, value in container.labels.items() if key.startswith("ah.")}
    assert (labels["ah.database"], labels["ah.tenant"]) == (database.id, tenant.id)
    assert "ah.service" not in labels
    ps = container.exec_run(["sh", "-c", "cat /proc/[0-9]*/cmdline; id -u; cat /proc/1/status | grep -i uid"])
    assert password not in ps.output.decode()
    assert "Uid:\t0" not in ps.output.decode()  # the server itself dropped root


@KINDS
def test_a_link_deploys_a_service_that_finds_it_in_its_variables(
    tenant: Tenant, sdk: docker.DockerClient, kind: str
) -> None:
    service, database = client(tenant), run(tenant, kind)
    linked = tenant.call("POST", f"{database.path}/link", {"service_id": service.id}, Prefer="wait=60")
    assert service.settled()["deployment_id"] == linked["deployment_id"]
    ask = {
        "postgres": 'psql -AtX "$DATABASE_URL" -c "SELECT 6*7"',
        "redis": 'redis-cli -u "$REDIS_URL" --no-auth-warning PING',
    }
    done = service.container(sdk).exec_run(["sh", "-c", ask[kind]])
    assert done.output.decode().strip() == {"postgres": "42", "redis": "PONG"}[kind]


@pytest.mark.sampled
@KINDS
@pytest.mark.parametrize("how", ["killed", "removed"])
def test_killed_or_removed_it_comes_back_with_its_data(
    tenant: Tenant, sdk: docker.DockerClient, kind: str, how: str
) -> None:
    database, service = run(tenant, kind), client(tenant)
    string = database.string
    query(service, sdk, string, WRITE[kind])
    before = database.container(sdk)
    if how == "killed":
        before.kill()
    else:
        before.remove(force=True)
    eventually(lambda: "drifted" in database.events() or "crashed" in database.events())
    database.until("running")
    assert query(service, sdk, string, READ[kind]) == "42"
    assert len(database.containers(sdk)) == 1


def test_a_service_that_was_there_before_finds_a_database_by_its_name(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = client(tenant)
    database = run(tenant, "redis")
    assert query(service, sdk, database.string, "PING") == "PONG"
