"""What may be deployed: what each way to deploy asks for."""

from typing import Any

import pytest

from ahplat.commands.deployments import (
    CancelDeployment,
    DeployImage,
    ResetService,
    RestartService,
    StartService,
)
from events.event import Event
from events.services import (
    ServiceCircuitOpened,
    ServiceCircuitReset,
    ServiceConfigured,
    ServiceDeployCancelled,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceInstanceHealthy,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceStopped,
    ServiceStopRequested,
    ServiceWorkSuperseded,
)
from events.tenants import TenantQuotasSet
from projections import deployments, services
from tests.commands.facts import (
    a_deploy,
    a_running_service,
    a_service,
    a_tenant,
    env_set,
    healthy,
    intent,
    redeployed,
    routed,
)
from tests.commands.given import (
    MINE,
    OTHER_SERVICE,
    OTHER_TENANT,
    given,
    of,
    then,
    then_accepted,
    then_rejected,
    when,
    world,
)

NEW: dict[str, Any] = MINE | {"deployment_id": "new"}
PINNED = "web@sha256:d1"
EVERY_WAY = [DeployImage(**NEW, image="web:2"), DeployImage(**NEW), StartService(**NEW), RestartService(**NEW)]
BY_TYPE = {"ids": lambda command: type(command).__name__}


def requested() -> ServiceDeployRequested:
    """The one event that followed."""
    (event,) = then_accepted(ServiceDeployRequested)
    return event


def stopped() -> None:
    given(ServiceStopRequested())
    given(ServiceStopped(intent(ServiceStopRequested), []))


def crashed_too_often() -> None:
    given(ServiceCircuitOpened(5), ServiceStopRequested())
    given(ServiceStopped(intent(ServiceStopRequested), []))


# every way


@pytest.mark.parametrize("command", [*EVERY_WAY, ResetService(**NEW)], **BY_TYPE)
@pytest.mark.parametrize("there", ["never", "of another tenant"])
def test_a_service_that_is_not_there_is_not_deployed(command: Any, there: str) -> None:
    if there == "of another tenant":
        given(of(a_service(), tenant=OTHER_TENANT))
    when(command)
    then_rejected("service_not_found")


@pytest.mark.parametrize("command", EVERY_WAY[2:], **BY_TYPE)
def test_what_crashed_too_often_does_not_run_again_before_somebody_looked(command: Any) -> None:
    a_running_service()
    crashed_too_often()
    when(command)
    then_rejected("circuit_open", "5 times")


@pytest.mark.parametrize("command", EVERY_WAY[:2], ids=["another image", "the image pulled again"])
def test_a_service_that_crashed_too_often_can_simply_be_deployed_again(command: Any) -> None:
    a_running_service()
    crashed_too_often()
    when(command)
    outcome = world().outcome
    assert isinstance(outcome, list) and outcome[0] == ServiceCircuitReset()
    row = services.find(world().views.db, MINE["service_id"])
    assert row and (row.circuit_open, row.crash_count, row.status) == (0, 0, "deploying")


@pytest.mark.parametrize("command", EVERY_WAY[1:], **BY_TYPE)
def test_a_service_that_waits_for_its_first_build_has_nothing_to_deploy(command: Any) -> None:
    given(a_service(image=""))
    when(command)
    then_rejected("nothing_to_deploy")


@pytest.mark.parametrize("command", [*EVERY_WAY, ResetService(**NEW)], **BY_TYPE)
@pytest.mark.parametrize(
    ("quota", "most"), [("max_memory_mb", 655), ("max_cpu_cores", 0)], ids=["memory", "processors"]
)
def test_what_is_deployed_fits_the_quotas_with_all_else_that_runs(command: Any, quota: str, most: int) -> None:
    given(a_tenant(), TenantQuotasSet({quota: most}))
    given(of(a_service("other", memory_mb=400), OTHER_SERVICE))
    a_running_service(memory_mb=256)
    stopped()
    when(command)
    then_rejected("quota_exceeded", quota)


def test_what_is_deployed_may_use_a_quota_to_its_last_megabyte() -> None:
    given(a_tenant(), TenantQuotasSet({"max_memory_mb": 656}))
    given(of(a_service("other", memory_mb=400), OTHER_SERVICE), a_service(memory_mb=256))
    when(DeployImage(**NEW))
    requested()


