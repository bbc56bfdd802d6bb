"""Databases over HTTP. The answer comes at once, `provisioning`; the password is told only to who asks for it."""

import secrets
from typing import Annotated, Literal, get_args

from apsw import Connection
from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat import limits
from ahplat.answers import Answer
from ahplat.api.call import Call, Reply, answer, json_reply
from ahplat.api.fields import At, EnvName, Id, Named, ServiceName, check_env_name, cpu_count, cpu_milli, invalid
from ahplat.api.query import Paged, Waits
from ahplat.api.route import Route
from ahplat.api.services import seal_env
from ahplat.api.waiting import waited
from ahplat.commands.command import Command
from ahplat.commands.databases import (
    CreateDatabase,
    DeleteDatabase,
    LinkDatabase,
    ReadConnectionString,
    StartDatabase,
    UndeleteDatabase,
)
from ahplat.effects.database_specs import PORTS, connection_string, reached_at
from ahplat.errors import Rejected
from ahplat.labels import label_of
from events.databases import DatabaseCreateRequested
from projections import databases, deployments
from projections.crashes import in_words
from projections.databases import DatabaseRow

Status = Literal["provisioning", "running", "restoring", "failed", "stopped", "unavailable", "deleted"]
STATUSES: tuple[Status, ...] = get_args(Status)
StatusText = Annotated[str, Meta(extra_json_schema={"enum": STATUSES})]
VARIABLES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}
PASSWORD_BYTES = 24

MemoryMb = Annotated[int, Meta(ge=128, le=1_048_576)]
CpuCount = Annotated[float, Meta(ge=0.1, le=128)]


class Database(Struct, frozen=True):
    """A database; what there is none of is absent. `host` is its name for the tenant's containers."""

    id: Id
    tenant_id: Id
    name: Named
    type: str
    status: StatusText
    host: str
    port: int
    db_name: str
    username: str
    created_at: At
    updated_at: At
    memory_mb: int
    cpu_count: float | int
    image: str
    container_id: str | UnsetType = UNSET
    last_error: str | UnsetType = UNSET
    last_crashed_at: At | UnsetType = UNSET
    observed_at: At | UnsetType = UNSET
    purged_at: At | UnsetType = UNSET  # of a deleted one: when it can no longer come back


def render(call: Call, row: DatabaseRow) -> Database:
    """The public form of a database's row."""
    host, port = reached_at(row)
    return Database(
        id=row.database_id,
        tenant_id=row.tenant_id,
        name=row.name,
        type=row.kind,
        status=row.status,
        host=host,
        port=port,
        db_name=row.db_name,
        username=row.username,
        created_at=row.created_at,
        updated_at=row.updated_at,
        memory_mb=row.memory_mb,
        cpu_count=cpu_count(row.cpu_milli),
        image=row.image,
        container_id=row.container_id or UNSET,
        last_error=_last_error(call, row),
        last_crashed_at=row.last_crashed_at or UNSET,
        observed_at=row.observed_at or UNSET,
        purged_at=row.purge_us // 1_000_000 if row.purge_us else UNSET,
    )


def _last_error(call: Call, row: DatabaseRow) -> str | UnsetType:
    """What keeps it from running; where nothing does, why the last restore left it as it was."""
    code, sealed = row.last_error_code, row.last_error
    if code is None:
        code, sealed = row.restore_code, row.restore_error
    if code is None:
        return UNSET
    detail = call.unsealed(row.tenant_id, f"database-{row.database_id}", "detail", sealed)
    if row.last_error_code == "out_of_memory" and not detail:
        detail = in_words(None, True, row.memory_mb)
    return f"{code}: {detail}".rstrip(": ")


def find(call: Call, views: Connection, database_id: str) -> DatabaseRow:
    """The caller's database, deleted or not. Raises Rejected, the same for another tenant's as for none."""
    row = databases.find(views, database_id)
    if row is None or row.tenant_id != call.tenant_id or row.desired == "purged":
        raise Rejected("database_not_found", f"there is no database {database_id[:64]}")
    return row


# reading


class AskedOfAll(Paged):
    """Which databases."""

    status: Annotated[Status, Meta(description="only databases of this status")] | UnsetType = UNSET


