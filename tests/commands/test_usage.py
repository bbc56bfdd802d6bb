"""What is measured is recorded where there is something to say; who stores too much begins nothing that stores more."""

from collections.abc import Callable
from typing import Any

import pytest

from ahplat.commands.builds import RequestBuild
from ahplat.commands.command import Command
from ahplat.commands.databases import CreateDatabase
from ahplat.commands.deployments import DeployImage, RestartService
from ahplat.commands.services import CreateService, DeleteService, StopService
from ahplat.commands.usage import RecordUsage
from events.event import Event
from events.tenants import TenantQuotasSet
from events.usage import Reading, UsageMeasured
from tests.commands.facts import a_build, a_database, a_running_service, a_service, a_tenant
from tests.commands.given import BUILD, DATABASE, MINE, OTHER_SERVICE, TENANT, given, then, then_rejected, when, world

READING = Reading("d1-0", "service", MINE["service_id"], 1, 2, 3, 4)


def record(*readings: Reading, **stored: int) -> RecordUsage:
    return RecordUsage(tenant_id=TENANT, hour=0, readings=list(readings), stored=stored)


def test_what_was_measured_is_recorded() -> None:
    given(a_tenant())
    when(record(READING, volumes=5))
    then(UsageMeasured(0, [READING], {"volumes": 5}))


def test_of_what_is_stored_only_the_change_is_recorded() -> None:
    given(a_tenant(), UsageMeasured(0, [], {"volumes": 5, "images": 6}))
    when(record(volumes=5, images=7))
    then(UsageMeasured(0, [], {"images": 7}))
    when(record(volumes=5, images=7))
    then()


def test_nothing_follows_of_nothing() -> None:
    given(a_tenant())
    when(record(volumes=0))
    then()


def test_a_tenant_that_never_was_is_not_measured() -> None:
    when(record(READING))
    then()


GROWING: dict[str, Callable[[], Command]] = {
    "service": lambda: CreateService(
        tenant_id=TENANT, service_id=OTHER_SERVICE, created=a_service("other"), env={}, deployment_id="d9"
    ),
    "image": lambda: DeployImage(**MINE, deployment_id="d9", image="web:2"),
    "build": lambda: RequestBuild(**MINE, build_id=BUILD, requested=a_build()),
    "database": lambda: CreateDatabase(tenant_id=TENANT, database_id=DATABASE, created=a_database()),
}


@pytest.mark.parametrize("what", GROWING)
def test_who_stores_more_than_it_may_begins_nothing_that_stores_more(what: str) -> None:
    given(a_tenant(), TenantQuotasSet({"max_disk_gb": 2}))
    a_running_service()
    given(UsageMeasured(0, [], {"volumes": 1_500_000_000, "images": 500_000_001}))
    when(GROWING[what]())
    then_rejected("quota_exceeded", "2.0 GB are stored, 2 allowed")
    given(UsageMeasured(0, [], {"images": 500_000_000}))
    when(GROWING[what]())
    assert isinstance(world().outcome, list)


OTHERWISE: dict[str, Any] = {
    "restart": lambda: RestartService(**MINE, deployment_id="d9"),
    "stop": lambda: StopService(**MINE),
    "delete": lambda: DeleteService(**MINE),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_what_stores_no_more_goes_on(what: str) -> None:
    given(a_tenant(), TenantQuotasSet({"max_disk_gb": 1}))
    a_running_service()
    given(UsageMeasured(0, [], {"volumes": 9_000_000_000}))
    when(OTHERWISE[what]())
    outcome: list[Event] | Any = world().outcome
    assert isinstance(outcome, list) and outcome
