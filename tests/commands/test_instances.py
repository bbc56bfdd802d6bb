"""What may be said of instances, and the breaker."""

import pytest

from ahplat import limits
from ahplat.commands.deployments import ResetService
from ahplat.commands.instances import FailRepair, ReportCrash, ReportDrift
from ahplat.commands.services import StopService
from events.event import Event
from events.services import (
    ServiceCircuitOpened,
    ServiceCircuitReset,
    ServiceCrashed,
    ServiceDrifted,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRepairRequested,
    ServiceStopRequested,
    Target,
)
from projections import services
from projections.services import ServiceRow
from tests.commands.facts import a_deploy, a_running_service, begun, comes_to_serve, intent
from tests.commands.given import (
    MINE,
    OTHER_TENANT,
    SERVICE,
    given,
    later,
    then,
    then_accepted,
    then_rejected,
    when,
    world,
)


def crash(instance: str = "d1-0", oom_killed: bool = False, tenant: str = MINE["tenant_id"]) -> ReportCrash:
    return ReportCrash(
        tenant_id=tenant,
        service_id=SERVICE,
        instance=instance,
        seen_us=world().now_us,
        exit_code=1,
        oom_killed=oom_killed,
        tail=b"sealed",
    )


def drift(*findings: ServiceDrifted) -> ReportDrift:
    return ReportDrift(**MINE, seen_us=world().now_us, findings=list(findings))


def crashed(count: int = 1) -> ServiceCrashed:
    return ServiceCrashed("d1", 0, "d1-0", count, 1, False, b"sealed")


def repaired() -> None:
    begun(ServiceRepairRequested)
    given(ServiceRepaired(intent(ServiceRepairRequested), "d1", [Target(0, "d1-0", "10.0.0.2", 8000)], []))


def crashed_and_repaired(times: int) -> None:
    for _ in range(times):
        when(crash())
        then_accepted(ServiceCrashed, ServiceRepairRequested)
        repaired()


def service() -> ServiceRow:
    row = services.find(world().views.db, SERVICE)
    assert row
    return row


def test_a_crash_is_repaired_after_a_second() -> None:
    a_running_service()
    when(crash())
    then(crashed(), ServiceRepairRequested("d1", world().now_us + 1_000_000))


def test_a_crash_names_the_replica_that_it_was() -> None:
    a_running_service(replicas=3)
    when(crash("d1-2"))
    event, _ = then_accepted(ServiceCrashed, ServiceRepairRequested)
    assert (event.replica, event.instance) == (2, "d1-2")


def test_an_end_for_too_much_memory_names_the_limit() -> None:
    a_running_service()
    when(crash(oom_killed=True))
    event, _ = then_accepted(ServiceCrashed, ServiceRepairRequested)
    assert event.memory_mb == 256


def test_each_crash_is_repaired_after_a_longer_wait() -> None:
    a_running_service()
    waits_s = []
    for _ in range(4):
        when(crash())
        _, repair = then_accepted(ServiceCrashed, ServiceRepairRequested)
        waits_s.append((repair.due_us - world().now_us) / 1_000_000)
        repaired()
    assert waits_s == [1, 2, 4, 8]


def test_the_fifth_crash_within_the_window_opens_the_circuit() -> None:
    a_running_service()
    crashed_and_repaired(4)
    later(limits.CRASH_WINDOW_S)
    when(crash())
    then(crashed(5), ServiceCircuitOpened(5, world().now_us + 1_800_000_000), ServiceStopRequested())
    assert (service().status, service().desired, service().circuit_open) == ("circuit_open", "stopped", 1)


def test_a_crash_before_the_window_no_longer_counts() -> None:
    a_running_service()
    crashed_and_repaired(1)
    later(1)
    crashed_and_repaired(3)
    later(limits.CRASH_WINDOW_S)
    when(crash())
    then(crashed(4), ServiceRepairRequested("d1", world().now_us + 8_000_000))


def test_a_reset_begins_to_count_anew() -> None:
    a_running_service()
    crashed_and_repaired(4)
    given(ServiceCircuitReset())
    when(crash())
    then(crashed(1), ServiceRepairRequested("d1", world().now_us + 1_000_000))