async def list_all(call: Call) -> Reply:
    """The caller's databases, newest first; with `status=deleted` those that can still be undeleted."""
    asked = call.asked(AskedOfAll)
    page = call.page("databases", asked)
    rows = databases.list_of(call.views, call.tenant_id, asked.status or "", page.limit, page.offset, page.before)
    last = rows[-1].database_id if rows else ""
    return call.listing("databases", page, [render(call, row) for row in rows], last)


class AskedOfOne(Waits):
    """What to wait for."""

    wait: Annotated[Status, Meta(description="answer as soon as the database has this status")] | UnsetType = UNSET


async def get(call: Call) -> Reply:
    """One database; with `?wait=<status>&timeout=<s>` as soon as it has that status, or as it is at the timeout."""
    row = find(call, call.views, call.path_id())
    asked = call.asked(AskedOfOne)
    if wanted := asked.wait:
        await call.app.hub.until(f"database-{row.database_id}", lambda: _has_status(call, wanted), asked.timeout)
        row = find(call, call.views, call.path_id())
    return json_reply(render(call, row), ETag=call.etag(row.version))


def _has_status(call: Call, wanted: str) -> bool:
    row = databases.find(call.views, call.path_id())
    return row is None or row.desired == "purged" or row.status == wanted


class ConnectionString(Struct, frozen=True):
    """How to connect, password and all."""

    connection_string: str


async def get_connection_string(call: Call) -> Reply:
    """Tells how to connect; who was told stands in the log before the answer goes out, each time."""
    row = find(call, call.views, call.path_id())
    if call.request.method == "HEAD":  # nobody is told
        return json_reply(ConnectionString(_connection_string(call, row)), Cache_Control="no-store")
    command = ReadConnectionString(tenant_id=call.tenant_id, database_id=row.database_id)
    reply = call.reply(await call.submit(command, lambda _: answer(None)))
    told = json_reply(ConnectionString(_connection_string(call, row)), Cache_Control="no-store")
    told.headers.update(reply.headers)
    return told


def _connection_string(call: Call, row: DatabaseRow) -> str:
    return connection_string(row, call.unsealed(row.tenant_id, f"database-{row.database_id}", "password", row.password))


# commands


class NewDatabase(Struct):
    """A database that is to be."""

    name: ServiceName
    type: Literal["postgres", "redis"]
    memory_mb: MemoryMb = limits.DATABASE_MEMORY_MB
    cpu_count: CpuCount = limits.DATABASE_CPU_MILLI / 1000


async def create(call: Call) -> Reply:
    """Makes a database, Postgres or Redis.

    Answers at once with status `provisioning`; it can be used once it is `running`: wait with `Prefer: wait=30`. Link it
    to a service, which is then told how to connect, or read its connection string.
    """
    body, app = call.body(NewDatabase), call.app
    label = label_of(body.name)
    if not label:
        raise invalid("/name", "expected at least one of a-z and 0-9, for it becomes part of a host name")
    database_id = call.new_id()
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    is_redis = body.type == "redis"
    created = DatabaseCreateRequested(
        name=body.name,
        label=label,
        kind=body.type,
        image=app.config.redis_image if is_redis else app.config.postgres_image,
        memory_mb=body.memory_mb,
        cpu_milli=cpu_milli(body.cpu_count),
        port=PORTS[body.type],
        db_name="0" if is_redis else sql_name(label),
        username="default" if is_redis else sql_name(label),
        password=app.keyring.seal(call.tenant_id, f"database-{database_id}", "password", password.encode()),
        address="",
    )
    command = CreateDatabase(tenant_id=call.tenant_id, database_id=database_id, created=created)
    return await order(call, command, database_id, 201, f"/v1/databases/{database_id}")


def sql_name(label: str) -> str:
    """A name of user and database that needs no quotes, is nobody's already, and fits PostgreSQL's 63 bytes.

    >>> sql_name("my-app"), len(sql_name("x" * 63))
    ('u_my_app', 63)
    """
    return f"u_{label.replace('-', '_')}"[:63]


async def order(call: Call, command: Command, database_id: str, status: int = 200, location: str = "") -> Reply:
    """Has a command decided and answers with the database; with `Prefer: wait=` once what it started has ended."""

    def rendered(views: Connection) -> Answer:
        row = databases.find(views, database_id)
        assert row
        return answer(render(call, row), status, location, row.version)

    reply = call.reply(await call.submit(command, rendered))
    if await waited(call, f"database-{database_id}", reply):
        row = databases.find(call.views, database_id)
        assert row
        reply.body = json_reply(render(call, row)).body
        reply.headers["ETag"] = call.etag(row.version)
    return reply


