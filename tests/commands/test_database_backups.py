"""When a database may be backed up, when a backup may be restored, and when it may go."""

import pytest

from ahplat.commands.database_backups import RemoveBackup, RequestBackup, RestoreDatabase
from ahplat.commands.databases import DeleteDatabase, StartDatabase, StopDatabase
from events.database_backups import (
    DatabaseBackupFailed,
    DatabaseBackupRemoved,
    DatabaseBackupRemoveRequested,
    DatabaseBackupRequested,
    DatabaseBackupTaken,
    DatabaseBackupVerified,
)
from events.databases import (
    DatabaseCrashed,
    DatabaseDeleteRequested,
    DatabaseRestored,
    DatabaseRestoreFailed,
    DatabaseRestoreRequested,
    DatabaseStopRequested,
    DatabaseWorkSuperseded,
)
from events.event import Event
from events.tenants import TenantSuspended
from projections import database_backups, databases
from tests.commands.facts import a_database, a_tenant, database_started
from tests.commands.given import (
    BACKUP,
    DATABASE,
    OTHER_TENANT,
    TENANT,
    Fact,
    given,
    then,
    then_rejected,
    when,
    world,
)

IT = {"tenant_id": TENANT, "database_id": DATABASE}
ANOTHER, OTHER_DATABASE = "4" * 32, "5" * 32
REQUEST = RequestBackup(**IT, backup_id=ANOTHER)
RESTORE = RestoreDatabase(**IT, backup_id=BACKUP)
REMOVE = RemoveBackup(**IT, backup_id=BACKUP)


def last() -> int:
    return world().log.position


def running() -> None:
    given(a_tenant(), a_database())
    given(database_started(last()))


def requested() -> None:
    running()
    given(DatabaseBackupRequested(DATABASE))


def taken() -> None:
    requested()
    given(DatabaseBackupTaken(last(), 9, "hash"))


def verified() -> None:
    taken()
    given(DatabaseBackupVerified(last(), tables=1))


def restoring() -> None:
    verified()
    given(DatabaseRestoreRequested(BACKUP))


def failed() -> None:
    requested()
    given(DatabaseBackupFailed(last(), "dump_failed"))


def status() -> str:
    row = databases.find(world().views.db, DATABASE)
    assert row
    return row.status


# asking for one


def test_one_that_runs_is_backed_up() -> None:
    running()
    when(REQUEST)
    then(DatabaseBackupRequested(DATABASE))


@pytest.mark.parametrize("before", [requested, taken])
def test_one_backup_of_a_database_is_under_way_at_a_time(before: object) -> None:
    before()  # type: ignore[operator]
    when(REQUEST)
    then_rejected("backup_under_way", BACKUP)


@pytest.mark.parametrize("before", [verified, failed])
def test_after_one_has_ended_comes_another(before: object) -> None:
    before()  # type: ignore[operator]
    when(REQUEST)
    then(DatabaseBackupRequested(DATABASE))


def test_one_that_is_being_restored_is_not_backed_up() -> None:
    restoring()
    when(REQUEST)
    then_rejected("database_restoring")


@pytest.mark.parametrize(
    "event", [DatabaseCrashed("server-1", 1), DatabaseStopRequested(), DatabaseDeleteRequested(9)], ids=str
)
def test_one_that_does_not_run_is_neither_backed_up_nor_restored(event: Event) -> None:
    verified()
    given(event)
    if isinstance(event, DatabaseStopRequested):
        given(Fact(f"database-{DATABASE}", TENANT, DatabaseCrashed("server-1", 1)))
    for command in (REQUEST, RESTORE):
        when(command)
        then_rejected("database_not_found" if status() == "deleted" else "database_not_running")


def test_a_suspended_tenant_backs_up_nothing() -> None:
    verified()
    given(TenantSuspended())
    for command in (REQUEST, RESTORE):
        when(command)
        then_rejected("tenant_suspended")


