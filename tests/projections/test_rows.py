"""Rows and events fit together: every table has its struct, every event its place, every stream its version."""

import inspect
import re
from types import ModuleType

import pytest
from apsw import Connection
from msgspec import Struct

from ahplat.effects.catalog import EFFECTS
from events import databases as database_events
from events import keys as key_events
from events import services as service_events
from events import tenants as tenant_events
from events.catalog import CATALOG
from events.databases import DatabaseCreateRequested
from events.event import Event, Intent, Outcome, wire_name
from events.garbage import GarbageCollected
from events.networks import NetworkRouterRejoined
from events.platform import LogCreated, LogRestored
from events.services import ServiceCreated
from events.tenants import TenantRegistered
from projections import databases, services, tenants, todo
from projections.activity import ActivityRow
from projections.builds import BuildRow
from projections.database_backups import BackupRow
from projections.databases import DatabaseRow
from projections.deployments import DeploymentRow, UpRow
from projections.execs import ExecRow
from projections.instances import InstanceRow
from projections.intervals import IntervalRow
from projections.keys import KeyRow
from projections.metering import METERING, open_metering
from projections.routes import StoredRoute
from projections.services import ServiceRow
from projections.tenants import TenantRow
from projections.todo import TodoRow
from projections.usage import StoredRow, UsedRow
from projections.views import PROJECTIONS
from projections.volumes import VolumeRow
from tests.commands.facts import a_database, a_running_service, a_service, a_tenant, database_started
from tests.commands.given import DATABASE, INSTALLATION, SERVICE, TENANT, World, given, later, of
from tests.events.samples import sample

ALL = {**PROJECTIONS, **METERING}
NOT_PROJECTED = {LogCreated, LogRestored, NetworkRouterRejoined, GarbageCollected}
"""Events of which no view says anything, on purpose: the log itself answers what they say."""

ROWS: dict[str, type[Struct]] = {
    "tenant": TenantRow,
    "key": KeyRow,
    "service": ServiceRow,
    "instance": InstanceRow,
    "deployment": DeploymentRow,
    "up": UpRow,
    "route": StoredRoute,
    "build": BuildRow,
    "database": DatabaseRow,
    "database_backup": BackupRow,
    "volume": VolumeRow,
    "todo": TodoRow,
    "activity": ActivityRow,
    "exec": ExecRow,
}
METERED: dict[str, type[Struct]] = {"interval": IntervalRow, "used": UsedRow, "stored": StoredRow}
JOINED = {"activity": ("name", "service_id")}  # fields that a query adds to the table's columns


TYPES = {"TEXT": str, "INTEGER": int, "BLOB": bytes}


def columns(db: Connection, table: str) -> dict[str, object]:
    """Column → its type in Python."""
    info = db.execute('SELECT name, type, "notnull" = 0 AND pk = 0 FROM pragma_table_info(?)', (table,))
    return {name: TYPES[kind] | None if nullable else TYPES[kind] for name, kind, nullable in info}


@pytest.mark.parametrize("table", ROWS)
def test_a_rows_fields_are_its_tables_columns_in_order(world: World, table: str) -> None:
    assert ROWS[table].__struct_fields__ == (*columns(world.views.db, table), *JOINED.get(table, ()))


@pytest.mark.parametrize("table", ROWS)
def test_a_rows_field_has_the_type_of_its_column(world: World, table: str) -> None:
    hints = {name: hint for name, hint in ROWS[table].__annotations__.items() if name not in JOINED.get(table, ())}
    assert hints == columns(world.views.db, table)


def test_so_it_is_with_the_rows_of_metering(world: World) -> None:
    metering = open_metering(world.folder / "metering.db", world.log.db, INSTALLATION, lambda done, of: None)
    for table, row in METERED.items():
        assert list(row.__annotations__.items()) == list(columns(metering.db, table).items())
    metering.close()


# every event has its place


@pytest.mark.parametrize("kind", CATALOG.values(), ids=CATALOG)
def test_every_event_is_folded_or_on_purpose_not(kind: type[Event]) -> None:
    followers = [name for name, projection in ALL.items() if kind in projection.APPLY]
    assert bool(followers) != (kind in NOT_PROJECTED), followers


