"""What a suspension does to a tenant's services: nothing begins while it lasts, and what it stopped comes back."""

import pytest

from ahplat.commands.command import Command
from ahplat.commands.deployments import DeployImage, RestartService, StartService
from events.services import ServiceDeployRequested, ServiceStopped, ServiceStopRequested
from events.tenants import TenantReactivated, TenantResumed, TenantSuspended
from projections import paused, services
from tests.commands.facts import a_deploy, a_running_service, a_service, a_tenant, healthy, intent, routed
from tests.commands.given import SERVICE, TENANT, given, then_rejected, when, world

NEW = {"tenant_id": TENANT, "service_id": SERVICE, "deployment_id": "new"}


@pytest.mark.parametrize("command", [DeployImage(**NEW), StartService(**NEW), RestartService(**NEW)])
def test_nothing_begins_that_was_on_its_way_when_its_tenant_was_suspended(command: Command) -> None:
    given(a_tenant())
    a_running_service()
    given(TenantSuspended(), ServiceStopRequested())
    when(command)
    then_rejected("tenant_suspended")


def test_what_a_suspension_stopped_is_remembered_until_it_was_started_again() -> None:
    given(a_tenant())
    a_running_service()
    given(TenantSuspended(), ServiceStopRequested())
    assert paused.paused_of(world().views.db, TENANT) == [SERVICE]
    given(TenantReactivated(), TenantResumed(1, []))
    assert paused.paused_of(world().views.db, TENANT) == [SERVICE]
    given(TenantResumed(1, [SERVICE]))
    assert paused.paused_of(world().views.db, TENANT) == []


def test_what_its_tenant_stopped_itself_stays_stopped() -> None:
    given(a_tenant())
    a_running_service()
    given(ServiceStopRequested())
    given(ServiceStopped(intent(ServiceStopRequested), []), TenantSuspended())
    assert paused.paused_of(world().views.db, TENANT) == []


def test_a_service_whose_newer_deployment_is_on_its_way_is_still_deploying_when_the_older_is_routed() -> None:
    given(a_tenant(), a_service(), a_deploy())
    healthy()
    given(a_deploy("d2", 2))
    routed()
    row = services.find(world().views.db, SERVICE)
    assert row and row.status == "deploying" and row.serving
    assert intent(ServiceDeployRequested)
