"""What a tenant may do with databases."""

import pytest

from ahplat.commands.database_servers import FailDatabaseStart, ReportDatabaseCrash, ReportDatabaseDrift
from ahplat.commands.databases import (
    CreateDatabase,
    DeleteDatabase,
    LinkDatabase,
    ReadConnectionString,
    StartDatabase,
    StopDatabase,
    UndeleteDatabase,
    free_address,
)
from ahplat.commands.services import CreateService
from ahplat.errors import Rejected
from events.databases import (
    DatabaseConnectionStringRead,
    DatabaseCrashed,
    DatabaseCreateRequested,
    DatabaseDeleted,
    DatabaseDeleteRequested,
    DatabaseDrifted,
    DatabaseGivenUp,
    DatabasePurged,
    DatabasePurgeRequested,
    DatabaseStarted,
    DatabaseStartFailed,
    DatabaseStartRequested,
    DatabaseStopped,
    DatabaseStopRequested,
    DatabaseUndeleted,
    DatabaseWorkSuperseded,
)
from events.effects import EffectAttempted
from events.services import ServiceDeployRequested, ServiceEnvSet
from events.tenants import TenantQuotasSet, TenantSuspended
from projections import databases, env, services
from tests.commands.facts import a_database, a_running_service, a_service, a_tenant, database_started
from tests.commands.given import (
    DATABASE,
    MINE,
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

IT = {"tenant_id": TENANT, "database_id": DATABASE}
LATER_US = 5_000_000


def create(name: str = "orders", database_id: str = DATABASE, **fields: object) -> CreateDatabase:
    return CreateDatabase(
        tenant_id=TENANT, database_id=database_id, created=a_database(name, **{"address": "", **fields})
    )


def another(name: str, digit: str, **fields: object) -> Fact:
    return Fact(f"database-{digit * 32}", TENANT, a_database(name, **fields))


def last() -> int:
    return world().log.position


def running() -> None:
    given(a_tenant(), a_database())
    given(database_started(last()))


def deleted(due_us: int = LATER_US) -> int:
    """A database whose volume is kept; the position of the work that waits."""
    running()
    given(DatabaseDeleteRequested(due_us))
    given(DatabaseDeleted(last(), ["server-1"], due_us))
    return last()


def status() -> str:
    row = databases.find(world().views.db, DATABASE)
    assert row
    return row.status


# making


def test_a_new_database_gets_the_highest_free_address_of_its_tenants_network() -> None:
    given(a_tenant(subnet="10.128.0.64/26"), another("first", "1", address="10.128.0.126"))
    when(create())
    (made,) = then_accepted(DatabaseCreateRequested)
    assert made == a_database(address="10.128.0.125")
    assert status() == "provisioning"


def test_addresses_of_databases_are_those_that_neither_services_nor_the_router_get() -> None:
    given_out = []
    with pytest.raises(Rejected) as refused:
        while True:
            given_out.append(free_address("10.128.0.0/26", frozenset(given_out)))
    assert refused.value.code == "quota_exceeded"
    assert given_out == [f"10.128.0.{n}" for n in range(62, 32, -1)]


def test_a_name_is_taken_once_in_a_tenant() -> None:
    given(a_tenant(), another("orders", "1"))
    when(create())
    then_rejected("name_taken", "'orders'")


def test_two_names_that_give_one_host_name_do_not_go_together() -> None:
    given(a_tenant(), another("Orders!", "1", label="orders"))
    when(create())
    then_rejected("name_taken", "host name")


def test_a_tenant_has_no_more_databases_than_its_quota() -> None:
    given(a_tenant(), TenantQuotasSet({"max_databases": 1}), another("one", "1"))
    when(create())
    then_rejected("quota_exceeded", "max_databases")


def test_databases_and_services_share_the_tenants_memory() -> None:
    given(a_tenant(), TenantQuotasSet({"max_memory_mb": 700}), a_service(memory_mb=256))
    when(create())
    then_rejected("quota_exceeded", "768 MB", "700")


def test_a_service_counts_the_memory_of_databases() -> None:
    given(a_tenant(), TenantQuotasSet({"max_memory_mb": 700}), a_database())
    when(CreateService(**MINE, created=a_service(memory_mb=256), env={}, deployment_id="d1"))
    then_rejected("quota_exceeded", "768 MB")


def test_a_suspended_tenant_makes_none() -> None:
    given(a_tenant(), TenantSuspended())
    when(create())
    then_rejected("tenant_suspended")


def test_one_that_fails_to_start_the_first_time_has_failed_and_is_left_alone() -> None:
    given(a_tenant(), a_database())
    intent = last()
    given(EffectAttempted(intent, f"database-{DATABASE}", 1))
    failure = DatabaseStartFailed(intent, "unready")
    when(FailDatabaseStart(**IT, intent=intent, attempt=1, seen_us=world().now_us, failure=failure))
    then(failure)
    assert status() == "failed"


# crashes


def crash(seen_us: int | None = None) -> ReportDatabaseCrash:
    seen_us = world().now_us if seen_us is None else seen_us
    return ReportDatabaseCrash(
        **IT, instance="server-1", seen_us=seen_us, exit_code=137, oom_killed=False, tail=b"tail"
    )


def test_a_crash_is_followed_by_a_start_after_a_moment() -> None:
    running()
    when(crash())
    then(DatabaseCrashed("server-1", 1, 137, False, b"tail"), DatabaseStartRequested(world().now_us + 1_000_000))
    assert status() == "unavailable"


def test_after_too_many_crashes_in_the_window_it_has_failed() -> None:
    running()
    for n in range(1, 5):
        when(crash())
        crashed, _ = then_accepted(DatabaseCrashed, DatabaseStartRequested)
        assert crashed.crash_count == n
        given(database_started(last()))
    when(crash())
    then_accepted(DatabaseCrashed, DatabaseGivenUp)
    assert status() == "failed"


def test_one_that_has_failed_is_started_when_somebody_asks() -> None:
    running()
    given(DatabaseGivenUp(5))
    when(StartDatabase(**IT))
    then(DatabaseStartRequested())
    assert status() == "unavailable"


def test_a_start_of_what_runs_changes_nothing() -> None:
    running()
    when(StartDatabase(**IT))
    then()


def test_nothing_is_reported_while_work_is_open() -> None:
    running()
    given(DatabaseStartRequested())
    when(crash())
    then_rejected("outcome_refused")
    when(ReportDatabaseDrift(**IT, seen_us=0, drifted=DatabaseDrifted("missing")))
    then_rejected("outcome_refused")


def test_one_that_ran_before_is_tried_again_when_its_start_fails() -> None:
    running()
    given(DatabaseStartRequested())
    intent = last()
    given(EffectAttempted(intent, f"database-{DATABASE}", 1))
    failure = DatabaseStartFailed(intent, "unready")
    when(FailDatabaseStart(**IT, intent=intent, attempt=1, seen_us=world().now_us, failure=failure))
    then(failure, DatabaseStartRequested(world().now_us + 1_000_000))


def test_what_runs_though_it_should_not_is_stopped() -> None:
    running()
    given(DatabaseStopRequested())
    given(DatabaseStopped(last(), []))
    when(ReportDatabaseDrift(**IT, seen_us=0, drifted=DatabaseDrifted("stray", "x")))
    then(DatabaseDrifted("stray", "x"), DatabaseStopRequested())


# ending


def test_a_delete_calls_off_what_is_under_way_and_frees_the_name() -> None:
    given(a_tenant(), a_database())
    intent = last()
    when(DeleteDatabase(**IT, purge_us=LATER_US))
    then(DatabaseWorkSuperseded(intent), DatabaseDeleteRequested(LATER_US))
    when(create(database_id="1" * 32))
    (made,) = then_accepted(DatabaseCreateRequested)
    assert made.address == "10.128.0.61"  # the other one keeps its address, for it may come back


def test_a_deleted_one_is_not_found_but_may_come_back() -> None:
    intent = deleted()
    when(ReadConnectionString(**IT))
    then_rejected("database_not_found")
    when(DeleteDatabase(**IT, purge_us=LATER_US))
    then_rejected("database_not_found")
    when(UndeleteDatabase(**IT))
    then(DatabaseUndeleted(intent))
    assert status() == "unavailable"


def test_one_comes_back_while_it_is_still_being_stopped() -> None:
    running()
    given(DatabaseDeleteRequested(LATER_US))
    when(UndeleteDatabase(**IT))
    then(DatabaseUndeleted(last() - 1))


def test_one_that_is_not_deleted_cannot_be_undeleted() -> None:
    running()
    when(UndeleteDatabase(**IT))
    then_rejected("database_not_deleted")


def test_there_is_no_way_back_once_the_removal_of_the_volume_has_begun() -> None:
    intent = deleted()
    given(EffectAttempted(intent, f"database-{DATABASE}", 1))
    when(UndeleteDatabase(**IT))
    then_rejected("database_not_found", "begun")


def test_one_does_not_come_back_into_a_name_that_was_given_again() -> None:
    deleted()
    given(another("orders", "1", address="10.128.0.61"))
    when(UndeleteDatabase(**IT))
    then_rejected("name_taken")


def test_one_does_not_come_back_over_the_quota() -> None:
    deleted()
    given(TenantQuotasSet({"max_databases": 1}), another("one", "1"))
    when(UndeleteDatabase(**IT))
    then_rejected("quota_exceeded")


def test_a_purge_of_a_deleted_one_does_not_wait() -> None:
    intent = deleted()
    when(DeleteDatabase(**IT, purge_us=1, purge=True))
    then(DatabasePurgeRequested(intent))
    when(UndeleteDatabase(**IT))
    then_rejected("database_not_found")


def test_a_purge_that_was_asked_for_is_asked_for_once() -> None:
    running()
    when(DeleteDatabase(**IT, purge_us=1, purge=True))
    then(DatabaseDeleteRequested(1))
    when(DeleteDatabase(**IT, purge_us=2, purge=True))
    then()


def test_of_a_purged_one_nothing_is_known() -> None:
    given(DatabasePurged(deleted()))
    for command in (StartDatabase, StopDatabase, UndeleteDatabase):
        when(command(**IT))
        then_rejected("database_not_found")
    row = databases.find(world().views.db, DATABASE)
    assert row
    assert row.password is None


def test_another_tenants_is_not_found() -> None:
    running()
    for command in (StartDatabase, StopDatabase, UndeleteDatabase, ReadConnectionString):
        when(command(tenant_id=OTHER_TENANT, database_id=DATABASE))
        then_rejected("database_not_found")


def test_a_stop_is_asked_for_once_and_a_start_ends_it() -> None:
    running()
    when(StopDatabase(**IT))
    then(DatabaseStopRequested())
    when(StopDatabase(**IT))
    then()
    when(StartDatabase(**IT))
    then(DatabaseWorkSuperseded(last() - 2), DatabaseStartRequested())


# using


def test_who_reads_the_connection_string_is_recorded() -> None:
    running()
    when(ReadConnectionString(**IT))
    then(DatabaseConnectionStringRead())


def link(**fields: str) -> LinkDatabase:
    return LinkDatabase(**(MINE | {"database_id": DATABASE, "deployment_id": "d2"} | fields), sealed={"URL": b"sealed"})


def test_a_link_sets_the_variable_and_deploys_in_one_command() -> None:
    running()
    a_running_service()
    when(link())
    given_env, deploy = then_accepted(ServiceEnvSet, ServiceDeployRequested)
    assert (given_env.sealed, deploy.trigger, deploy.image) == ({"URL": b"sealed"}, "link", "web@sha256:d1")
    assert env.values_at(world().views.db, SERVICE, deploy.env_version) == {"URL": b"sealed"}


def test_a_link_of_a_service_that_waits_for_its_build_sets_the_variable_only() -> None:
    running()
    given(a_service(image=""))
    when(link())
    then(ServiceEnvSet({"URL": b"sealed"}))


def test_a_link_needs_both_to_be_the_tenants() -> None:
    running()
    given(of(a_service(), tenant=OTHER_TENANT))
    when(link())
    then_rejected("service_not_found")
    when(link(tenant_id=OTHER_TENANT))
    then_rejected("database_not_found")
    assert services.find(world().views.db, SERVICE)


def test_a_link_keeps_within_the_quota_of_variables() -> None:
    running()
    a_running_service()
    given(TenantQuotasSet({"max_env_vars_per_service": 0}))
    when(link())
    then_rejected("quota_exceeded", "variables")


def test_what_started_is_told_by_its_outcome() -> None:
    given(a_tenant(), a_database())
    given(DatabaseStarted(last(), "server-9", "10.128.0.62", 5432, "sha256:1", "postgres@sha256:1"))
    row = databases.find(world().views.db, DATABASE)
    assert row
    assert (row.status, row.container_id, row.host, row.ran) == ("running", "server-9", "10.128.0.62", 1)
