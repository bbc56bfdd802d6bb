"""Databases by name: `<database>.db.internal` is its own address as long as it is there, for its tenant and nobody else."""

from collections.abc import Iterator

import pytest

from ahplat.names import zone
from events.databases import DatabaseDeleteRequested, DatabaseStopRequested
from tests.commands.facts import a_database, a_tenant
from tests.commands.given import OTHER_TENANT, TENANT, World, a_world, given, of

NAME = ("orders", "db", "internal")


@pytest.fixture(autouse=True)
def world() -> Iterator[World]:
    with a_world() as made:
        given(a_tenant(), of(a_tenant("other", b"other@", "10.128.0.64/26"), tenant=OTHER_TENANT))
        yield made


def test_a_database_is_found_at_its_own_address_from_the_start(world: World) -> None:
    assert zone.find(world.views.db, TENANT, NAME) is None
    given(a_database())
    assert zone.find(world.views.db, TENANT, NAME) == ["10.128.0.62"]
    given(DatabaseStopRequested())
    assert zone.find(world.views.db, TENANT, NAME) == ["10.128.0.62"]


def test_another_tenants_database_does_not_exist(world: World) -> None:
    given(a_database())
    assert zone.find(world.views.db, OTHER_TENANT, NAME) is None


def test_a_deleted_one_is_called_nothing(world: World) -> None:
    given(a_database(), DatabaseDeleteRequested(1))
    assert zone.find(world.views.db, TENANT, NAME) is None
    assert zone.find(world.views.db, TENANT, ("db", "internal")) == []
