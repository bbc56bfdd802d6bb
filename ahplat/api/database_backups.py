"""Backups of databases over HTTP: a backup counts once it is verified, and only then can it be restored."""

from typing import Annotated, Literal, get_args

from apsw import Connection
from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat.answers import Answer
from ahplat.api.call import Call, Reply, answer, json_reply
from ahplat.api.databases import Database, find, order
from ahplat.api.fields import At, Id
from ahplat.api.query import Paged, Waits
from ahplat.api.route import Route
from ahplat.api.waiting import waited
from ahplat.commands.database_backups import RemoveBackup, RequestBackup, RestoreDatabase, not_found
from projections import database_backups
from projections.database_backups import BackupRow

Status = Literal["pending", "verifying", "verified", "failed", "removing"]
STATUSES: tuple[Status, ...] = get_args(Status)
StatusText = Annotated[str, Meta(extra_json_schema={"enum": STATUSES})]


class Backup(Struct, frozen=True):
    """A backup; what there is none of is absent. `bytes` and `sha256` are of its file as it lies there, sealed.

    `tables` and `rows` (as ANALYZE counts them), or `keys`, are what was found in it when it had been restored for proof.
    """

    id: Id
    database_id: Id
    tenant_id: Id
    status: StatusText
    created_at: At
    bytes: int | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    tables: int | UnsetType = UNSET
    rows: int | UnsetType = UNSET
    keys: int | UnsetType = UNSET
    taken_at: At | UnsetType = UNSET
    finished_at: At | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


def render(call: Call, row: BackupRow, kind: str) -> Backup:
    """The public form of a backup's row; `kind` is its database's."""
    is_verified = row.status == "verified"
    return Backup(
        id=row.backup_id,
        database_id=row.database_id,
        tenant_id=row.tenant_id,
        status=row.status,
        created_at=row.created_at,
        bytes=UNSET if row.size is None else row.size,
        sha256=row.sha256 or UNSET,
        tables=row.tables if is_verified and kind == "postgres" else UNSET,
        rows=row.rows if is_verified and kind == "postgres" else UNSET,
        keys=row.keys if is_verified and kind == "redis" else UNSET,
        taken_at=row.taken_at or UNSET,
        finished_at=row.finished_at or UNSET,
        error_code=row.error_code or UNSET,
        error=_error(call, row),
    )


def _error(call: Call, row: BackupRow) -> str | UnsetType:
    if row.error_code is None:
        return UNSET
    return call.unsealed(row.tenant_id, f"backup-{row.backup_id}", "detail", row.error) or row.error_code


def find_backup(call: Call) -> BackupRow:
    """The caller's backup that the path names. Raises Rejected, the same for another tenant's as for none."""
    database = find(call, call.views, call.path_id())
    row = database_backups.find(call.views, call.path_id(1))
    if row is None or row.database_id != database.database_id:
        raise not_found(call.path_id(1))
    return row


async def list_of_database(call: Call) -> Reply:
    """A database's backups, newest first."""
    database = find(call, call.views, call.path_id())
    page = call.page("database_backups", call.asked(Paged))
    rows = database_backups.list_of(call.views, database.database_id, page.limit, page.offset, page.before)
    last = rows[-1].backup_id if rows else ""
    return call.listing("database_backups", page, [render(call, row, database.kind) for row in rows], last)


class AskedOfOne(Waits):
    """What to wait for."""

    wait: Annotated[Status, Meta(description="answer as soon as the backup has this status")] | UnsetType = UNSET


async def get(call: Call) -> Reply:
    """One backup; with `?wait=<status>&timeout=<s>` as soon as it has that status, or has ended, or as it is by then."""
    row = find_backup(call)
    asked = call.asked(AskedOfOne)
    if wanted := asked.wait:
        await call.app.hub.until(f"backup-{row.backup_id}", lambda: _has_come_to(call, wanted), asked.timeout)
        row = find_backup(call)
    return json_reply(render(call, row, find(call, call.views, row.database_id).kind), ETag=call.etag(row.version))


def _has_come_to(call: Call, wanted: str) -> bool:
    row = database_backups.find(call.views, call.path_id(1))
    return row is None or row.status == wanted or not row.is_open


async def create(call: Call) -> Reply:
    """Has a backup taken, and proved by restoring it into a server of its own."""
    database = find(call, call.views, call.path_id())
    backup_id = call.new_id()
    command = RequestBackup(tenant_id=call.tenant_id, database_id=database.database_id, backup_id=backup_id)

    def rendered(views: Connection) -> Answer:
        row = database_backups.find(views, backup_id)
        assert row
        location = f"/v1/databases/{row.database_id}/backups/{backup_id}"
        return answer(render(call, row, database.kind), 202, location, row.version)

    reply = call.reply(await call.submit(command, rendered))
    if await waited(call, f"backup-{backup_id}", reply):
        row = database_backups.find(call.views, backup_id)
        if row is not None:
            reply.body = json_reply(render(call, row, database.kind)).body
            reply.headers["ETag"] = call.etag(row.version)
    return reply


async def remove(call: Call) -> Reply:
    """Removes a backup; one that is under way is called off."""
    command = RemoveBackup(tenant_id=call.tenant_id, backup_id=call.path_id(1), database_id=call.path_id())
    return await call.order(command, lambda _: None, 204)


class Restore(Struct):
    """Which of the database's backups."""

    backup_id: Id


async def restore(call: Call) -> Reply:
    """Puts what is in a verified backup in the place of all that the database holds; until then it serves what it has."""
    database_id, body = call.path_id(), call.body(Restore)
    command = RestoreDatabase(tenant_id=call.tenant_id, database_id=database_id, backup_id=body.backup_id)
    return await order(call, command, database_id, 202, f"/v1/databases/{database_id}")


_DATABASE = "/v1/databases/{database_id}"
_BACKUPS = f"{_DATABASE}/backups"
ROUTES = [
    Route(
        "POST",
        _BACKUPS,
        create,
        "create_backup",
        scope="deploy",
        answer=Backup,
        status=202,
        codes=("backup_under_way", "database_not_running", "database_restoring", "quota_exceeded"),
        versioned=True,
        waits=True,
        grows=True,
    ),
    Route("GET", _BACKUPS, list_of_database, "list_backups", as_of=True, query=Paged, answer=list[Backup]),
    Route(
        "GET",
        f"{_BACKUPS}/{{backup_id}}",
        get,
        "get_backup",
        as_of=True,
        query=AskedOfOne,
        answer=Backup,
        versioned=True,
    ),
    Route(
        "DELETE",
        f"{_BACKUPS}/{{backup_id}}",
        remove,
        "delete_backup",
        scope="deploy",
        status=204,
        codes=("backup_in_use",),
        destroys=True,
    ),
    Route(
        "POST",
        f"{_DATABASE}/restore",
        restore,
        "restore_database",
        scope="deploy",
        body=Restore,
        answer=Database,
        status=202,
        codes=(
            "backup_not_found",
            "backup_not_verified",
            "backup_under_way",
            "database_not_running",
            "database_restoring",
        ),
        versioned=True,
        destroys=True,
        waits=True,
        grows=True,
    ),
]
