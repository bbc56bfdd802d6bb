"""A rollback is an earlier deployment again: its image by digest, its variables, its limits."""

import pytest

from ahplat.commands.deployments import DeployImage, RollBack
from events.event import Event
from events.services import (
    ServiceCircuitOpened,
    ServiceConfigured,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceEnvRestored,
    ServiceEnvUnset,
)
from events.tenants import TenantQuotasSet
from projections import deployments, env, services
from tests.commands.facts import (
    a_deploy,
    a_running_service,
    a_service,
    a_tenant,
    comes_to_serve,
    env_set,
    intent,
    redeployed,
)
from tests.commands.given import (
    MINE,
    OTHER_SERVICE,
    SERVICE,
    TENANT,
    given,
    of,
    then,
    then_accepted,
    then_rejected,
    when,
    world,
)


def roll_back(to: str = "", deployment_id: str = "new") -> RollBack:
    return RollBack(**MINE, deployment_id=deployment_id, to=to)


def then_back_to(image: str, changed: tuple[type[Event], ...] = ()) -> ServiceDeployRequested:
    *_, event = then_accepted(*changed, ServiceEnvRestored, ServiceDeployRequested)
    assert isinstance(event, ServiceDeployRequested)
    assert event.image == image
    return event


def version() -> int:
    row = services.find(world().views.db, SERVICE)
    assert row
    return row.version


def env_now() -> dict[str, bytes]:
    row = services.find(world().views.db, SERVICE)
    assert row
    return env.values_at(world().views.db, SERVICE, row.env_version)


def test_a_rollback_deploys_the_one_before_the_last_by_its_digest() -> None:
    a_running_service()
    redeployed("d2", 2)
    before = version()
    when(roll_back())
    then(
        ServiceEnvRestored(0),
        a_deploy("new", 3, trigger="rollback", image="web@sha256:d1", env_version=before + 1),
    )


def test_a_rollback_goes_to_the_deployment_that_is_named() -> None:
    a_running_service()
    redeployed("d2", 2)
    redeployed("d3", 3)
    when(roll_back("d1"))
    then_back_to("web@sha256:d1")


def test_a_rollback_passes_over_what_never_ran() -> None:
    a_running_service()
    redeployed("d2", 2)
    given(a_deploy("d3", 3))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d3", "unhealthy"))
    when(roll_back())
    then_back_to("web@sha256:d1")


def test_a_rollback_of_a_rollback_goes_forward_again() -> None:
    a_running_service()
    redeployed("d2", 2)
    when(roll_back())
    comes_to_serve()
    when(roll_back(deployment_id="newer"))
    then_back_to("web@sha256:d2")


@pytest.mark.parametrize(
    "changes",
    [
        (env_set("A", value=b"new"),),
        (env_set("B"),),
        (ServiceEnvUnset("A"),),
        (ServiceEnvUnset("A"), env_set("A", value=b"new"), env_set("C")),
    ],
    ids=["replaced", "one more", "one less", "all at once"],
)
def test_a_rollback_brings_the_variables_back(changes: tuple[Event, ...]) -> None:
    given(a_service(), env_set("A", value=b"old"), a_deploy("d1", 1, env_version=2))
    comes_to_serve()
    given(*changes)
    redeployed("d2", 2, env_version=version())
    when(roll_back())
    deployment = then_back_to("web@sha256:d1")
    assert env.values_at(world().views.db, SERVICE, deployment.env_version) == {"A": b"old"}
    assert env_now() == {"A": b"old"}


def test_what_is_set_after_a_rollback_does_not_reach_it() -> None:
    given(a_service(), env_set("A", value=b"old"), a_deploy("d1", 1, env_version=2))
    comes_to_serve()
    redeployed("d2", 2, env_version=2)
    when(roll_back())
    deployment = then_back_to("web@sha256:d1")
    given(env_set("A", value=b"later"), env_set("B"))
    assert env.values_at(world().views.db, SERVICE, deployment.env_version) == {"A": b"old"}


def test_variables_come_back_also_when_something_is_superseded_in_the_same_append() -> None:
    given(a_service(), env_set("A", value=b"old"), a_deploy("d1", 1, env_version=2))
    comes_to_serve()
    given(env_set("A", value=b"new"), a_deploy("d2", 2, env_version=3))
    when(roll_back("d1"))
    *_, deployment = then_accepted(ServiceDeploySuperseded, ServiceEnvRestored, ServiceDeployRequested)
    assert env.values_at(world().views.db, SERVICE, deployment.env_version) == {"A": b"old"}