def test_another_tenants_database_and_backup_are_none() -> None:
    verified()
    theirs = {"tenant_id": OTHER_TENANT, "database_id": DATABASE}
    when(RequestBackup(**theirs, backup_id=ANOTHER))
    then_rejected("database_not_found")
    when(RestoreDatabase(**theirs, backup_id=BACKUP))
    then_rejected("database_not_found")
    when(RemoveBackup(**theirs, backup_id=BACKUP))
    then_rejected("backup_not_found")


# restoring


def test_a_verified_backup_is_restored_and_the_database_says_so() -> None:
    verified()
    when(RESTORE)
    then(DatabaseRestoreRequested(BACKUP))
    assert status() == "restoring"
    given(DatabaseRestored(last(), BACKUP))
    assert status() == "running"


@pytest.mark.parametrize(("before", "is_now"), [(requested, "pending"), (taken, "verifying"), (failed, "failed")])
def test_one_that_was_not_proved_is_not_restored(before: object, is_now: str) -> None:
    before()  # type: ignore[operator]
    when(RESTORE)
    then_rejected("backup_not_verified", is_now)


def test_a_backup_of_another_database_is_none_of_this_one() -> None:
    verified()
    given(Fact(f"database-{OTHER_DATABASE}", TENANT, a_database("other", label="other", address="10.128.0.61")))
    when(RestoreDatabase(tenant_id=TENANT, database_id=OTHER_DATABASE, backup_id=BACKUP))
    then_rejected("backup_not_found")


def test_one_restore_is_under_way_at_a_time() -> None:
    restoring()
    when(RESTORE)
    then_rejected("database_restoring")


def test_what_is_being_backed_up_is_not_restored_meanwhile() -> None:
    verified()
    given(Fact(f"backup-{ANOTHER}", TENANT, DatabaseBackupRequested(DATABASE)))
    when(RESTORE)
    then_rejected("backup_under_way")


def test_a_restore_that_failed_leaves_it_running_and_says_why() -> None:
    restoring()
    given(DatabaseRestoreFailed(last(), BACKUP, "unreadable", b"detail"))
    row = databases.find(world().views.db, DATABASE)
    assert row
    assert (row.status, row.restore_code, row.restore_error) == ("running", "unreadable", b"detail")


def test_a_stop_and_a_deletion_call_a_restore_off_and_a_start_does_not() -> None:
    restoring()
    intent = last()
    when(StartDatabase(**IT))
    then()
    when(StopDatabase(**IT))
    then(DatabaseWorkSuperseded(intent), DatabaseStopRequested())
    given(DatabaseWorkSuperseded(last()))
    when(DeleteDatabase(**IT, purge_us=9))
    then(DatabaseDeleteRequested(9))


# removing


@pytest.mark.parametrize("before", [verified, failed])
def test_one_that_has_ended_is_removed_once(before: object) -> None:
    before()  # type: ignore[operator]
    when(REMOVE)
    then(DatabaseBackupRemoveRequested())
    when(REMOVE)
    then()
    given(DatabaseBackupRemoved(last()))
    assert database_backups.find(world().views.db, BACKUP) is None
    when(REMOVE)
    then_rejected("backup_not_found")


@pytest.mark.parametrize("before", [requested, taken])
def test_one_under_way_is_called_off_and_removed(before: object) -> None:
    before()  # type: ignore[operator]
    intent = last()
    when(REMOVE)
    then(DatabaseBackupFailed(intent, "cancelled"), DatabaseBackupRemoveRequested())


def test_none_is_removed_while_its_database_is_restored() -> None:
    restoring()
    when(REMOVE)
    then_rejected("backup_in_use")


def test_one_is_removed_by_the_path_of_its_own_database_only() -> None:
    verified()
    when(RemoveBackup(tenant_id=TENANT, database_id=OTHER_DATABASE, backup_id=BACKUP))
    then_rejected("backup_not_found")
