"""What is read of the views often is found by an index, however much there is of it."""

from collections.abc import Callable
from typing import Any

import pytest
from apsw import Connection

from events.services import ServiceEnvSet, ServiceInstanceHealthy, Target
from projections import (
    activity,
    crashes,
    database_backups,
    databases,
    deployments,
    env,
    instances,
    keys,
    routes,
    services,
    tenants,
    todo,
    volumes,
)
from projections.activity import Wanted
from tests.commands.given import World, given
from tests.events.plans import plans, reading_everything
from tests.projections.story import tell

Read = Callable[[Connection], Any]
HOT: dict[str, tuple[Read, str]] = {
    "the open work of a subject": (lambda db: todo.open_of(db, "s"), "todo_of_subject (subject=?)"),
    "one piece of open work": (lambda db: todo.find(db, 1), "SEARCH todo USING INTEGER PRIMARY KEY"),
    "a tenant's services": (lambda db: services.list_of(db, "t"), "service_of_tenant (tenant_id=?)"),
    "what a tenant's services take": (lambda db: services.held_by(db, "t"), "(tenant_id=?)"),
    "one service": (lambda db: services.find(db, "s"), "SEARCH service USING PRIMARY KEY (service_id=?)"),
    "a service's variables": (
        lambda db: env.values_at(db, "s", 1),
        "SEARCH env USING INDEX env_until (service_id=? AND until>?)",
    ),
    "a service's instances": (lambda db: instances.list_of(db, "s"), "SEARCH instance USING PRIMARY KEY"),
    "a service's crashes": (lambda db: crashes.crashes_since(db, "s", 1), "SEARCH crash USING"),
    "a service's deployments": (
        lambda db: deployments.list_of(db, "s", 10, 0, 0),
        "deployment_of_service (service_id=?)",
    ),
    "one deployment": (lambda db: deployments.find(db, "d"), "SEARCH deployment USING PRIMARY KEY"),
    "a tenant's databases": (lambda db: databases.list_of(db, "t"), "database_of_tenant (tenant_id=?)"),
    "what a tenant's databases take": (lambda db: databases.held_by(db, "t"), "database_of_tenant (tenant_id=?)"),
    "a tenant's volumes of databases": (lambda db: databases.kept_of(db, "t"), "database_of_tenant (tenant_id=?)"),
    "one database": (lambda db: databases.find(db, "d"), "SEARCH database USING PRIMARY KEY"),
    "a database's crashes": (lambda db: databases.crashes_since(db, "d", 1), "SEARCH database_crash USING"),
    "a database's backups": (
        lambda db: database_backups.list_of(db, "d"),
        "database_backup_of_database (database_id=?)",
    ),
    "one backup": (lambda db: database_backups.find(db, "b"), "SEARCH database_backup USING PRIMARY KEY"),
    "a tenant's volumes": (lambda db: volumes.list_of(db, "t"), "volume_of_tenant (tenant_id=?)"),
    "who mounts a tenant's volumes": (lambda db: volumes.mounted_by(db, "t"), "(tenant_id=?)"),
    "one volume": (lambda db: volumes.find(db, "v"), "SEARCH volume USING PRIMARY KEY"),
    "a tenant's keys": (lambda db: keys.list_of(db, "t", 10, 0, ""), "key_of_tenant (tenant_id=?)"),
    "how many keys a tenant has": (lambda db: keys.count_of(db, "t"), "key_of_tenant (tenant_id=?)"),
    "one key": (lambda db: keys.find(db, "k"), "SEARCH key USING PRIMARY KEY"),
    "one tenant": (lambda db: tenants.find(db, "t"), "SEARCH tenant USING PRIMARY KEY"),
    "the tenant of an address": (lambda db: tenants.find_by_email(db, b"e"), "(email_index=?)"),
    "a tenant's quotas": (lambda db: tenants.quotas_of(db, "t"), "SEARCH quota USING PRIMARY KEY (tenant_id=?)"),
    "what happened": (
        lambda db: activity.list_of(db, "t", Wanted(), 10, 0),
        "SEARCH activity USING PRIMARY KEY (tenant_id=?)",
    ),
    "where a name inside a tenant's network is": (
        lambda db: routes.addresses_of(db, "t", "s"),
        "service_label (tenant_id=? AND label=?)",
    ),
    "where a host name goes": (lambda db: routes.targets_of(db, "s", "t"), "SEARCH route USING PRIMARY KEY"),
}

FEW = {"a service's variables"}
"""What is sorted when it is read: there is never much of it."""


@pytest.fixture
def db(world: World) -> Connection:
    tell()
    return world.views.db


@pytest.mark.parametrize("what", HOT)
def test_what_is_read_often_is_found_by_an_index(db: Connection, what: str) -> None:
    read, by = HOT[what]
    steps = plans(db, lambda: read(db))
    assert any(by in step for step in steps), steps
    assert not [step for step in reading_everything(steps) if step.startswith("SCAN") or what not in FEW], steps


@pytest.mark.parametrize(
    "event",
    [
        ServiceEnvSet({"A": b"sealed"}),
        ServiceInstanceHealthy(1, "d7", "digest", "pinned", [Target(0, "i", "h", 1)]),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_happens_often_is_folded_by_indexes(world: World, db: Connection, event: Any) -> None:
    steps = plans(db, lambda: given(event))
    assert not reading_everything([step for step in steps if "checkpoint" not in step]), steps
