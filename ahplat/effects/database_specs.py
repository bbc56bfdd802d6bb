"""What a database's server is to be, as values. Pure but for the unsealing of its password.

Passwords come by environment, never in an argv: Redis, which reads none, gets its configuration on stdin from a shell
that only knows the variable's name. Both entrypoints begin as root, on a volume that root owns, and drop it. A scratch
server (`scratch.py`) of Redis waits for the file that it is to load, and appends to none.
"""

from urllib.parse import quote

from msgspec import Struct

from ahplat.effects.specs import network_of
from ahplat.effects.task import Platform
from ahplat.engines.engine import Identity, Image, Mount, Spec, Volume
from events.event import canonical
from projections import databases, tenants
from projections.databases import DatabaseRow
from projections.tenants import TenantRow

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
PATHS = {"postgres": "/var/lib/postgresql/data", "redis": "/data"}
PORTS = {"postgres": 5432, "redis": 6379}
STOP_SIGNALS = {"postgres": "SIGINT", "redis": "SIGTERM"}  # Postgres: does not wait until its clients have gone
REDIS = """\
appendonly=yes
if [ -n "${{AH_SCRATCH-}}" ]; then
    appendonly=no
    until [ -f dump.rdb ]; do sleep 0.1; done
fi
exec docker-entrypoint.sh redis-server - <<END
requirepass $REDIS_PASSWORD
dir /data
appendonly $appendonly
repl-diskless-sync-delay 0
maxmemory {maxmemory_mb}mb
END
"""


class Plan(Struct, frozen=True):
    """A database with all that is needed to make it run. `password` is in the clear: it never leaves the process."""

    database: DatabaseRow
    tenant: TenantRow
    password: str


def load_plan(platform: Platform, database_id: str) -> Plan:
    """Reads what a database is to be from the views, and unseals its password."""
    row = databases.find(platform.views, database_id)
    assert row and row.password, f"an intent names database {database_id}, the views do not know it"
    tenant = tenants.find(platform.views, row.tenant_id)
    assert tenant, f"database {database_id} is nobody's"
    password = platform.keyring.unseal(row.tenant_id, f"database-{database_id}", "password", row.password)
    return Plan(row, tenant, password.decode())


def server_name(database_id: str) -> str:
    """Of its container and of its volume.

    >>> server_name("ab")
    'ah-db-ab'
    """
    return f"ah-db-{database_id}"


def volume_of(database_id: str, tenant_id: str, installation: str) -> Volume:
    """Where its data is."""
    return Volume(server_name(database_id), installation, tenant_id)


def environment(plan: Plan) -> dict[str, str]:
    """What its entrypoint reads; `PORT` tells the platform where it listens."""
    row = plan.database
    if row.kind == "redis":
        return {"REDIS_PASSWORD": plan.password, "PORT": str(row.port)}
    return {
        "POSTGRES_USER": row.username,
        "POSTGRES_PASSWORD": plan.password,
        "POSTGRES_DB": row.db_name,
        "PGDATA": PATHS["postgres"],
        "PORT": str(row.port),
    }


def command(row: DatabaseRow) -> tuple[str, ...]:
    """What its image's entrypoint is given, () for the image's own: Redis refuses writes before it is killed for them."""
    if row.kind == "redis":
        return ("sh", "-c", REDIS.format(maxmemory_mb=row.memory_mb * 3 // 4))
    return ()


def server_spec(plan: Plan, image: Image, platform: Platform, attempt: int) -> Spec:
    """Its one server. The identity is the same for as long as the database lives: what ended is started, not replaced."""
    row, env = plan.database, environment(plan)
    asked = (image.digest, sorted(env.items()), row.memory_mb, row.cpu_milli, row.address)
    return Spec(
        name=server_name(row.database_id),
        identity=Identity(
            instance=platform.installation,
            epoch=platform.epoch,
            tenant=row.tenant_id,
            service="",
            deployment="",
            number=1,
            replica=1,
            position=row.intent,
            spec=platform.keyring.mac("specs", canonical(asked)).hex()[:32],
            attempt=attempt,
            database=row.database_id,
        ),
        env=env,
        port=row.port,
        memory_mb=row.memory_mb,
        cpu_milli=row.cpu_milli,
        network=network_of(plan.tenant, platform.installation),
        address=row.address,
        mounts=(Mount(server_name(row.database_id), PATHS[row.kind]),),
        command=command(row),
        capabilities=CAPABILITIES,
        stop_signal=STOP_SIGNALS[row.kind],
    )


def reached_at(row: DatabaseRow) -> tuple[str, int]:
    """Where a container of the tenant finds it; where an engine has no networks, where a process of the machine does.

    The name is that of a fixed address; the address at which the platform saw it is another only without networks.
    """
    return (row.internal_name, row.port) if row.host in ("", row.address) else (row.host, row.host_port)


def connection_string(row: DatabaseRow, password: str) -> str:
    """How to connect, password and all."""
    host, port = reached_at(row)
    secret = quote(password, safe="")
    if row.kind == "redis":
        return f"redis://{row.username}:{secret}@{host}:{port}/{row.db_name}"
    return f"postgres://{row.username}:{secret}@{host}:{port}/{row.db_name}"
