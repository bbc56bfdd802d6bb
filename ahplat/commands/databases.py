"""What may happen to databases, as their tenants ask for it.

At most one work is open for a database: whatever is accepted closes what it makes pointless, in the same append. A
deleted one may come back until the removal of its volume has begun.
"""

import ipaddress

from apsw import Connection
from msgspec import Struct, structs

from ahplat.commands.command import Command, Decision
from ahplat.commands.deployments import DeploymentCommand, image_again, request
from ahplat.commands.services import STREAM as SERVICE_STREAM
from ahplat.commands.services import (
    Holdings,
    ServiceState,
    Variables,
    check_active,
    check_quota,
    check_resources,
    check_storage,
    load_holdings,
    load_service,
    load_variables,
)
from ahplat.errors import Rejected
from events.databases import (
    DatabaseConnectionStringRead,
    DatabaseCreateRequested,
    DatabaseDeleted,
    DatabaseDeleteRequested,
    DatabasePurgeRequested,
    DatabaseRestoreRequested,
    DatabaseStartRequested,
    DatabaseStopRequested,
    DatabaseUndeleted,
    DatabaseWorkSuperseded,
)
from events.event import Event, wire_name
from events.services import ServiceEnvSet
from projections import databases, tenants, todo
from projections.databases import DatabaseRow
from projections.todo import TodoRow

STREAM = "database-{0.database_id}"
STARTS = frozenset(wire_name(kind) for kind in (DatabaseCreateRequested, DatabaseStartRequested, DatabaseUndeleted))
DELETE = wire_name(DatabaseDeleteRequested)
KEPT = wire_name(DatabaseDeleted)
RESTORE = wire_name(DatabaseRestoreRequested)
BUSY = STARTS | {wire_name(DatabaseStopRequested), RESTORE}
"""Work that changes what runs, or what is in it."""


class Beside(Struct, frozen=True):
    """What the tenant has beside the database in question, and what it may have. `taken` are addresses."""

    holdings: Holdings
    databases: int
    names: frozenset[str]
    labels: frozenset[str]
    taken: frozenset[str]
    subnet: str


class DatabaseState(Struct, frozen=True):
    """A database as a decider sees it. `open` is its unfinished work."""

    database: DatabaseRow
    open: list[TodoRow]
    beside: Beside


def load_beside(views: Connection, tenant_id: str, without: str) -> Beside:
    rows = [row for row in databases.kept_of(views, tenant_id) if row.database_id != without]
    there = [row for row in rows if row.is_there]
    tenant = tenants.find(views, tenant_id)
    return Beside(
        holdings=load_holdings(views, tenant_id, without=without),
        databases=len(there),
        names=frozenset(row.name for row in there),
        labels=frozenset(row.label for row in there),
        taken=frozenset(row.address for row in rows),
        subnet=tenant.subnet if tenant else "",
    )


# rules that several commands share


def check_room(name: str, label: str, memory_mb: int, cpu_milli: int, beside: Beside) -> None:
    """Whether one more database of that name and size fits its tenant."""
    check_active(beside.holdings)
    if name in beside.names:
        raise Rejected("name_taken", f"there is a database named {name!r}")
    if label in beside.labels:
        raise Rejected("name_taken", f"another database has the host name {label!r} already")
    check_quota("max_databases", beside.databases + 1, beside.holdings.quotas, "databases")
    check_resources(memory_mb, cpu_milli, 1, beside.holdings)
    check_storage(beside.holdings)


def free_address(subnet: str, taken: frozenset[str]) -> str:
    """The highest address of the upper half of a network that no database has. Services get theirs from the lower, and
    the first of the upper is kept for the router's container.

    >>> free_address("10.128.0.64/26", frozenset({"10.128.0.126"}))
    '10.128.0.125'
    """
    network = ipaddress.ip_network(subnet)
    last, half = int(network.broadcast_address), network.num_addresses // 2
    addresses = (str(ipaddress.ip_address(last - n)) for n in range(1, half - 1))
    if (address := next((one for one in addresses if one not in taken), None)) is None:
        raise Rejected("quota_exceeded", f"all {len(taken)} addresses for databases are taken: purge a deleted one")
    return address


def superseded(state: DatabaseState) -> list[Event]:
    """Closes the open work that a newer wish makes pointless, in the same append."""
    return [DatabaseWorkSuperseded(work.intent) for work in state.open if work.type in BUSY | {DELETE}]


# commands


class CreateDatabase(Command, frozen=True, kw_only=True):
    """A new database. It has no address yet: that depends on which are free."""

    database_id: str
    created: DatabaseCreateRequested


def load_creation(views: Connection, command: CreateDatabase) -> Beside:
    return load_beside(views, command.tenant_id, without="")


def create(state: Beside, command: CreateDatabase) -> list[Event]:
    wanted = command.created
    check_room(wanted.name, wanted.label, wanted.memory_mb, wanted.cpu_milli, state)
    return [structs.replace(wanted, address=free_address(state.subnet, state.taken))]


class DatabaseCommand(Command, frozen=True, kw_only=True):
    """A command about one database of the tenant."""

    database_id: str


