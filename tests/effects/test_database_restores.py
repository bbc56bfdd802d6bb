"""A restore leaves the old or the new, whole, whatever dies or fails on the way."""

import pytest

from ahplat.commands.databases import DeleteDatabase, StartDatabase, StopDatabase
from events.databases import DatabaseRestoreFailed
from tests.effects.databases_world import Databases
from tests.effects.world import TENANT, World

OLD, NEW = b"as it was backed up", b"as it has become"
METHODS = (
    "inspect",
    "end_execution",
    "execute",
    "pipe",
    "fetch",
    "ensure_volume",
    "find_or_start",
    "remove",
    "remove_volume",
)


@pytest.fixture
def db(world: World, monkeypatch: pytest.MonkeyPatch) -> Databases:
    return Databases(world, monkeypatch)


async def backed_up(db: Databases, kind: str = "postgres") -> None:
    """A new one, with a backup of what it holds."""
    await db.create(kind=kind)
    await db.world.settled()
    db.held = OLD
    await db.back_up()
    await db.world.settled()
    assert db.backup.status == "verified"


@pytest.fixture(params=["postgres", "redis"])
async def changed(db: Databases, request: pytest.FixtureRequest) -> Databases:
    """One that holds something else than what its backup does, of each kind."""
    await backed_up(db, request.param)
    db.held = NEW
    db.world.engine.calls.clear()
    return db


async def is_at(db: Databases, calls: int) -> bool:
    """Has it restored slowly; whether it is not done when the engine was called so often."""
    db.held = NEW
    db.world.engine.lag_s = dict.fromkeys(METHODS, 1.0)
    db.world.engine.calls.clear()
    await db.restore()
    await db.world.until(lambda: len(db.world.engine.calls) >= calls or db.row.status == "running", every_s=0.01)
    return db.row.status != "running"


def nothing_is_left(db: Databases) -> None:
    """No scratch, nothing beside the database, no master, nothing that runs."""
    volume = f"ah-db-{db.database_id}"
    assert (db.scratches, db.world.host.executing, db.contents.master) == ([], {}, {})
    assert sorted(db.contents.databases[volume]) == ["postgres", "u_orders"]
    assert db.volumes == [volume]
    assert len(db.servers) == 1


async def test_it_serves_what_it_has_until_the_new_is_whole(changed: Databases) -> None:
    changed.world.engine.lag_s = {"pipe": 5.0}
    await changed.restore()
    assert (changed.row.status, changed.held) == ("restoring", NEW)
    await changed.world.called("pipe")
    assert (changed.held, changed.server.state) == (NEW, "running")
    before = changed.server.id
    await changed.world.settled()
    assert (changed.row.status, changed.held, changed.server.id) == ("running", OLD, before)
    assert changed.story()[-3:] == ["restore_requested", "attempted", "restored"]
    nothing_is_left(changed)


async def test_roles_that_a_dump_may_name_are_there_before_it_is_loaded(db: Databases) -> None:
    await db.create()
    await db.world.settled()
    await db.back_up()
    await db.world.settled()
    assert db.contents.roles == {f"ah-dbscratch-{db.backup_id}"}
    assert not [at for at in db.world.recorded() if b"make roles" in at.data]
    await db.restore()
    await db.world.settled()
    assert f"ah-db-{db.database_id}" in db.contents.roles


async def test_it_can_be_restored_again_and_from_what_was_restored(changed: Databases) -> None:
    for _ in range(2):
        changed.held = NEW
        await changed.restore()
        await changed.world.settled()
        assert changed.held == OLD
    await changed.back_up()
    await changed.world.settled()
    assert changed.backup.status == "verified"
    nothing_is_left(changed)


async def test_clients_that_come_back_at_once_are_cut_off_again(changed: Databases) -> None:
    changed.contents.clients = 3
    await changed.restore()
    await changed.world.settled()
    assert changed.held == OLD


async def test_a_redis_that_still_loads_is_its_own_master_in_the_end(changed: Databases) -> None:
    changed.contents.loading = 5
    await changed.restore()
    await changed.world.settled()
    assert (changed.row.status, changed.held) == ("running", OLD)
    nothing_is_left(changed)


async def test_what_was_dropped_altogether_is_back(db: Databases) -> None:
    await backed_up(db)
    del db.contents.databases[f"ah-db-{db.database_id}"]["u_orders"]
    await db.restore()
    await db.world.settled()
    assert (db.row.status, db.held) == ("running", OLD)
    nothing_is_left(db)


async def test_one_that_fails_leaves_what_there_was_and_says_why(changed: Databases) -> None:
    changed.contents.broken = {"pg_restore"} if changed.row.kind == "postgres" else {"redis-cli"}
    await changed.restore()
    await changed.world.until(lambda: changed.world.facts(DatabaseRestoreFailed))
    changed.contents.broken = set()
    await changed.world.settled()
    (failed,) = changed.world.facts(DatabaseRestoreFailed)
    stream = f"database-{changed.database_id}"
    assert b"no, I will not" in changed.world.keyring.unseal(TENANT, stream, "detail", failed.detail)
    assert (changed.row.status, changed.row.restore_code, changed.held) == ("running", failed.code, NEW)
    nothing_is_left(changed)


