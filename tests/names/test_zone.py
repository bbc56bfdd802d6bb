"""What is called how: from what happened, for the tenant that asks, and for nobody else."""

from collections.abc import Iterator

import pytest
from apsw import Connection

from ahplat.names import zone
from events.services import ServiceCrashed, ServiceDeleteRequested, ServiceStopped, ServiceStopRequested
from tests.commands.facts import a_deploy, a_running_service, a_service, a_tenant, healthy, intent, routed
from tests.commands.given import OTHER_SERVICE, OTHER_TENANT, TENANT, World, a_world, given, of

HERE = ["10.0.0.2"]


@pytest.fixture(autouse=True)
def world() -> Iterator[World]:
    with a_world() as made:
        given(a_tenant(), of(a_tenant("other", b"other@", "10.128.0.128/26"), tenant=OTHER_TENANT))
        yield made


@pytest.fixture
def views(world: World) -> Connection:
    return world.views.db


def found(views: Connection, name: str, tenant: str = TENANT) -> list[str] | None:
    return zone.find(views, tenant, tuple(name.split(".")) if name else ())


def test_a_service_is_where_its_healthy_instances_are(views: Connection) -> None:
    given(a_service(), a_deploy())
    assert found(views, "web.internal") == []
    healthy()
    assert found(views, "web.internal") == []
    routed()
    assert found(views, "web.internal") == HERE


def test_another_tenants_service_does_not_exist(views: Connection) -> None:
    a_running_service()
    assert found(views, "web.internal", OTHER_TENANT) is None


def test_two_tenants_may_call_theirs_the_same(views: Connection) -> None:
    a_running_service()
    given(of(a_service(), OTHER_SERVICE, OTHER_TENANT))
    assert (found(views, "web.internal"), found(views, "web.internal", OTHER_TENANT)) == (HERE, [])


def test_a_replica_that_crashed_is_nowhere_and_the_others_are_where_they_were(views: Connection) -> None:
    a_running_service(replicas=2)
    assert found(views, "web.internal") == HERE * 2
    given(ServiceCrashed("d1", 0, "d1-0", 1, 137, False, b""))
    assert found(views, "web.internal") == HERE


def test_what_is_being_stopped_is_nowhere_and_what_is_deleted_does_not_exist(views: Connection) -> None:
    a_running_service()
    given(ServiceStopRequested())
    assert found(views, "web.internal") == []
    given(ServiceStopped(intent(ServiceStopRequested), []))
    assert found(views, "web.internal") == []
    given(ServiceDeleteRequested())
    assert found(views, "web.internal") is None


@pytest.mark.parametrize("name", ["", "web", "web.acme.internal", "internal.web", "web.internal.org", "x.web.internal"])
def test_nothing_else_is_called_anything(views: Connection, name: str) -> None:
    a_running_service()
    assert found(views, name) is None


def test_the_top_is_there_and_nowhere(views: Connection) -> None:
    assert found(views, "internal") == []
