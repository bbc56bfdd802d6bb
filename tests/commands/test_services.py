"""What a tenant may do with its services, but for deploying them."""

from typing import Any

import pytest

from ahplat.commands.services import (
    ConfigureService,
    CreateService,
    DeleteService,
    SetEnv,
    StopService,
    UnsetEnv,
)
from events.event import Event
from events.services import (
    ServiceConfigured,
    ServiceCreated,
    ServiceDeleteRequested,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceEnvSet,
    ServiceEnvUnset,
    ServiceInstanceHealthy,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceStopRequested,
    ServiceWorkSuperseded,
)
from events.tenants import TenantQuotasSet
from projections import env
from tests.commands.facts import (
    a_deploy,
    a_running_service,
    a_service,
    a_tenant,
    env_set,
    healthy,
    intent,
    routed,
)
from tests.commands.given import (
    MINE,
    OTHER_SERVICE,
    OTHER_TENANT,
    SERVICE,
    TENANT,
    THIRD_SERVICE,
    given,
    of,
    then,
    then_accepted,
    then_rejected,
    when,
    world,
)

DEFAULT = {"max_services": 5, "max_env_vars_per_service": 100, "max_memory_mb": 6144, "max_cpu_cores": 8}


def create(service: str = SERVICE, env: tuple[str, ...] = (), **fields: Any) -> CreateService:
    return CreateService(
        tenant_id=TENANT,
        service_id=service,
        created=a_service(**fields),
        env=dict.fromkeys(env, b"sealed"),
        deployment_id="d1",
    )


def configure(**changes: Any) -> ConfigureService:
    return ConfigureService(**MINE, changes=ServiceConfigured(**changes))


# creation


def test_a_service_is_created_and_deployed_with_its_settings() -> None:
    when(create())
    then(a_service(), a_deploy("d1", 1, trigger="create"))


def test_a_service_without_an_image_waits_for_its_first_build() -> None:
    when(create(image=""))
    then(a_service(image=""))


def test_the_first_deployment_gets_the_variables_of_the_creation() -> None:
    when(create(env=("A", "B")))
    then(a_service(), env_set("A", "B"), a_deploy("d1", 1, env_version=2))
    assert env.values_at(world().views.db, SERVICE, 2).keys() == {"A", "B"}


@pytest.mark.parametrize(
    ("name", "label"), [("web", "other"), ("other", "web")], ids=["the same name", "the same label"]
)
def test_names_and_labels_are_unique_in_their_tenant(name: str, label: str) -> None:
    given(of(a_service("web"), OTHER_SERVICE))
    when(create(name=name, label=label))
    then_rejected("name_taken", repr("web"))


def test_another_tenants_names_are_its_own_affair() -> None:
    given(of(a_service("web"), OTHER_SERVICE, OTHER_TENANT))
    when(create())
    then_accepted(ServiceCreated, ServiceDeployRequested)


def test_a_deleted_service_leaves_its_name_at_once() -> None:
    given(of(a_service("web"), OTHER_SERVICE), of(ServiceDeleteRequested(), OTHER_SERVICE))
    when(create())
    then_accepted(ServiceCreated, ServiceDeployRequested)


@pytest.mark.parametrize(
    ("quota", "most", "within", "beyond"),
    [
        ("max_memory_mb", 1000, {"memory_mb": 600}, {"memory_mb": 601}),
        ("max_memory_mb", 1000, {"memory_mb": 200, "replicas": 3}, {"memory_mb": 201, "replicas": 3}),
        ("max_cpu_cores", 2, {"cpu_milli": 1500}, {"cpu_milli": 1501}),
        ("max_cpu_cores", 2, {"cpu_milli": 500, "replicas": 3}, {"cpu_milli": 501, "replicas": 3}),
        ("max_env_vars_per_service", 2, {"env": ("A", "B")}, {"env": ("A", "B", "C")}),
        ("max_services", 2, {}, None),
    ],
)
def test_a_service_is_created_within_the_quotas_only(
    quota: str, most: int, within: dict[str, Any], beyond: dict[str, Any] | None
) -> None:
    given(
        a_tenant(), of(a_service("other", memory_mb=400, cpu_milli=500), OTHER_SERVICE), TenantQuotasSet({quota: most})
    )
    if beyond is not None:
        when(create(**beyond))
        then_rejected("quota_exceeded", quota)
    when(create(**within))
    assert then_accepted_first() == a_service(**{key: value for key, value in within.items() if key != "env"})
    if quota == "max_services":
        when(create(THIRD_SERVICE, name="third"))
        then_rejected("quota_exceeded", quota)