def test_a_deployment_gets_the_settings_and_variables_of_its_moment() -> None:
    settings = {"port": 1, "memory_mb": 2, "cpu_milli": 3, "health_path": "/4", "egress": "none", "replicas": 6}
    given(a_service(), env_set("A"), ServiceConfigured(**settings))
    when(RestartService(**NEW))
    then(a_deploy("new", 1, trigger="restart", env_version=2, **settings))


def test_deployments_are_numbered_in_their_service() -> None:
    a_running_service()
    redeployed("d2", 2)
    given(of(a_service("other"), OTHER_SERVICE))
    when(DeployImage(**NEW))
    assert requested().number == 3
    when(DeployImage(**(NEW | {"service_id": OTHER_SERVICE, "deployment_id": "newer"})))
    assert requested().number == 1


# what is superseded


def test_a_deployment_supersedes_the_one_that_is_under_way() -> None:
    given(a_service(), a_deploy("d1", 1))
    before = intent(ServiceDeployRequested)
    when(DeployImage(**NEW))
    then(ServiceDeploySuperseded(before, "d1"), a_deploy("new", 2, trigger="redeploy"))


def opened(kind: type[Event]) -> int:
    """Leaves work of a kind open, and nothing else; returns its position."""
    given(a_service(), a_deploy("d1", 1))
    healthy()
    if kind is not ServiceInstanceHealthy:
        routed()
    if kind in (ServiceRepairRequested, ServiceStopRequested):
        given(ServiceWorkSuperseded(intent(ServiceRouted)))
        given(ServiceRepairRequested("d1") if kind is ServiceRepairRequested else ServiceStopRequested())
    return intent(kind)


@pytest.mark.parametrize("kind", [ServiceRepairRequested, ServiceRouted, ServiceStopRequested])
def test_a_deployment_supersedes_a_repair_a_draining_and_a_stop(kind: type[Event]) -> None:
    before = opened(kind)
    when(DeployImage(**NEW))
    then(ServiceWorkSuperseded(before), a_deploy("new", 2, trigger="redeploy"))


def test_a_deployment_lets_a_route_that_is_being_moved_come_to_its_end() -> None:
    opened(ServiceInstanceHealthy)
    when(DeployImage(**NEW))
    then(a_deploy("new", 2, trigger="redeploy"))


def test_a_deployment_leaves_another_services_work_alone() -> None:
    given(a_service(), of(a_service("other"), OTHER_SERVICE), of(a_deploy("d2"), OTHER_SERVICE))
    when(DeployImage(**NEW))
    requested()


# each way


def test_an_image_that_is_deployed_is_the_services_from_then_on() -> None:
    given(a_service(image="web:1"))
    when(DeployImage(**NEW, image="web:2"))
    then(ServiceConfigured(image="web:2"), a_deploy("new", 1, trigger="deploy", image="web:2"))


def test_the_same_image_deployed_again_changes_no_setting() -> None:
    given(a_service(image="web:1"))
    when(DeployImage(**NEW, image="web:1"))
    then(a_deploy("new", 1, trigger="deploy", image="web:1"))


def test_a_redeploy_takes_the_image_by_its_tag_to_be_pulled_again() -> None:
    a_running_service(image="web:1")
    when(DeployImage(**NEW))
    then(a_deploy("new", 2, trigger="redeploy", image="web:1"))


def test_a_redeploy_of_an_image_that_is_still_tried_goes_on_trying_it() -> None:
    a_running_service(image="web:1")
    when(DeployImage(**(NEW | {"deployment_id": "d2"}), image="web:2"))
    when(DeployImage(**NEW))
    assert then_accepted(ServiceDeploySuperseded, ServiceDeployRequested)[1] == a_deploy(
        "new", 3, trigger="deploy", image="web:2"
    )
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "new", "image_not_found"))
    when(DeployImage(**(NEW | {"deployment_id": "newer"})))
    assert requested() == a_deploy("newer", 4, trigger="redeploy", image="web:1")


def test_a_start_repeats_what_ran_last_by_its_digest() -> None:
    a_running_service()
    stopped()
    when(StartService(**NEW))
    then(a_deploy("new", 2, trigger="start", image=PINNED))