@pytest.mark.parametrize("name", ALL)
def test_no_projection_follows_what_is_no_event(name: str) -> None:
    assert set(ALL[name].APPLY) <= set(CATALOG.values())


@pytest.mark.parametrize("name", ALL)
def test_a_projection_writes_its_own_tables_only(name: str) -> None:
    own = tables_of(ALL[name])
    others = {table for other in ALL if other != name for table in tables_of(ALL[other])}
    assert own
    assert not own & others
    code = inspect.getsource(ALL[name])
    written = set(re.findall(r"(?:INSERT (?:OR \w+ )?INTO|REPLACE INTO|(?<!DO )UPDATE|DELETE FROM) (\w+)", code))
    assert written <= own, written - own


def tables_of(projection: ModuleType) -> set[str]:
    return set(re.findall(r"CREATE TABLE (\w+)", projection.TABLES))


@pytest.mark.parametrize("kind", [kind for kind in CATALOG.values() if issubclass(kind, Intent)], ids=wire_name)
def test_every_intent_has_an_effect(kind: type[Intent]) -> None:
    assert kind in EFFECTS, "work of this kind could never come to an outcome"


def test_there_is_no_effect_without_an_intent() -> None:
    assert set(EFFECTS) == {kind for kind in CATALOG.values() if issubclass(kind, Intent)}


@pytest.mark.parametrize("kind", [kind for kind in CATALOG.values() if issubclass(kind, Intent)], ids=wire_name)
def test_an_intent_is_work_until_its_outcome(world: World, kind: type[Intent]) -> None:
    given(a_tenant())
    a_running_service()
    if kind is not DatabaseCreateRequested:
        given(of(a_database()))
        given(database_started(world.log.position))
    event = sample(kind, **({"intent": 10**9} if issubclass(kind, Outcome) else {}))
    given(of(event))
    (work,) = todo.open_of_all(world.views.db)
    assert (work.intent, work.type) == (world.log.position, wire_name(kind))
    closing = next(one for one in CATALOG.values() if issubclass(one, Outcome) and not issubclass(one, Intent))
    given(of(sample(closing, intent=work.intent)))
    assert todo.open_of_all(world.views.db) == []


# versions


@pytest.mark.parametrize("kind", [kind for kind in service_events.EVENTS if kind is not ServiceCreated], ids=wire_name)
def test_every_event_of_a_service_moves_its_version(world: World, kind: type[Event]) -> None:
    a_running_service()
    given(of(a_service("other"), "2" * 32))
    other = services.find(world.views.db, "2" * 32)
    later(5)
    given(sample(kind))
    row = services.find(world.views.db, SERVICE)
    assert row
    assert row.version == world.log.version(f"service-{SERVICE}")[1]
    assert row.updated_at == world.now_us // 1_000_000
    assert services.find(world.views.db, "2" * 32) == other


@pytest.mark.parametrize(
    "kind", [kind for kind in database_events.EVENTS if kind is not DatabaseCreateRequested], ids=wire_name
)
def test_every_event_of_a_database_moves_its_version(world: World, kind: type[Event]) -> None:
    given(a_database())
    later(5)
    given(sample(kind))
    row = databases.find(world.views.db, DATABASE)
    assert row
    assert (row.version, row.updated_at) == (2, world.now_us // 1_000_000)


def test_a_services_first_version_is_its_creations(world: World) -> None:
    given(a_service())
    row = services.find(world.views.db, SERVICE)
    assert row
    assert row.version == 1


@pytest.mark.parametrize(
    "kind",
    [kind for kind in (*tenant_events.EVENTS, *key_events.EVENTS) if kind is not TenantRegistered],
    ids=wire_name,
)
def test_every_event_of_a_tenant_moves_its_version(world: World, kind: type[Event]) -> None:
    given(a_tenant())
    later(5)
    given(sample(kind))
    row = tenants.find(world.views.db, TENANT)
    assert row
    assert (row.version, row.updated_at) == (2, world.now_us // 1_000_000)
