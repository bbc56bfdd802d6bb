"""A tenant's databases as tests of the real platform have them, and a service that speaks to them."""

import docker
from docker.models.containers import Container

from tests.real.platform.server import Service, Tenant

CLIENT = "database-client:1"
WRITE = {
    "postgres": "CREATE TABLE kept (x int); INSERT INTO kept VALUES (42)",
    "redis": "SET kept 42",
}
READ = {"postgres": "SELECT x FROM kept", "redis": "GET kept"}
PATIENCE_S = 5


class Database:
    """One database of a tenant."""

    def __init__(self, tenant: Tenant, id: str, kind: str) -> None:
        self.tenant, self.id, self.kind = tenant, id, kind
        self.path = f"/v1/databases/{id}"
        self.name = f"ah-db-{id}"

    @property
    def now(self) -> dict[str, str]:
        found: dict[str, str] = self.tenant.call("GET", self.path)
        return found

    def until(self, status: str) -> dict[str, str]:
        found: dict[str, str] = self.tenant.call("GET", f"{self.path}?wait={status}&timeout=60")
        assert found["status"] == status, found
        return found

    @property
    def string(self) -> str:
        return str(self.tenant.call("GET", f"{self.path}/connection-string")["connection_string"])

    def containers(self, sdk: docker.DockerClient) -> list[Container]:
        label = f"ah.database={self.id}"
        return list(sdk.containers.list(all=True, filters={"label": label}, ignore_removed=True))

    def container(self, sdk: docker.DockerClient) -> Container:
        (found,) = self.containers(sdk)
        return found

    def has_volume(self, sdk: docker.DockerClient) -> bool:
        return self.name in [volume.name for volume in sdk.volumes.list()]

    def events(self) -> list[str]:
        found = self.tenant.call("GET", f"/v1/events?after=0&limit=200&resource={self.id}")
        return [event["type"].partition(".")[2] for event in found]


def create(tenant: Tenant, kind: str, name: str = "store", **settings: object) -> Database:
    """A small database. Returns at once."""
    body = {"name": name, "type": kind, "memory_mb": 256, "cpu_count": 1, **settings}
    made = tenant.call("POST", "/v1/databases", body)
    assert made["status"] == "provisioning"
    return Database(tenant, made["id"], kind)


def run(tenant: Tenant, kind: str, name: str = "store") -> Database:
    database = create(tenant, kind, name)
    database.until("running")
    return database


def client(tenant: Tenant, name: str = "app") -> Service:
    """A service that can speak to databases."""
    return tenant.run(name, CLIENT, port=0)


def query(service: Service, sdk: docker.DockerClient, string: str, words: str) -> str:
    """What a service's container is answered, by the string as it was told; "" and no answer are the same."""
    if string.startswith("redis:"):
        argv = ["redis-cli", "--no-auth-warning", "-u", string, *words.split()]
    else:
        argv = ["psql", "-AtX", "--set=ON_ERROR_STOP=1", string, "-c", words]
    done = service.container(sdk).exec_run(["timeout", str(PATIENCE_S), *argv], environment={"PGCONNECT_TIMEOUT": "3"})
    return str(done.output.decode()).strip()
