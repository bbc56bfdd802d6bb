"""Databases under gVisor are backed up, proved, destroyed and restored; whatever dies, there is the old or the new, whole."""

import random
import secrets
import signal
from collections.abc import Callable

import docker
import pytest

from tests.real.platform.conftest import MakeServer
from tests.real.platform.databases import READ, WRITE, Database, client, query, run
from tests.real.platform.server import OPEN, Server, Service, Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

KINDS = pytest.mark.parametrize("kind", ["postgres", "redis"])
DESTROY = {"postgres": "DROP TABLE kept; CREATE TABLE other (y int)", "redis": "FLUSHALL"}


def backed_up(database: Database) -> dict[str, object]:
    """A verified backup of all that it holds."""
    made = database.tenant.call("POST", f"{database.path}/backups", Prefer="wait=60")
    assert made["status"] == "verified", made.get("error")
    return dict(made)


def restored(database: Database, backup: dict[str, object]) -> dict[str, str]:
    body = {"backup_id": backup["id"]}
    return dict(database.tenant.call("POST", f"{database.path}/restore", body, Prefer="wait=60"))


def scratches(sdk: docker.DockerClient, backup: dict[str, object]) -> list[str]:
    """What is there of a backup's scratch server."""
    name = f"ah-dbscratch-{backup['id']}"
    found = [one.name for one in sdk.containers.list(all=True, filters={"name": name}, ignore_removed=True)]
    return found + [volume.name for volume in sdk.volumes.list(filters={"name": name})]


def holding(tenant: Tenant, sdk: docker.DockerClient, kind: str) -> tuple[Database, Service]:
    """One that holds 42, and a service that can ask for it."""
    database, service = run(tenant, kind), client(tenant)
    query(service, sdk, database.string, WRITE[kind])
    return database, service


@KINDS
def test_what_was_destroyed_is_back_under_the_same_string(tenant: Tenant, sdk: docker.DockerClient, kind: str) -> None:
    database, service = holding(tenant, sdk, kind)
    string = database.string
    backup = backed_up(database)
    assert (backup.get("tables"), backup.get("rows"), backup.get("keys")) == (
        (1, 1, None) if kind == "postgres" else (None, None, 1)
    )
    assert scratches(sdk, backup) == []
    query(service, sdk, string, DESTROY[kind])
    assert "42" not in query(service, sdk, string, READ[kind])
    before = database.now["container_id"]
    after = restored(database, backup)
    assert (after["status"], after.get("last_error"), after["container_id"]) == ("running", None, before)
    assert query(service, sdk, string, READ[kind]) == "42"
    if kind == "postgres":
        assert "other" in query(service, sdk, string, "SELECT y FROM other")  # there is no such table
        listed = query(service, sdk, string, "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database")
        assert listed == "postgres template0 template1 u_store"
    else:
        assert "role:master" in query(service, sdk, string, "INFO replication")
    assert scratches(sdk, backup) == []


def test_what_belongs_to_a_role_is_proved_and_comes_back_though_the_role_was_dropped(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    database, service = holding(tenant, sdk, "postgres")
    string = database.string
    made = (
        "DO $$ BEGIN FOR n IN 1..600 LOOP EXECUTE format('CREATE ROLE r%s', n); END LOOP; END $$;"
        'CREATE ROLE "an App"; ALTER TABLE kept OWNER TO "an App"; ALTER TABLE kept ENABLE ROW LEVEL SECURITY;'
        'CREATE POLICY own ON kept TO "an App" USING (true)'
    )
    query(service, sdk, string, made)
    backup = backed_up(database)
    query(service, sdk, string, 'DROP TABLE kept; DROP ROLE "an App", r600')
    assert restored(database, backup).get("last_error") is None
    owner = query(
        service,
        sdk,
        string,
        "SELECT tableowner || ' ' || (SELECT count(*) FROM pg_policies) FROM pg_tables WHERE tablename = 'kept'",
    )
    assert owner == "an App 1"
    assert query(service, sdk, string, "SELECT count(*) FROM pg_roles WHERE rolname = 'r600'") == "1"


def test_a_database_that_postgres_would_not_drop_is_not_replaced(tenant: Tenant, sdk: docker.DockerClient) -> None:
    database, service = holding(tenant, sdk, "postgres")
    string, backup = database.string, backed_up(database)
    query(service, sdk, string, "UPDATE kept SET x = 43")
    for made, gone, why in (
        ("ALTER DATABASE u_store IS_TEMPLATE true", "ALTER DATABASE u_store IS_TEMPLATE false", "it is a template"),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=10.9.9.9 dbname=x' PUBLICATION p WITH (connect = false)",
            "ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s",
            "it has a subscription",
        ),
    ):
        query(service, sdk, string, made)
        assert why in restored(database, backup)["last_error"]
        assert why in database.now["last_error"]
        assert query(service, sdk, string, READ["postgres"]) == "43"
        query(service, sdk, string, gone)
    assert restored(database, backup).get("last_error") is None
    assert query(service, sdk, string, READ["postgres"]) == "42"


@pytest.mark.sampled
@KINDS
def test_what_was_restored_is_still_there_when_the_server_was_killed(
    tenant: Tenant, sdk: docker.DockerClient, kind: str
) -> None:
    database, service = holding(tenant, sdk, kind)
    backup = backed_up(database)
    query(service, sdk, database.string, DESTROY[kind])
    restored(database, backup)
    database.container(sdk).kill()
    eventually(lambda: query(service, sdk, database.string, READ[kind]) == "42")