def load_kept(views: Connection, command: DatabaseCommand) -> DatabaseState:
    """Also one that is deleted, as long as it may come back."""
    row = databases.find(views, command.database_id)
    if row is None or row.tenant_id != command.tenant_id or row.desired == "purged":
        raise Rejected("database_not_found", f"there is no database {command.database_id[:64]}")
    return DatabaseState(
        database=row,
        open=todo.open_of(views, f"database-{row.database_id}"),
        beside=load_beside(views, row.tenant_id, row.database_id),
    )


def load_there(views: Connection, command: DatabaseCommand) -> DatabaseState:
    state = load_kept(views, command)
    if not state.database.is_there:
        raise Rejected("database_not_found", f"there is no database {command.database_id[:64]}; it can be undeleted")
    return state


class StartDatabase(DatabaseCommand, frozen=True, kw_only=True):
    """It runs again, after a suspension or a failure; nothing happens where it does or is about to."""


def start(state: DatabaseState, _: StartDatabase) -> list[Event]:
    row = state.database
    is_up = row.status in ("running", "restoring")
    if row.desired == "running" and (is_up or any(work.type in STARTS for work in state.open)):
        return []
    check_active(state.beside.holdings)
    check_resources(row.memory_mb, row.cpu_milli, 1, state.beside.holdings)
    return [*superseded(state), DatabaseStartRequested()]


class StopDatabase(DatabaseCommand, frozen=True, kw_only=True):
    """Nothing of it is to run; its volume stays."""


def stop(state: DatabaseState, _: StopDatabase) -> list[Event]:
    if state.database.desired == "stopped":
        return []
    return [*superseded(state), DatabaseStopRequested()]


class DeleteDatabase(DatabaseCommand, frozen=True, kw_only=True):
    """It goes; its volume is kept until `purge_us`, or goes at once where `purge` says so, also of a deleted one."""

    purge_us: int
    purge: bool = False


def delete(state: DatabaseState, command: DeleteDatabase) -> list[Event]:
    row = state.database
    if row.is_there:
        return [*superseded(state), DatabaseDeleteRequested(command.purge_us)]
    if not command.purge:
        raise Rejected("database_not_found", f"database {command.database_id} is deleted; its volume is kept for now")
    if row.purge_us is not None and row.purge_us <= command.purge_us:
        return []  # its time has come already
    if any(work.type == DELETE for work in state.open):
        return [*superseded(state), DatabaseDeleteRequested(command.purge_us)]
    return [DatabasePurgeRequested(work.intent) for work in state.open if work.type == KEPT]


class UndeleteDatabase(DatabaseCommand, frozen=True, kw_only=True):
    """A deleted one comes back, with its volume and its address."""


def undelete(state: DatabaseState, _: UndeleteDatabase) -> list[Event]:
    row = state.database
    if row.is_there:
        raise Rejected("database_not_deleted", f"the database is {row.status}")
    waiting = [work for work in state.open if work.type == DELETE or (work.type == KEPT and not work.attempt)]
    if not waiting:
        raise Rejected("database_not_found", "the removal of its volume has begun: it cannot come back")
    check_room(row.name, row.label, row.memory_mb, row.cpu_milli, state.beside)
    return [DatabaseUndeleted(waiting[0].intent)]


class ReadConnectionString(DatabaseCommand, frozen=True, kw_only=True):
    """Somebody wants to know how to connect."""


def read_connection_string(_: DatabaseState, __: ReadConnectionString) -> list[Event]:
    return [DatabaseConnectionStringRead()]


class LinkDatabase(DeploymentCommand, frozen=True, kw_only=True):
    """Gives a service the connection string as a variable, sealed for it, and deploys the service."""

    database_id: str
    sealed: dict[str, bytes]


class LinkState(Struct, frozen=True):
    """The service, and its variables."""

    service: ServiceState
    variables: Variables


def load_link(views: Connection, command: LinkDatabase) -> LinkState:
    load_there(views, DatabaseCommand(tenant_id=command.tenant_id, database_id=command.database_id))
    return LinkState(load_service(views, command), load_variables(views, command))


def link(state: LinkState, command: LinkDatabase) -> list[Event]:
    """A service that waits for its first build has nothing to deploy yet, and one that was stopped stays so."""
    check_active(state.service.holdings)
    check_quota(
        "max_env_vars_per_service",
        len(state.variables.names | command.sealed.keys()),
        state.variables.quotas,
        "variables",
    )
    given = ServiceEnvSet(command.sealed)
    image = image_again(state.service)
    if not image or state.service.service.circuit_open or state.service.service.desired == "stopped":
        return [given]
    return request(state.service, [given], command.deployment_id, "link", image)


COMMANDS: dict[type[Command], Decision] = {
    CreateDatabase: Decision(load_creation, create, STREAM),
    StartDatabase: Decision(load_there, start, STREAM),
    StopDatabase: Decision(load_there, stop, STREAM, frees=True),
    DeleteDatabase: Decision(load_kept, delete, STREAM, frees=True),
    UndeleteDatabase: Decision(load_kept, undelete, STREAM),
    ReadConnectionString: Decision(load_there, read_connection_string, STREAM),
    LinkDatabase: Decision(load_link, link, SERVICE_STREAM),
}