async def test_with_the_exchange_it_is_done_and_what_could_not_go_then_goes_with_the_next(db: Databases) -> None:
    await backed_up(db)
    for db.contents.kept, left in (({"ah_before"}, ["ah_before"]), (set(), [])):
        db.held = NEW
        await db.restore()
        await db.world.settled()
        assert (db.row.status, db.row.restore_code, db.held) == ("running", None, OLD)
        assert sorted(db.contents.databases[f"ah-db-{db.database_id}"]) == [*left, "postgres", "u_orders"]
    assert not db.world.facts(DatabaseRestoreFailed)
    nothing_is_left(db)


async def test_what_postgres_would_not_let_go_is_not_replaced(db: Databases) -> None:
    await backed_up(db)
    db.held, db.contents.stays = NEW, "it has a subscription"
    await db.restore()
    await db.world.settled()
    assert (db.row.status, db.row.restore_code, db.held) == ("running", "restore_failed", NEW)
    nothing_is_left(db)


@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
async def test_a_file_that_is_not_what_was_stored_is_refused(changed: Databases, harm: str) -> None:
    path = changed.world.platform.database_files.path(TENANT, changed.backup_id)
    content = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(content[:-1] if harm == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    await changed.restore()
    await changed.world.settled()
    code = "backup_missing" if harm == "gone" else "unreadable"
    assert (changed.row.status, changed.row.restore_code, changed.held) == ("running", code, NEW)
    nothing_is_left(changed)


@pytest.mark.parametrize("method", METHODS)
async def test_a_lost_reply_costs_another_look(changed: Databases, method: str) -> None:
    changed.world.engine.lose_reply(method, 2)
    await changed.restore()
    await changed.world.settled()
    assert (changed.row.status, changed.held) == ("running", OLD)
    nothing_is_left(changed)


async def test_a_server_that_dies_at_any_call_of_the_engine_comes_to_the_restore_all_the_same(
    changed: Databases,
) -> None:
    calls = 0
    while await is_at(changed, calls := calls + 1):
        assert changed.held in (NEW, OLD)
        await changed.world.restart()
        await changed.world.settled()
        assert (changed.row.status, changed.held) == ("running", OLD), calls
        nothing_is_left(changed)
    assert calls > 8
    changed.world.check()


async def test_what_was_written_after_the_exchange_is_kept_though_the_server_dies_before_it_can_say_so(
    db: Databases,
) -> None:
    await db.create()
    await db.world.settled()
    await db.back_up()
    await db.world.settled()
    db.held = NEW
    db.world.engine.lag_s = dict.fromkeys(METHODS, 1.0)
    await db.restore()
    await db.world.until(lambda: db.held == b"", every_s=0.1)
    db.held = b"written since"
    await db.world.restart()
    await db.world.settled()
    assert (db.row.status, db.held) == ("running", b"written since")
    nothing_is_left(db)


async def test_a_redis_takes_no_writes_before_it_has_the_new_for_good(db: Databases) -> None:
    await db.create(kind="redis")
    await db.world.settled()
    await db.back_up()
    await db.world.settled()
    db.world.engine.executed.clear()
    await db.restore()
    await db.world.settled()
    said = [argv[4:] for argv in db.world.engine.executed if len(argv) > 4]
    assert (
        said.index(("INFO", "persistence"))
        < len(said) - 1 - said[::-1].index(("REPLICAOF", "NO", "ONE"))
        == len(said) - 1
    )


async def test_a_stop_or_a_deletion_at_any_call_of_the_engine_calls_it_off(changed: Databases) -> None:
    calls = 0
    while await is_at(changed, calls := calls + 1):
        await changed.order(StopDatabase)
        changed.world.engine.lag_s = {}
        await changed.world.settled()
        assert (changed.row.status, changed.servers, changed.scratches) == ("stopped", [], [])
        assert changed.held in (NEW, OLD), calls
        await changed.order(StartDatabase)
        await changed.world.settled()
        assert changed.row.status == "running"
    await changed.order(DeleteDatabase, purge_us=changed.world.clock.now_us(), purge=True)
    await changed.world.settled()
    assert changed.volumes == []


async def test_a_database_that_crashes_meanwhile_is_repaired_and_the_restore_has_failed(changed: Databases) -> None:
    changed.world.engine.lag_s = {"pipe": 5.0}
    await changed.restore()
    await changed.world.called("pipe")
    changed.world.host.crash(changed.server.id, 137)
    await changed.world.settled()
    await changed.world.later(120)
    await changed.world.settled()
    assert (changed.row.status, changed.server.state, changed.held) == ("running", "running", NEW)
    (failed,) = changed.world.facts(DatabaseRestoreFailed)
    assert (changed.row.last_error_code, changed.row.restore_code) == (None, failed.code)
    assert changed.scratches == []
