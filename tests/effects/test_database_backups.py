"""A backup of a database counts once it was restored for proof, whatever dies or fails on the way to that."""

import pytest
from msgspec import structs

from ahplat import limits
from ahplat.commands.database_backups import RemoveBackup
from ahplat.commands.databases import DeleteDatabase, StopDatabase
from ahplat.commands.tenants import RequestErasure, SuspendTenant
from ahplat.effects.database_backups import has_turn
from ahplat.engines.engine import Mount
from events.database_backups import DatabaseBackupFailed, DatabaseBackupTaken
from projections import database_backups, todo
from tests.effects.database_contents import ARCHIVE
from tests.effects.databases_world import PASSWORD, Databases
from tests.effects.world import TENANT, World

SECRET = b"what nobody is to read" * 100
STEPS = (
    *("inspect", "end_execution", "pipe", "list_databases", "remove_volume", "fetch", "ensure_network"),
    *("ensure_volume", "find_or_start", "execute", "remove"),
)


@pytest.fixture
def db(world: World, monkeypatch: pytest.MonkeyPatch) -> Databases:
    return Databases(world, monkeypatch)


@pytest.fixture(params=["postgres", "redis"])
async def running(db: Databases, request: pytest.FixtureRequest) -> Databases:
    """One that runs and holds something, of each kind."""
    await db.create(kind=request.param)
    await db.world.settled()
    db.held = SECRET
    return db


async def backed_up(db: Databases) -> None:
    await db.back_up()
    await db.world.settled()


# taking and proving


async def test_a_backup_is_verified_once_it_was_restored_and_queried(running: Databases) -> None:
    await running.back_up()
    assert running.backup.status == "pending"
    await running.world.settled()
    row = running.backup
    counted = (0, 0, len(SECRET)) if running.row.kind == "redis" else (2, len(SECRET), 0)
    assert (row.status, row.tables, row.rows, row.keys) == ("verified", *counted)
    assert running.files == [running.backup_id]
    assert (running.scratches, running.world.host.executing, running.world.work) == ([], {}, [])
    assert running.held == SECRET


async def test_what_lies_there_is_sealed_and_as_large_as_the_event_says(running: Databases) -> None:
    await backed_up(running)
    path = running.world.platform.database_files.path(TENANT, running.backup_id)
    (taken,) = running.world.facts(DatabaseBackupTaken)
    content = path.read_bytes()
    assert (len(content), running.backup.size) == (taken.size, taken.size)
    assert not {word for word in (ARCHIVE, SECRET[:8]) if word in content}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_the_scratch_server_is_nobodys_but_the_backups(running: Databases) -> None:
    running.world.engine.lag_s = {"execute": 5.0}
    await running.back_up()
    await running.world.until(lambda: running.scratches[1:], every_s=0.1)
    (scratch,) = [one for one in running.world.host.instances.values() if one.name.startswith("ah-dbscratch-")]
    spec = running.world.host.specs[scratch.id]
    assert (spec.name, spec.identity.database) == (f"ah-dbscratch-{running.backup_id}", running.backup_id)
    assert (spec.address, spec.egress, spec.mounts[0].volume) == ("", None, f"ah-dbscratch-{running.backup_id}")
    assert isinstance(spec.mounts[0], Mount) and PASSWORD not in str(spec)
    assert [one.name for one in running.servers] == [f"ah-db-{running.database_id}"]
    await running.order(RemoveBackup, backup_id=running.backup_id)
    await running.world.settled()


async def test_a_password_is_in_no_argv_and_no_event(running: Databases) -> None:
    await backed_up(running)
    await running.restore()
    await running.world.settled()
    secrets = {PASSWORD} | {env.get("REDIS_PASSWORD", PASSWORD) for env in running.world.host.env.values()}
    assert not [argv for argv in running.world.engine.executed if any(secret in str(argv) for secret in secrets)]
    assert not [at for at in running.world.recorded() if PASSWORD.encode() in at.data]


async def test_one_that_cannot_be_taken_has_failed_and_leaves_nothing(running: Databases) -> None:
    running.contents.broken = {"pg_dump", "redis-cli"}
    await backed_up(running)
    (failed,) = running.world.facts(DatabaseBackupFailed)
    assert (running.backup.status, failed.code) == ("failed", "dump_failed")
    detail = running.world.keyring.unseal(TENANT, f"backup-{running.backup_id}", "detail", failed.detail)
    assert b"no, I will not" in detail
    assert (running.files, running.scratches, running.row.status) == ([], [], "running")