def then_accepted_first() -> Event:
    outcome = world().outcome
    assert isinstance(outcome, list), outcome
    return outcome[0]


@pytest.mark.parametrize("quota", ["max_memory_mb", "max_cpu_cores"])
def test_every_replica_of_the_other_services_counts(quota: str) -> None:
    given(a_tenant(), TenantQuotasSet({"max_memory_mb": 1000, "max_cpu_cores": 10} | {quota: 3}))
    given(of(a_service("other", memory_mb=1, cpu_milli=1000, replicas=3), OTHER_SERVICE))
    when(create(memory_mb=1, cpu_milli=1000))
    then_rejected("quota_exceeded", quota)


def test_a_stopped_service_holds_no_memory() -> None:
    given(a_tenant(), TenantQuotasSet({"max_memory_mb": 1000}))
    given(of(a_service("other", memory_mb=1000), OTHER_SERVICE), of(ServiceStopRequested(), OTHER_SERVICE))
    when(create(memory_mb=1000))
    then_accepted(ServiceCreated, ServiceDeployRequested)


def test_a_stopped_service_still_counts_as_a_service() -> None:
    given(a_tenant(), TenantQuotasSet({"max_services": 1}))
    given(of(a_service("other"), OTHER_SERVICE), of(ServiceStopRequested(), OTHER_SERVICE))
    when(create())
    then_rejected("quota_exceeded", "max_services")


def test_a_deleted_service_counts_for_nothing() -> None:
    given(a_tenant(), TenantQuotasSet({"max_services": 1, "max_memory_mb": 1000}))
    given(of(a_service("other", memory_mb=1000), OTHER_SERVICE), of(ServiceDeleteRequested(), OTHER_SERVICE))
    when(create(memory_mb=1000))
    then_accepted(ServiceCreated, ServiceDeployRequested)


@pytest.mark.parametrize(
    ("quota", "beyond"),
    [("max_memory_mb", {"memory_mb": 6145}), ("max_cpu_cores", {"cpu_milli": 8001})],
)
def test_a_tenant_of_which_nothing_was_said_has_the_platforms_quotas(quota: str, beyond: dict[str, int]) -> None:
    when(create(**beyond))
    then_rejected("quota_exceeded", str(DEFAULT[quota]))


# a service that is not there

SERVICE_COMMANDS = [
    configure(port=1),
    SetEnv(**MINE, sealed={"A": b""}),
    UnsetEnv(**MINE, key="A"),
    StopService(**MINE),
    DeleteService(**MINE),
]
BY_TYPE = {"ids": lambda command: type(command).__name__}


@pytest.mark.parametrize("command", SERVICE_COMMANDS, **BY_TYPE)
def test_nothing_happens_to_a_service_that_never_was(command: Any) -> None:
    when(command)
    then_rejected("service_not_found")


@pytest.mark.parametrize("command", SERVICE_COMMANDS, **BY_TYPE)
def test_nothing_happens_to_a_deleted_service(command: Any) -> None:
    given(a_service(), env_set("A"), ServiceDeleteRequested())
    when(command)
    then_rejected("service_not_found")


@pytest.mark.parametrize("command", SERVICE_COMMANDS, **BY_TYPE)
def test_nothing_happens_to_another_tenants_service(command: Any) -> None:
    given(of(a_service(), tenant=OTHER_TENANT), of(env_set("A"), tenant=OTHER_TENANT))
    when(command)
    then_rejected("service_not_found")


# settings


def test_settings_are_changed_for_the_next_deployment() -> None:
    given(a_service())
    when(configure(port=9000, memory_mb=512))
    then(ServiceConfigured(port=9000, memory_mb=512))


def test_settings_that_are_as_they_were_change_nothing() -> None:
    given(a_service(port=8000))
    when(configure(port=8000))
    then()


@pytest.mark.parametrize(
    "taken", [{"name": "other"}, {"name": "new", "label": "other"}], ids=["the same name", "the same label"]
)
def test_a_service_does_not_take_anothers_name(taken: dict[str, str]) -> None:
    given(a_service("web"), of(a_service("other"), OTHER_SERVICE))
    when(configure(**taken))
    then_rejected("name_taken")


def test_a_service_keeps_its_own_name_while_its_label_changes() -> None:
    given(a_service("web", "web"))
    when(configure(name="web", label="web-2"))
    then(ServiceConfigured(name="web", label="web-2"))