def test_a_start_takes_the_services_image_where_nothing_ever_ran() -> None:
    given(a_service(image="web:1"))
    when(StartService(**NEW))
    then(a_deploy("new", 1, trigger="start", image="web:1"))


def test_what_serves_is_not_started_again() -> None:
    a_running_service()
    when(StartService(**NEW))
    then()


def test_what_is_being_deployed_is_not_started_again() -> None:
    given(a_service(), a_deploy("d1"))
    when(StartService(**NEW))
    then()


def test_what_still_serves_but_is_being_stopped_is_started_again() -> None:
    a_running_service()
    given(ServiceStopRequested())
    when(StartService(**NEW))
    then_accepted(ServiceWorkSuperseded, ServiceDeployRequested)


def test_a_restart_repeats_what_ran_last_by_its_digest_with_todays_settings() -> None:
    a_running_service()
    given(ServiceConfigured(memory_mb=512), env_set("A"))
    when(RestartService(**NEW))
    assert requested() == a_deploy("new", 2, trigger="restart", image=PINNED, memory_mb=512, env_version=7)


def test_a_restart_repeats_what_was_healthy_and_not_what_failed() -> None:
    a_running_service()
    given(ServiceConfigured(image="web:2"), a_deploy("d2", 2, image="web:2"))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d2", "unhealthy"))
    when(RestartService(**NEW))
    assert requested().image == PINNED


def test_a_reset_forgets_the_crashes_and_deploys_what_ran_last() -> None:
    a_running_service()
    crashed_too_often()
    when(ResetService(**NEW))
    then(ServiceCircuitReset(), a_deploy("new", 2, trigger="reset", image=PINNED))


def test_a_reset_of_what_never_had_an_image_only_forgets_the_crashes() -> None:
    given(a_service(image=""))
    when(ResetService(**NEW))
    then(ServiceCircuitReset())


# calling off


def cancel(deployment_id: str) -> CancelDeployment:
    return CancelDeployment(**MINE, deployment_id=deployment_id)


def test_a_deployment_that_is_under_way_may_be_called_off() -> None:
    given(a_service(), a_deploy("d1"))
    when(cancel("d1"))
    then(ServiceDeployCancelled(intent_before("d1"), "d1"))


def intent_before(deployment_id: str) -> int:
    """The position of a deployment's request, open or not."""
    row = deployments.find(world().views.db, deployment_id)
    assert row
    return row.intent


def test_a_deployment_whose_route_is_being_moved_may_be_called_off() -> None:
    given(a_service(), a_deploy("d1"))
    healthy()
    route = intent(ServiceInstanceHealthy)
    when(cancel("d1"))
    then(ServiceDeployCancelled(route, "d1"))


@pytest.mark.parametrize("far", ["routed", "called off"])
def test_a_deployment_that_came_to_its_end_is_not_called_off(far: str) -> None:
    given(a_service(), a_deploy("d1"))
    if far == "called off":
        when(cancel("d1"))
    else:
        healthy()
    if far == "routed":
        routed()
    when(cancel("d1"))
    then_rejected("not_cancellable")


def test_a_superseded_deployment_is_not_called_off_while_a_newer_one_is_under_way() -> None:
    given(a_service(), a_deploy("d1"))
    when(DeployImage(**NEW))
    when(cancel("d1"))
    then_rejected("not_cancellable", "superseded")


def test_a_deployment_that_never_was_is_not_called_off() -> None:
    given(a_service())
    when(cancel("d1"))
    then_rejected("deployment_not_found")


def test_another_services_deployment_is_not_called_off() -> None:
    given(a_service(), of(a_service("other"), OTHER_SERVICE), of(a_deploy("d2"), OTHER_SERVICE))
    when(cancel("d2"))
    then_rejected("deployment_not_found")


def test_what_was_called_off_leaves_what_serves_alone() -> None:
    a_running_service()
    given(a_deploy("d2", 2))
    when(cancel("d2"))
    when(StartService(**NEW))
    then()


def test_a_redeployed_service_repeats_its_newest_image() -> None:
    a_running_service()
    redeployed("d2", 2)
    when(RestartService(**NEW))
    assert requested().image == "web@sha256:d2"