async def test_one_that_cannot_be_restored_never_counts(running: Databases) -> None:
    running.contents.broken = {"pg_restore"}
    running.world.engine.lag_s = {"find_or_start": 3.0}
    await running.back_up()
    await running.world.until(lambda: running.backup.status == "verifying")
    if running.row.kind == "redis":
        running.contents.broken = {"redis-cli"}
    await running.world.settled()
    assert running.backup.status == "failed"
    assert (running.files, running.scratches) == ([], [])


async def test_a_file_that_was_changed_before_it_was_proved_has_failed(running: Databases) -> None:
    running.world.engine.lag_s = {"find_or_start": 3.0}
    await running.back_up()
    await running.world.until(lambda: running.backup.status == "verifying")
    path = running.world.platform.database_files.path(TENANT, running.backup_id)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    await running.world.settled()
    assert (running.backup.status, running.backup.error_code) == ("failed", "unreadable")


async def test_a_dump_that_does_not_come_to_an_end_is_ended_at_its_deadline(running: Databases) -> None:
    running.contents.hung = {"pg_dump", "redis-cli"}
    began = running.world.loop.now
    await backed_up(running)
    assert limits.DATABASE_BACKUP_DEADLINE_S <= running.world.loop.now - began < limits.DATABASE_BACKUP_DEADLINE_S + 60
    assert (running.backup.status, running.backup.error_code) == ("failed", "deadline")
    assert (running.files, running.world.host.executing, running.row.status) == ([], {}, "running")


async def test_what_an_earlier_attempt_left_running_is_ended_before_another_begins(running: Databases) -> None:
    await backed_up(running)
    methods = [method for method, _ in running.world.engine.calls]
    assert ("end_execution", running.backup_id) in running.world.engine.calls
    assert methods.index("end_execution") < methods.index("pipe")


async def test_a_full_disk_fails_it_and_frees_what_it_took(running: Databases) -> None:
    running.world.platform.database_files._full_percent = 0
    await backed_up(running)
    assert (running.backup.status, running.backup.error_code, running.files) == ("failed", "disk_full", [])


async def test_a_database_that_is_stopped_meanwhile_fails_it(running: Databases) -> None:
    running.contents.hung = {"pg_dump", "redis-cli"}
    await running.back_up()
    await running.world.called("pipe")
    await running.order(StopDatabase)
    await running.world.settled()
    assert (running.row.status, running.backup.status) == ("stopped", "failed")
    assert (running.backup.error_code, running.files) == ("database_not_running", [])


async def test_a_database_that_crashes_meanwhile_is_backed_up_when_it_is_back(running: Databases) -> None:
    running.contents.hung = {"pg_dump", "redis-cli"}
    await running.back_up()
    await running.world.called("pipe")
    running.contents.hung = set()
    running.world.host.crash(running.server.id, 137)
    await running.world.settled()
    assert (running.row.status, running.backup.status) == ("running", "verified")


async def test_a_tenant_has_one_under_way_and_its_others_wait(db: Databases) -> None:
    db.contents.hung = {"pg_dump"}
    ids = []
    for name in ("one", "two", "three"):
        await db.create(name)
        await db.world.until(lambda: db.row.status == "running")
        ids.append(await db.back_up())
    await db.world.later(60)
    assert len(db.world.host.executing) == 1
    db.contents.hung = set()
    for backup_id in ids[:2]:
        await db.order(RemoveBackup, backup_id=backup_id, database_id="")
    await db.world.settled()
    assert (db.backup.status, db.files) == ("verified", ids[2:])


async def test_so_many_are_under_way_at_once_of_all_tenants(running: Databases) -> None:
    running.contents.hung = {"pg_dump"} if running.row.kind == "postgres" else {"redis-cli"}
    backup_id = await running.back_up()
    (work,) = todo.open_of(running.world.views, f"backup-{backup_id}")
    busy = {f"backup-{backup_id}"} | {f"backup-of-{n}" for n in range(limits.DATABASE_BACKUPS_AT_ONCE - 2)}
    others = structs.replace(work, subject="backup-other", tenant_id="other")
    assert has_turn(running.world.views, others, busy)
    assert not has_turn(running.world.views, others, busy | {"backup-of-one-more"})
    assert not has_turn(running.world.views, structs.replace(work, subject="backup-2"), busy)


async def test_they_are_called_off_when_their_tenant_is_suspended(running: Databases) -> None:
    running.contents.hung = {"pg_restore", "pg_dump", "redis-cli"}
    await running.back_up()
    await running.world.later(60)
    await running.world.submit(SuspendTenant(tenant_id=TENANT))
    running.contents.hung = set()
    await running.world.settled()
    assert (running.scratches, running.backups, running.files) == ([], [], [])