@pytest.mark.parametrize(
    ("quota", "most", "beyond"),
    [
        ("max_memory_mb", 1000, {"memory_mb": 601}),
        ("max_memory_mb", 1000, {"replicas": 3}),
        ("max_cpu_cores", 2, {"cpu_milli": 1501}),
    ],
)
def test_what_is_wanted_to_run_is_not_configured_beyond_a_quota(quota: str, most: int, beyond: dict[str, int]) -> None:
    given(a_tenant(), TenantQuotasSet({quota: most}))
    given(a_service(memory_mb=256), of(a_service("other", memory_mb=400, cpu_milli=500), OTHER_SERVICE))
    when(configure(**beyond))
    then_rejected("quota_exceeded", quota)


def test_a_stopped_service_may_be_configured_beyond_a_quota_that_its_start_will_meet() -> None:
    given(a_service(), ServiceStopRequested())
    when(configure(memory_mb=100_000))
    then(ServiceConfigured(memory_mb=100_000))


# variables


def test_variables_are_set_sealed() -> None:
    given(a_service())
    when(SetEnv(**MINE, sealed={"A": b"sealed"}))
    then(ServiceEnvSet({"A": b"sealed"}))


def test_a_service_holds_no_more_variables_than_its_quota() -> None:
    given(a_service(), env_set(*(f"V{n}" for n in range(100))))
    when(SetEnv(**MINE, sealed={"ONE_MORE": b""}))
    then_rejected("quota_exceeded", "101 variables")


def test_a_variable_that_is_replaced_is_not_counted_twice() -> None:
    given(a_service(), env_set(*(f"V{n}" for n in range(100))))
    when(SetEnv(**MINE, sealed={"V1": b"new"}))
    then(ServiceEnvSet({"V1": b"new"}))


def test_a_variable_that_was_taken_away_makes_room() -> None:
    given(a_service(), env_set(*(f"V{n}" for n in range(100))), ServiceEnvUnset("V1"))
    when(SetEnv(**MINE, sealed={"ONE_MORE": b""}))
    then(ServiceEnvSet({"ONE_MORE": b""}))


def test_a_variable_may_be_taken_away() -> None:
    given(a_service(), env_set("A", "B"))
    when(UnsetEnv(**MINE, key="A"))
    then(ServiceEnvUnset("A"))
    assert env.values_at(world().views.db, SERVICE, 3).keys() == {"B"}


def test_a_variable_that_is_not_there_is_not_taken_away() -> None:
    given(a_service(), env_set("A"), ServiceEnvUnset("A"))
    when(UnsetEnv(**MINE, key="A"))
    then_rejected("env_not_found")


# the end

ENDS = [(StopService(**MINE), ServiceStopRequested()), (DeleteService(**MINE), ServiceDeleteRequested())]
EACH_END = pytest.mark.parametrize(("command", "end"), ENDS, ids=["stop", "delete"])


@EACH_END
def test_the_end_of_a_service_supersedes_its_deployment(command: Any, end: Event) -> None:
    given(a_service(), a_deploy("d1"))
    when(command)
    then(ServiceDeploySuperseded(world().log.position - 2, "d1"), end)


@EACH_END
def test_the_end_of_a_service_supersedes_a_route_that_is_being_moved(command: Any, end: Event) -> None:
    given(a_service(), a_deploy("d1"))
    healthy()
    route = intent(ServiceInstanceHealthy)
    when(command)
    then(ServiceDeploySuperseded(route, "d1"), end)


@EACH_END
def test_the_end_of_a_service_supersedes_a_draining(command: Any, end: Event) -> None:
    given(a_service(), a_deploy("d1"))
    healthy()
    routed()
    drain = intent(ServiceRouted)
    when(command)
    then(ServiceWorkSuperseded(drain), end)


@EACH_END
def test_the_end_of_a_service_supersedes_a_repair(command: Any, end: Event) -> None:
    a_running_service()
    given(ServiceRepairRequested("d1"))
    repair = intent(ServiceRepairRequested)
    when(command)
    then(ServiceWorkSuperseded(repair), end)


def test_a_stopped_service_is_not_stopped_again() -> None:
    given(a_service(), ServiceStopRequested())
    when(StopService(**MINE))
    then()


def test_a_delete_supersedes_a_stop() -> None:
    given(a_service(), ServiceStopRequested())
    stop = intent(ServiceStopRequested)
    when(DeleteService(**MINE))
    then(ServiceWorkSuperseded(stop), ServiceDeleteRequested())


def test_the_end_of_a_service_leaves_anothers_work_alone() -> None:
    given(a_service(), of(a_service("other"), OTHER_SERVICE), of(a_deploy("d2"), OTHER_SERVICE))
    when(DeleteService(**MINE))
    then(ServiceDeleteRequested())