@pytest.mark.sampled
@KINDS
def test_a_file_that_was_changed_is_refused_and_the_database_goes_on(
    server: Server, tenant: Tenant, sdk: docker.DockerClient, kind: str
) -> None:
    database, service = holding(tenant, sdk, kind)
    backup = backed_up(database)
    path = server.folder / "backups" / "databases" / tenant.id / str(backup["id"])
    content = path.read_bytes()
    assert b"kept" not in content and b"PGDMP" not in content and b"REDIS" not in content
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    query(service, sdk, database.string, "INSERT INTO kept VALUES (43)" if kind == "postgres" else "SET other 43")
    after = restored(database, backup)
    assert (after["status"], after["last_error"].partition(":")[0]) == ("running", "unreadable")
    assert (
        b"terminated by signal" not in database.container(sdk).logs()
    )  # nobody's connection was ended with the restore's
    assert "42" in query(service, sdk, database.string, READ[kind])
    assert "43" in query(service, sdk, database.string, READ[kind] if kind == "postgres" else "GET other")
    assert scratches(sdk, backup) == []


def scratch_runs(database: Database, sdk: docker.DockerClient) -> bool:
    """Whether a scratch server of any of its backups does."""
    tenant = [f"ah.tenant={database.tenant.id}", "ah.database"]
    found = sdk.containers.list(filters={"label": tenant}, ignore_removed=True)
    return any(one.name.startswith("ah-dbscratch-") for one in found)


def restores(database: Database, sdk: docker.DockerClient) -> bool:
    """Whether what is in the backup is on its way into the database."""
    if database.kind == "redis":
        return scratch_runs(database, sdk)
    listed = ["psql", "-U", "u_store", "-AtXc", "SELECT datname FROM pg_database", "postgres"]
    return b"ah_restore" in database.container(sdk).exec_run(listed).output


def some(phases: dict[str, Callable[[], bool]], at_most: int) -> list[Callable[[], bool]]:
    """In CI one of them, each time another: all take minutes, and `bin/test --all` has them."""
    chosen = random.SystemRandom().sample(sorted(phases), min(at_most, len(phases)))
    print(f"killed when: {', '.join(chosen)}")
    return [phases[name] for name in chosen]


def newest(database: Database) -> dict[str, object]:
    return dict(database.tenant.call("GET", f"{database.path}/backups")[0])


@pytest.mark.sampled
@pytest.mark.parametrize("phases", [1, pytest.param(3, marks=pytest.mark.long)])
@KINDS
def test_a_platform_that_is_killed_in_any_phase_comes_to_a_backup_and_to_a_restore_all_the_same(
    make_server: MakeServer, sdk: docker.DockerClient, kind: str, phases: int
) -> None:
    server = make_server(*OPEN).start()
    database, service = holding(server.register("acme"), sdk, kind)
    tenant, string = database.tenant, database.string
    of_backup = {
        "begun": lambda: True,
        "verifying": lambda: newest(database)["status"] == "verifying",
        "scratch server": lambda: scratch_runs(database, sdk),
    }
    of_restore = {"begun": lambda: True, "on its way": lambda: restores(database, sdk)}
    for reached in some(of_backup, phases):
        tenant.call("POST", f"{database.path}/backups")
        eventually(reached)
        server.end(signal.SIGKILL)
        server.start()
        backup = tenant.call("GET", f"{database.path}/backups/{newest(database)['id']}?wait=verified&timeout=60")
        assert (backup["status"], scratches(sdk, backup)) == ("verified", [])
    for reached in some(of_restore, phases):
        query(service, sdk, string, DESTROY[kind])
        tenant.call("POST", f"{database.path}/restore", {"backup_id": backup["id"]})
        eventually(reached)
        server.end(signal.SIGKILL)
        server.start()
        assert "last_error" not in database.until("running")
        assert query(service, sdk, string, READ[kind]) == "42"
        assert (scratches(sdk, backup), len(database.containers(sdk))) == ([], 1)
    files = [path.name for path in (server.folder / "backups" / "databases" / tenant.id).iterdir()]
    assert sorted(files) == sorted(row["id"] for row in tenant.call("GET", f"{database.path}/backups"))


def test_erased_its_backups_are_gone_and_no_other_tenant_sees_one(
    server: Server, tenant: Tenant, sdk: docker.DockerClient
) -> None:
    database, other = run(tenant, "redis"), server.register(f"o{secrets.token_hex(4)}")
    backup = backed_up(database)
    folder = server.folder / "backups" / "databases" / tenant.id
    for method, path, body in (
        ("GET", f"{database.path}/backups", None),
        ("GET", f"{database.path}/backups/{backup['id']}", None),
        ("POST", f"{database.path}/backups", None),
        ("DELETE", f"{database.path}/backups/{backup['id']}", None),
        ("POST", f"{database.path}/restore", {"backup_id": backup["id"]}),
    ):
        assert other.ask(method, path, body).status == 404
    assert [path.name for path in folder.iterdir()] == [backup["id"]]
    name = tenant.call("GET", "/v1/tenant")["name"]
    assert server.operate("DELETE", f"/v1/tenants/{tenant.id}/data", {"confirm": name}).status == 202
    eventually(lambda: server.operate("GET", f"/v1/tenants/{tenant.id}").json["status"] == "erased")
    assert not folder.exists()