def test_a_rollback_brings_the_limits_back() -> None:
    settings = {"port": 1, "memory_mb": 2, "cpu_milli": 3, "health_path": "/4", "egress": "none", "replicas": 2}
    a_running_service(**settings)
    given(ServiceConfigured(port=9, memory_mb=99, cpu_milli=99, health_path="/99", egress="internet", replicas=1))
    redeployed("d2", 2)
    when(roll_back())
    found = then_back_to("web@sha256:d1", (ServiceConfigured,))
    assert {name: getattr(found, name) for name in settings} == settings


def test_limits_that_came_back_are_the_services_own_and_count() -> None:
    a_running_service(memory_mb=4000)
    given(ServiceConfigured(memory_mb=100))
    redeployed("d2", 2, memory_mb=100)
    when(roll_back())
    then_back_to("web@sha256:d1", (ServiceConfigured,))
    assert [row.memory_mb for row in services.held_by(world().views.db, TENANT)] == [4000]


def test_what_serves_counts_until_smaller_settings_are_deployed() -> None:
    a_running_service(memory_mb=4000)
    given(ServiceConfigured(memory_mb=100))
    assert [row.memory_mb for row in services.held_by(world().views.db, TENANT)] == [4000]
    redeployed("d2", 2, memory_mb=100)
    assert [row.memory_mb for row in services.held_by(world().views.db, TENANT)] == [100]


def test_the_limits_that_come_back_fit_the_quotas_of_today() -> None:
    a_running_service(memory_mb=1000)
    given(ServiceConfigured(memory_mb=100))
    redeployed("d2", 2, memory_mb=100)
    given(a_tenant(), TenantQuotasSet({"max_memory_mb": 999}))
    when(roll_back())
    then_rejected("quota_exceeded")


def test_there_is_nothing_to_roll_back_to_before_a_second_deployment_ran() -> None:
    a_running_service()
    when(roll_back())
    then_rejected("nothing_to_roll_back")


def test_a_rollback_may_name_what_serves() -> None:
    a_running_service()
    when(roll_back("d1"))
    then_back_to("web@sha256:d1")


def test_a_deployment_that_never_was_is_not_rolled_back_to() -> None:
    a_running_service()
    when(roll_back("d9"))
    then_rejected("deployment_not_found", "d9")


def test_a_deployment_that_never_ran_is_not_rolled_back_to() -> None:
    a_running_service()
    given(a_deploy("d2", 2))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d2", "unhealthy"))
    when(roll_back("d2"))
    then_rejected("deployment_not_found", "d2")


def test_another_services_deployment_is_not_rolled_back_to() -> None:
    a_running_service()
    given(of(a_service("other"), OTHER_SERVICE), of(a_deploy("d9"), OTHER_SERVICE))
    comes_to_serve(OTHER_SERVICE)
    when(roll_back("d9"))
    then_rejected("deployment_not_found", "d9")


def test_a_service_that_crashed_too_often_can_be_rolled_back() -> None:
    a_running_service()
    redeployed("d2", 2)
    given(ServiceCircuitOpened(5))
    when(roll_back())
    row = services.find(world().views.db, SERVICE)
    assert row and (row.circuit_open, row.status) == (0, "deploying")


def test_a_rollback_makes_the_earlier_image_the_services_own() -> None:
    a_running_service()
    when(DeployImage(**MINE, deployment_id="d2", image="web:2"))
    comes_to_serve()
    when(roll_back())
    row = services.find(world().views.db, SERVICE)
    assert row and row.image == "web:1"


def test_a_rollback_says_in_the_views_what_it_was() -> None:
    a_running_service()
    redeployed("d2", 2)
    when(roll_back())
    found = deployments.find(world().views.db, "new")
    assert found
    assert (found.number, found.trigger, found.image) == (3, "rollback", "web@sha256:d1")


def test_a_deploy_takes_over_from_a_rollback() -> None:
    a_running_service()
    redeployed("d2", 2)
    when(roll_back())
    when(DeployImage(**MINE, deployment_id="newer"))
    then_accepted(ServiceDeploySuperseded, ServiceDeployRequested)