async def test_one_with_too_many_roles_says_so(db: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DATABASE_ROLES", 0)
    await db.create()
    await db.world.settled()
    await db.back_up()
    await db.world.settled()
    assert (db.backup.status, db.backup.error_code) == ("failed", "too_many_roles")


# deaths


@pytest.mark.parametrize("step", STEPS)
async def test_a_server_that_dies_at_any_step_leaves_one_backup_and_no_scratch(running: Databases, step: str) -> None:
    running.world.engine.lag_s = {step: 3.0}
    running.world.engine.calls.clear()
    await running.back_up()
    await running.world.called(step)
    await running.world.restart()
    await running.world.settled()
    assert (running.backup.status, running.files) == ("verified", [running.backup_id])
    assert (running.scratches, running.world.host.executing) == ([], {})
    assert running.volumes == [f"ah-db-{running.database_id}"]
    running.world.check()


@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_reply_costs_another_look(running: Databases, step: str) -> None:
    running.world.engine.lose_reply(step, 2)
    await backed_up(running)
    assert (running.backup.status, running.files, running.scratches) == ("verified", [running.backup_id], [])


async def test_a_scratch_server_that_nobody_uses_is_found_and_removed(running: Databases) -> None:
    running.world.engine.lag_s = {"execute": 3.0}
    await running.back_up()
    await running.world.until(lambda: running.scratches[1:], every_s=0.1)
    (scratch,) = [one for one in running.world.host.instances.values() if one.name.startswith("ah-dbscratch-")]
    spec = running.world.host.specs[scratch.id]
    running.world.engine.lag_s = {}
    await running.world.settled()
    behaviour = running.world.host.images[running.row.image]
    running.world.host.start(running.world.host.create(spec, behaviour), spec)
    assert running.scratches
    await running.world.later(3 * limits.RECONCILE_S)
    assert running.scratches == []
    assert running.row.status == "running"


# removing


async def test_a_backup_that_is_removed_leaves_nothing(running: Databases) -> None:
    await backed_up(running)
    await running.order(RemoveBackup, backup_id=running.backup_id)
    await running.world.settled()
    assert (running.backups, running.files, running.scratches) == ([], [], [])


@pytest.mark.parametrize("step", ["pipe", "find_or_start", "execute"])
async def test_one_under_way_that_is_removed_ends_at_once(running: Databases, step: str) -> None:
    running.world.engine.lag_s = {step: 30.0}
    running.world.engine.calls.clear()
    await running.back_up()
    await running.world.called(step)
    await running.order(RemoveBackup, backup_id=running.backup_id)
    await running.world.settled()
    assert (running.backups, running.files, running.scratches) == ([], [], [])


async def test_the_newest_are_kept_and_older_ones_go(db: Databases) -> None:
    await db.create()
    await db.world.settled()
    made = []
    for _ in range(limits.DATABASE_BACKUPS_KEPT + 2):
        await backed_up(db)
        made.append(db.backup_id)
    await db.world.later(2 * limits.RECONCILE_S)
    assert [row.backup_id for row in db.backups] == made[:1:-1]
    assert db.files == sorted(made[2:])


async def test_a_failed_one_takes_no_place_of_one_that_counts(db: Databases) -> None:
    await db.create()
    await db.world.settled()
    await backed_up(db)
    good = db.backup_id
    db.contents.broken = {"pg_dump"}
    for _ in range(limits.DATABASE_BACKUPS_KEPT + 2):
        await backed_up(db)
    await db.world.later(2 * limits.RECONCILE_S)
    assert len(db.backups) == 1 + limits.DATABASE_BACKUPS_KEPT
    assert (db.backups[-1].backup_id, db.backups[-1].status, db.files) == (good, "verified", [good])


async def test_they_go_with_a_database_that_is_purged_and_stay_with_one_that_may_come_back(running: Databases) -> None:
    await backed_up(running)
    later_us = running.world.clock.now_us() + int(3_600e6)
    await running.order(DeleteDatabase, purge_us=later_us)
    await running.world.later(2 * limits.RECONCILE_S)
    assert running.files == [running.backup_id]
    await running.order(DeleteDatabase, purge_us=running.world.clock.now_us(), purge=True)
    await running.world.settled()
    await running.world.later(2 * limits.RECONCILE_S)
    assert (running.backups, running.files) == ([], [])


async def test_they_go_with_their_tenant_at_once(running: Databases) -> None:
    await backed_up(running)
    await running.world.submit(SuspendTenant(tenant_id=TENANT))
    await running.world.settled()
    await running.world.later(5)  # until the first look is over
    began = running.world.loop.now
    await running.world.submit(RequestErasure(tenant_id=TENANT))
    await running.world.settled()
    assert running.world.loop.now - began < 5
    assert database_backups.of_tenant(running.world.views, TENANT) == []
    assert not (running.world.folder / "backups" / "databases" / TENANT).exists()
