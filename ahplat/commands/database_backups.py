"""What may happen to backups of databases, and when one may take the place of what its database holds.

A database has one backup under way at most, and none while it is being restored: that would hold neither what was there
before nor what comes.
"""

from apsw import Connection
from msgspec import Struct

from ahplat.commands.command import Command, Decision
from ahplat.commands.databases import RESTORE, DatabaseCommand, DatabaseState, load_there
from ahplat.commands.databases import STREAM as DATABASE_STREAM
from ahplat.commands.services import check_active, check_storage
from ahplat.errors import Rejected
from events.database_backups import DatabaseBackupFailed, DatabaseBackupRemoveRequested, DatabaseBackupRequested
from events.databases import DatabaseRestoreRequested
from events.event import Event
from projections import database_backups, todo
from projections.database_backups import BackupRow

STREAM = "backup-{0.backup_id}"


class BackupState(Struct, frozen=True):
    """A database, and its backups."""

    state: DatabaseState
    backups: list[BackupRow]


def load_backups(views: Connection, command: DatabaseCommand) -> BackupState:
    state = load_there(views, command)
    return BackupState(state, database_backups.list_of(views, command.database_id))


def check_runs(state: DatabaseState) -> None:
    """Whether the database can be read and written now."""
    check_active(state.beside.holdings)
    if any(work.type == RESTORE for work in state.open):
        raise Rejected("database_restoring", "the database is being restored from a backup")
    if state.database.status != "running":
        raise Rejected("database_not_running", f"the database is {state.database.status}")


class RequestBackup(DatabaseCommand, frozen=True, kw_only=True):
    """What is in the database is to be kept."""

    backup_id: str


def request(state: BackupState, command: RequestBackup) -> list[Event]:
    check_runs(state.state)
    if under_way := [row for row in state.backups if row.is_open]:
        raise Rejected("backup_under_way", f"backup {under_way[0].backup_id} is {under_way[0].status}")
    check_storage(state.state.beside.holdings)
    return [DatabaseBackupRequested(command.database_id)]


class RemoveBackup(Command, frozen=True, kw_only=True):
    """A backup is to go; one that is under way is called off. `database_id` is whose it has to be, "" for any."""

    backup_id: str
    database_id: str = ""


class RemovalState(Struct, frozen=True):
    """The backup, and whether its database is being restored from it, or is about to be."""

    backup: BackupRow
    is_used: bool


def load_removal(views: Connection, command: RemoveBackup) -> RemovalState:
    row = database_backups.find(views, command.backup_id)
    if row is None or row.tenant_id != command.tenant_id or command.database_id not in ("", row.database_id):
        raise not_found(command.backup_id)
    open_work = todo.open_of(views, f"database-{row.database_id}")
    return RemovalState(row, any(work.type == RESTORE for work in open_work))


def not_found(backup_id: str) -> Rejected:
    return Rejected("backup_not_found", f"there is no backup {backup_id[:64]}")


def remove(state: RemovalState, _: RemoveBackup) -> list[Event]:
    row = state.backup
    if row.status == "removing":
        return []
    if state.is_used and row.status == "verified":
        raise Rejected("backup_in_use", "the database is being restored, it may be from this backup")
    called_off = [DatabaseBackupFailed(row.intent, "cancelled")] if row.is_open else []
    return [*called_off, DatabaseBackupRemoveRequested()]


class RestoreDatabase(DatabaseCommand, frozen=True, kw_only=True):
    """What is in the database is to be what is in one of its backups."""

    backup_id: str


def restore(state: BackupState, command: RestoreDatabase) -> list[Event]:
    backup = next((row for row in state.backups if row.backup_id == command.backup_id), None)
    if backup is None:
        raise not_found(command.backup_id)
    if backup.status != "verified":
        raise Rejected("backup_not_verified", f"the backup is {backup.status}")
    check_runs(state.state)
    if any(row.status == "pending" for row in state.backups):
        raise Rejected("backup_under_way", "a backup of what the database holds now is being taken")
    return [DatabaseRestoreRequested(command.backup_id)]


COMMANDS: dict[type[Command], Decision] = {
    RequestBackup: Decision(load_backups, request, STREAM),
    RemoveBackup: Decision(load_removal, remove, STREAM, frees=True),
    RestoreDatabase: Decision(load_backups, restore, DATABASE_STREAM),
}