async def start(call: Call) -> Reply:
    """Starts a database that failed or was stopped, again."""
    return await order(call, StartDatabase(tenant_id=call.tenant_id, database_id=call.path_id()), call.path_id())


class AskedOfRemoval(Struct):
    """Whether it can come back."""

    purge: Annotated[bool, Meta(description="remove its data, too, now and for good")] = False


async def delete(call: Call) -> Reply:
    """The database is gone at once, and can be undeleted for a while; with `purge=true` its data goes, too."""
    now_us, purge = call.app.clock.now_us(), call.asked(AskedOfRemoval).purge
    kept_us = 0 if purge else int(call.app.config.db_retention_s * 1_000_000)
    command = DeleteDatabase(
        tenant_id=call.tenant_id, database_id=call.path_id(), purge_us=now_us + kept_us, purge=purge
    )
    return await call.order(command, lambda _: None, 204)


async def undelete(call: Call) -> Reply:
    """A deleted database comes back with all its data, as long as that is kept."""
    return await order(call, UndeleteDatabase(tenant_id=call.tenant_id, database_id=call.path_id()), call.path_id())


class Link(Struct):
    """The service that is to know the database, and the name of its variable."""

    service_id: Id
    key: EnvName | UnsetType = UNSET


class Linked(Struct, frozen=True):
    """The variable that was set, and the deployment that applies it; none where the service is not to run."""

    status: str
    key: str
    service_id: Id
    deployment_id: Id | UnsetType = UNSET


async def link(call: Call) -> Reply:
    """Sets the connection string as a variable of a service, and deploys it, in one command."""
    row = find(call, call.views, call.path_id())
    body = call.body(Link)
    key = VARIABLES[row.kind] if body.key is UNSET else body.key
    check_env_name(key, "/key")
    values = {key: _connection_string(call, row)}
    deployment_id = call.new_id()
    command = LinkDatabase(
        tenant_id=call.tenant_id,
        service_id=body.service_id,
        database_id=row.database_id,
        deployment_id=deployment_id,
        sealed=seal_env(call, body.service_id, values),
    )

    def told(views: Connection) -> Answer:
        deployed = deployments.find(views, deployment_id)
        return answer(Linked("linked", key, body.service_id, deployed.deployment_id if deployed else UNSET))

    reply = call.reply(await call.submit(command, told))
    await waited(call, f"service-{body.service_id}", reply)
    return reply


_ONE = "/v1/databases/{database_id}"
ROUTES = [
    Route(
        "POST",
        "/v1/databases",
        create,
        "create_database",
        scope="deploy",
        body=NewDatabase,
        answer=Database,
        status=201,
        codes=("name_taken", "quota_exceeded"),
        versioned=True,
        waits=True,
        grows=True,
    ),
    Route("GET", "/v1/databases", list_all, "list_databases", as_of=True, query=AskedOfAll, answer=list[Database]),
    Route("GET", _ONE, get, "get_database", as_of=True, query=AskedOfOne, answer=Database, versioned=True),
    Route("DELETE", _ONE, delete, "delete_database", scope="deploy", query=AskedOfRemoval, status=204, destroys=True),
    Route(
        "POST",
        f"{_ONE}/undelete",
        undelete,
        "undelete_database",
        scope="deploy",
        answer=Database,
        codes=("database_not_deleted", "name_taken", "quota_exceeded"),
        versioned=True,
        waits=True,
    ),
    Route(
        "POST",
        f"{_ONE}/start",
        start,
        "start_database",
        scope="deploy",
        answer=Database,
        codes=("quota_exceeded",),
        versioned=True,
        waits=True,
    ),
    Route(
        "GET",
        f"{_ONE}/connection-string",
        get_connection_string,
        "get_connection_string",
        scope="deploy",
        answer=ConnectionString,
        records=True,
    ),
    Route(
        "POST",
        f"{_ONE}/link",
        link,
        "link_database",
        scope="deploy",
        body=Link,
        answer=Linked,
        codes=("quota_exceeded", "service_not_found"),
        waits=True,
    ),
]
