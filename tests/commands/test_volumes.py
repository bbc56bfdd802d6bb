"""Volumes: one service's at a time, kept when that goes, gone when somebody says so."""

import pytest

from ahplat.commands.deployments import RollBack
from ahplat.commands.services import ConfigureService, CreateService
from ahplat.commands.volumes import PurgeVolume
from events.services import (
    ServiceConfigured,
    ServiceCreated,
    ServiceDeleteRequested,
    ServiceDeployRequested,
    ServiceEnvRestored,
)
from events.volumes import VolumePurged, VolumePurgeRequested
from projections import services, volumes
from tests.commands.facts import a_running_service, a_service, redeployed
from tests.commands.given import (
    MINE,
    OTHER_SERVICE,
    OTHER_TENANT,
    SERVICE,
    TENANT,
    Fact,
    given,
    of,
    then,
    then_accepted,
    then_rejected,
    when,
    world,
)

ID = volumes.volume_id(TENANT, "data")
DATA = {"data": "/var/lib/app"}


def create(name: str = "web", service_id: str = SERVICE, **settings: object) -> CreateService:
    return CreateService(
        tenant_id=TENANT, service_id=service_id, created=a_service(name, **settings), env={}, deployment_id=f"d-{name}"
    )


def names() -> list[str]:
    return [row.name for row in volumes.list_of(world().views.db, TENANT)]


def test_a_service_that_names_a_volume_has_it_and_its_deployment_too() -> None:
    when(create(volumes=DATA))
    created, deploy = then_accepted(ServiceCreated, ServiceDeployRequested)
    assert created.volumes == deploy.volumes == DATA
    assert names() == ["data"]


def test_a_volume_that_another_service_has_is_not_given() -> None:
    given(a_service(volumes=DATA))
    when(create("other", OTHER_SERVICE, volumes={"data": "/elsewhere"}))
    then_rejected("volume_in_use", "'data'")


def test_a_volume_is_not_given_while_it_is_only_still_mounted() -> None:
    a_running_service(volumes=DATA)
    given(ServiceConfigured(volumes={}))
    when(create("other", OTHER_SERVICE, volumes=DATA))
    then_rejected("volume_in_use")


def test_the_volume_of_a_deleted_service_stays_and_is_the_next_ones() -> None:
    given(a_service(volumes=DATA), ServiceDeleteRequested())
    assert names() == ["data"]
    when(create("other", OTHER_SERVICE, volumes=DATA))
    then_accepted(ServiceCreated, ServiceDeployRequested)


def test_another_tenants_volume_of_that_name_is_another() -> None:
    given(of(a_service(volumes=DATA), tenant=OTHER_TENANT))
    when(create("web", OTHER_SERVICE, volumes=DATA))
    then_accepted(ServiceCreated, ServiceDeployRequested)
    assert volumes.volume_id(OTHER_TENANT, "data") != ID


@pytest.mark.parametrize("replicas", [2, 10])
def test_a_service_with_volumes_has_one_replica(replicas: int) -> None:
    when(create(volumes=DATA, replicas=replicas))
    then_rejected("volumes_need_one_replica")
    given(a_service(volumes=DATA))
    when(ConfigureService(**MINE, changes=ServiceConfigured(replicas=replicas)))
    then_rejected("volumes_need_one_replica")


def test_volumes_can_be_changed_and_hold_from_the_next_deployment_on() -> None:
    a_running_service()
    when(ConfigureService(**MINE, changes=ServiceConfigured(volumes=DATA)))
    then(ServiceConfigured(volumes=DATA))
    row = services.find(world().views.db, SERVICE)
    assert row
    assert volumes.paths_of(row.volumes) == DATA
    when(ConfigureService(**MINE, changes=ServiceConfigured(volumes=DATA)))
    then()


def test_a_rollback_takes_the_volumes_of_then() -> None:
    a_running_service(volumes=DATA)
    given(ServiceConfigured(volumes={}))
    redeployed("d2", 2, volumes={})
    when(RollBack(**MINE, deployment_id="d3"))
    back, _, deploy = then_accepted(ServiceConfigured, ServiceEnvRestored, ServiceDeployRequested)
    assert back.volumes == deploy.volumes == DATA


def test_a_volume_that_no_service_has_can_be_purged_once() -> None:
    given(a_service(volumes=DATA), ServiceDeleteRequested())
    when(PurgeVolume(tenant_id=TENANT, volume_id=ID))
    then(VolumePurgeRequested("data"))
    when(PurgeVolume(tenant_id=TENANT, volume_id=ID))
    then()
    when(create("other", OTHER_SERVICE, volumes=DATA))
    then_rejected("volume_in_use", "being removed")
    (position,) = world().views.db.execute("SELECT intent FROM todo WHERE subject = ?", (f"volume-{ID}",)).fetchone()
    given(Fact(f"volume-{ID}", TENANT, VolumePurged(position)))
    assert names() == []
    when(create("other", OTHER_SERVICE, volumes=DATA))
    then_accepted(ServiceCreated, ServiceDeployRequested)


def test_a_volume_that_a_service_has_is_not_purged() -> None:
    given(a_service(volumes=DATA))
    when(PurgeVolume(tenant_id=TENANT, volume_id=ID))
    then_rejected("volume_in_use", SERVICE)


def test_another_tenants_volume_is_not_found() -> None:
    given(a_service(volumes=DATA), ServiceDeleteRequested())
    when(PurgeVolume(tenant_id=OTHER_TENANT, volume_id=ID))
    then_rejected("volume_not_found")