def test_a_service_whose_circuit_is_open_runs_again_after_a_reset() -> None:
    a_running_service()
    crashed_and_repaired(4)
    when(crash())
    when(ResetService(**MINE, deployment_id="new"))
    comes_to_serve()
    assert (service().status, service().circuit_open, service().crash_count) == ("running", 0, 0)


def test_another_services_crashes_do_not_count() -> None:
    a_running_service()
    a_running_service("other", "2" * 32)
    crashed_and_repaired(4)
    when(
        ReportCrash(
            tenant_id=MINE["tenant_id"],
            service_id="2" * 32,
            instance="d1-2-0",
            seen_us=world().now_us,
            exit_code=None,
            oom_killed=False,
            tail=b"",
        )
    )
    then_accepted(ServiceCrashed, ServiceRepairRequested)


def test_an_instance_that_nobody_wants_has_not_crashed() -> None:
    a_running_service()
    when(crash("d0-0"))
    then_rejected("outcome_refused")


def test_a_crash_is_told_once() -> None:
    a_running_service()
    when(crash())
    when(crash())
    then_rejected("outcome_refused")


@pytest.mark.parametrize("open_work", [a_deploy("d2", 2), ServiceStopRequested(), ServiceRepairRequested("d1")])
def test_nothing_is_said_of_instances_while_work_on_the_service_is_under_way(open_work: Event) -> None:
    a_running_service()
    given(open_work)
    when(crash())
    then_rejected("outcome_refused")
    when(drift(ServiceDrifted("d1", "missing", 0, "d1-0")))
    then_rejected("outcome_refused")


def test_another_tenants_service_does_not_crash() -> None:
    a_running_service()
    when(crash(tenant=OTHER_TENANT))
    then_rejected("service_not_found")


def test_a_service_that_ran_out_of_memory_says_so() -> None:
    a_running_service()
    when(crash(oom_killed=True))
    assert service().last_error_code == "out_of_memory"


def test_what_is_not_as_it_should_be_is_said_and_repaired() -> None:
    a_running_service()
    missing, stray = ServiceDrifted("d1", "missing", 0, "d1-0"), ServiceDrifted("d0", "stray", 0, "d0-0")
    when(drift(missing, stray))
    then(missing, stray, ServiceRepairRequested("d1"))


def test_drift_is_no_crash() -> None:
    a_running_service()
    for _ in range(limits.CRASHES + 1):
        when(drift(ServiceDrifted("d1", "missing", 0, "d1-0")))
        then_accepted(ServiceDrifted, ServiceRepairRequested)
        repaired()
    assert service().status == "running"


# repairs that fail


def failed(attempt: int = 1) -> FailRepair:
    repair = intent(ServiceRepairRequested)
    return FailRepair(
        **MINE,
        intent=repair,
        attempt=attempt,
        seen_us=world().now_us,
        failure=ServiceRepairFailed(repair, "d1", "unhealthy"),
    )


def test_a_repair_that_fails_counts_as_a_crash_and_is_tried_again() -> None:
    a_running_service()
    when(crash())
    begun(ServiceRepairRequested)
    command = failed()
    when(command)
    then(command.failure, ServiceRepairRequested("d1", world().now_us + 2_000_000))


def test_repairs_that_fail_open_the_circuit() -> None:
    a_running_service()
    when(crash())
    for _ in range(limits.CRASHES - 2):
        begun(ServiceRepairRequested)
        when(failed())
        then_accepted(ServiceRepairFailed, ServiceRepairRequested)
    begun(ServiceRepairRequested)
    when(failed())
    then_accepted(ServiceRepairFailed, ServiceCircuitOpened, ServiceStopRequested)


def test_a_stop_of_a_service_whose_circuit_is_open_closes_it() -> None:
    a_running_service()
    crashed_and_repaired(4)
    when(crash())
    when(StopService(**MINE))
    then(ServiceCircuitReset())
    when(StopService(**MINE))
    then()


def test_an_earlier_attempt_at_a_repair_says_nothing() -> None:
    a_running_service()
    when(crash())
    begun(ServiceRepairRequested)
    begun(ServiceRepairRequested)
    when(failed(attempt=1))
    then_rejected("outcome_refused", "attempt 1 is over")


def test_a_repair_that_was_superseded_does_not_fail() -> None:
    a_running_service()
    when(crash())
    begun(ServiceRepairRequested)
    command = failed()
    when(StopService(**MINE))
    when(command)
    then_rejected("outcome_refused")
