"""A database from its making to the end of its volume, whatever dies or is changed in between."""

import pytest

from ahplat import limits
from ahplat.commands.databases import DeleteDatabase, StartDatabase, StopDatabase, UndeleteDatabase
from ahplat.commands.tenants import ReactivateTenant, RequestErasure, SuspendTenant
from ahplat.effects.database_specs import CAPABILITIES, connection_string
from ahplat.engines.engine import Mount, Network, Volume
from ahplat.errors import EngineAway, Unavailable
from events.databases import DatabaseCrashed, DatabaseDrifted, DatabaseStarted, DatabaseStartFailed
from events.keys import KeyCreated
from projections import databases, tenants
from tests.effects.databases_world import PASSWORD, Databases
from tests.effects.world import INSTALLATION, TENANT, World

DAY_S = limits.DB_RETENTION_S


@pytest.fixture
def db(world: World, monkeypatch: pytest.MonkeyPatch) -> Databases:
    return Databases(world, monkeypatch)


@pytest.fixture
async def running(db: Databases) -> Databases:
    """One that runs, and was looked at."""
    await db.create()
    await db.world.settled()
    await db.world.later(5)
    return db


async def delete(db: Databases, kept_s: float = DAY_S) -> None:
    await db.order(DeleteDatabase, purge_us=db.world.clock.now_us() + int(kept_s * 1e6))


def name_of(db: Databases) -> str:
    return f"ah-db-{db.database_id}"


# making


async def test_a_new_database_runs_once_it_answered_a_query(db: Databases) -> None:
    await db.create()
    assert db.row.status == "provisioning"
    await db.world.settled()
    assert db.story() == ["create_requested", "attempted", "started"]
    assert (db.row.status, db.row.host, db.row.host_port) == ("running", "10.128.0.62", 5432)
    assert db.asked == [("10.128.0.62", 5432, PASSWORD)]


async def test_its_server_is_made_of_exactly_this(running: Databases) -> None:
    spec = running.world.host.specs[running.server.id]
    tenant = tenants.find(running.world.views, TENANT)
    assert tenant
    assert spec.name == name_of(running)
    assert spec.env == {
        "POSTGRES_USER": "u_orders",
        "POSTGRES_PASSWORD": PASSWORD,
        "POSTGRES_DB": "u_orders",
        "PGDATA": "/var/lib/postgresql/data",
        "PORT": "5432",
    }
    assert (spec.memory_mb, spec.cpu_milli, spec.port, spec.egress) == (512, 1000, 5432, None)
    assert spec.network == Network(f"ah-tenant-{TENANT}", "aha" + "a" * 11, tenant.subnet, INSTALLATION, TENANT)
    assert (spec.address, spec.stop_signal, spec.command, spec.hosts) == ("10.128.0.62", "SIGINT", (), {})
    assert spec.mounts == (Mount(name_of(running), "/var/lib/postgresql/data"),)
    assert spec.capabilities == CAPABILITIES
    identity = spec.identity
    assert (identity.service, identity.deployment, identity.database) == ("", "", running.database_id)
    assert running.world.host.volumes == {name_of(running): Volume(name_of(running), INSTALLATION, TENANT)}


async def test_no_password_is_in_the_clear_in_the_log(running: Databases) -> None:
    assert not [at for at in running.world.recorded() if PASSWORD.encode() in at.data]


async def test_one_that_never_answers_has_failed_within_its_time_and_nothing_of_it_runs(db: Databases) -> None:
    db.silent = True
    began = db.world.loop.now
    await db.create()
    await db.world.settled()
    assert limits.DATABASE_DEADLINE_S - 2 < db.world.loop.now - began <= limits.DATABASE_DEADLINE_S + 1
    assert (db.row.status, db.row.last_error_code, db.servers) == ("failed", "unready", [])


async def test_one_that_ends_by_itself_has_failed_and_says_why_to_its_tenant_only(db: Databases) -> None:
    db.world.image("postgres:16-alpine", exit_code=3, output=("no room",))
    await db.create()
    await db.world.settled()
    (failed,) = db.world.facts(DatabaseStartFailed)
    assert (db.row.status, failed.code, db.servers) == ("failed", "crashed", [])
    stream = f"database-{db.database_id}"
    assert db.world.keyring.unseal(TENANT, stream, "tail", failed.tail) == b"no room\n"


async def test_one_that_never_ran_begins_anew_on_an_empty_volume(db: Databases) -> None:
    db.silent = True
    await db.create()
    await db.world.settled()
    db.silent = False
    db.world.engine.calls.clear()
    await db.order(StartDatabase)
    await db.world.settled()
    assert db.row.status == "running"
    assert ("remove_volume", name_of(db)) in db.world.engine.calls


async def test_a_service_is_started_with_the_names_of_the_databases_that_exist(running: Databases) -> None:
    world = running.world
    await world.create()
    await world.settled()
    (instance,) = world.instances
    assert world.host.specs[instance.id].hosts == {"orders.db.internal": "10.128.0.62"}


async def test_a_database_that_comes_later_is_no_reason_to_replace_a_service(db: Databases) -> None:
    world = db.world
    await world.create()
    await world.settled()
    before = world.instances
    await db.create()
    await world.settled()
    await world.later(3 * limits.RECONCILE_S)
    assert world.instances == before
    assert world.work == []


async def test_the_string_names_the_fixed_address_where_there_are_networks(running: Databases) -> None:
    assert connection_string(running.row, "a/b") == "postgres://u_orders:a%2Fb@orders.db.internal:5432/u_orders"


# what goes wrong


async def test_a_server_that_was_killed_comes_back_with_its_volume(running: Databases) -> None:
    running.world.host.crash(running.server.id, 137)
    await running.world.until(lambda: running.world.facts(DatabaseCrashed))
    assert running.row.status == "unavailable"
    await running.world.settled()
    assert (running.row.status, running.server.state, running.volumes) == ("running", "running", [name_of(running)])
    assert ("remove_volume", name_of(running)) not in running.world.engine.calls[8:]


async def test_a_server_that_was_removed_comes_back_with_its_volume(running: Databases) -> None:
    before = running.server.id
    removals = running.world.engine.calls.count(("remove_volume", name_of(running)))
    running.world.host.vanish(before)
    await running.world.until(lambda: running.world.facts(DatabaseDrifted))
    await running.world.settled()
    assert (running.row.status, running.server.state) == ("running", "running")
    assert running.server.id == running.row.container_id != before
    assert running.world.engine.calls.count(("remove_volume", name_of(running))) == removals


async def test_a_server_that_was_renamed_goes_on_and_gets_its_name_back(running: Databases) -> None:
    """A second one beside it would write to the same volume."""
    before = running.server
    running.world.host.rename(before.id, "mine")
    await running.world.until(lambda: running.world.facts(DatabaseDrifted))
    await running.world.settled()
    (drifted,) = running.world.facts(DatabaseDrifted)
    assert (drifted.finding, drifted.instance) == ("renamed", before.id)
    assert (running.row.status, running.servers) == ("running", [before])


async def test_an_end_that_nobody_watched_is_no_crash(running: Databases) -> None:
    running.world.engine.silent = True
    running.world.engine.cut_watches()
    running.world.host.crash(running.server.id, 137)
    await running.world.later(2 * limits.RECONCILE_S)
    await running.world.settled()
    assert running.world.facts(DatabaseCrashed) == []
    assert running.row.status == "running"


async def test_one_that_crashes_again_and_again_has_failed_until_somebody_asks(running: Databases) -> None:
    for _ in range(limits.CRASHES):
        running.world.host.crash(running.server.id, 1)
        await running.world.later(0.1)
        await running.world.settled()
    assert running.row.status == "failed"
    await running.world.later(10 * limits.RECONCILE_S)
    assert running.row.status == "failed"
    await running.order(StartDatabase)
    await running.world.settled()
    assert running.row.status == "running"


async def test_a_slow_start_of_one_that_holds_data_is_waited_for_and_not_killed(running: Databases) -> None:
    running.silent = True
    running.world.host.crash(running.server.id, 137)
    await running.world.until(lambda: len(running.world.facts(DatabaseStartFailed)) == 1)
    assert running.server.state == "running"
    running.silent = False
    await running.world.settled()
    assert running.row.status == "running"


@pytest.mark.parametrize(
    "method", ["fetch", "ensure_network", "list_databases", "ensure_volume", "find_or_start", "inspect"]
)
async def test_a_lost_reply_costs_another_look_never_another_server(db: Databases, method: str) -> None:
    db.world.engine.lose_reply(method, 2)
    await db.create()
    await db.world.settled()
    assert (db.row.status, len(db.servers), db.volumes) == ("running", 1, [name_of(db)])
    assert len(db.world.facts(DatabaseStarted)) == 1


@pytest.mark.parametrize("method", ["stop", "remove", "remove_volume", "list_databases"])
async def test_an_end_is_come_to_though_the_engine_errs(running: Databases, method: str) -> None:
    running.world.engine.fail(method, Unavailable("engine_error", "500"), EngineAway("a reset connection"))
    await delete(running, kept_s=0)
    await running.world.settled()
    assert (running.row.desired, running.servers, running.volumes) == ("purged", [], [])


async def test_a_server_of_the_platform_that_dies_at_any_step_leaves_one_container_and_one_volume(
    db: Databases,
) -> None:
    steps = ("fetch", "ensure_network", "list_databases", "ensure_volume", "find_or_start", "inspect")
    for n, step in enumerate(steps):
        db.world.engine.lag_s = {step: 3.0}
        await db.create(f"orders{n}")
        await db.world.called(step)
        await db.world.restart()
        await db.world.settled()
        assert (db.row.status, len(db.servers)) == ("running", 1), step
        assert name_of(db) in db.volumes
        await delete(db, kept_s=0)
        await db.world.settled()
        assert (db.servers, db.volumes) == ([], [])


async def test_a_server_of_the_platform_that_dies_while_one_is_deleted_goes_on_with_it(running: Databases) -> None:
    for step in ("stop", "remove"):
        running.world.engine.lag_s = {step: 3.0}
        await delete(running)
        await running.world.called(step)
        await running.world.restart()
        await running.world.until(lambda: "deleted" in running.story()[-1:])
        assert (running.servers, running.volumes) == ([], [name_of(running)])
        await running.order(UndeleteDatabase)
        await running.world.settled()


async def test_a_stray_server_is_stopped(running: Databases) -> None:
    world, spec = running.world, running.world.host.specs[running.server.id]
    await running.order(StopDatabase)
    await world.settled()
    await world.later(1)
    image = await world.engine.fetch("postgres:16-alpine", lambda: False)
    await world.engine.find_or_start(spec, image)
    await world.later(limits.RECONCILE_S)
    await world.settled()
    assert (running.servers, running.row.status) == ([], "stopped")


# ending


async def test_a_deleted_ones_volume_is_kept_for_its_time_and_goes_by_itself(running: Databases) -> None:
    await delete(running)
    await running.world.until(lambda: running.story()[-1] == "deleted")
    assert (running.servers, running.volumes) == ([], [name_of(running)])
    await running.world.later(DAY_S - 60)
    assert running.volumes == [name_of(running)]
    await running.world.later(120)
    assert (running.row.desired, running.volumes) == ("purged", [])


async def test_its_time_is_kept_over_a_restart_of_the_server(running: Databases) -> None:
    await delete(running)
    await running.world.until(lambda: running.story()[-1] == "deleted")
    await running.world.later(DAY_S / 2)
    await running.world.restart()
    await running.world.later(DAY_S / 2 - 60)
    assert running.volumes == [name_of(running)]
    await running.world.later(120)
    assert running.volumes == []


async def test_undeleted_it_runs_on_its_volume_at_its_address(running: Databases) -> None:
    address = running.row.address
    await delete(running)
    await running.world.until(lambda: running.story()[-1] == "deleted")
    removals = running.world.engine.calls.count(("remove_volume", name_of(running)))
    await running.order(UndeleteDatabase)
    await running.world.settled()
    assert (running.row.status, running.row.purge_us, running.server.host) == ("running", None, address)
    await running.world.later(2 * DAY_S)
    assert running.row.status == "running"
    assert running.world.engine.calls.count(("remove_volume", name_of(running))) == removals


async def test_undeleted_while_it_is_being_stopped_it_runs_again(running: Databases) -> None:
    running.world.engine.lag_s["stop"] = 3.0
    await delete(running)
    await running.world.called("stop")
    await running.order(UndeleteDatabase)
    await running.world.settled()
    assert (running.row.status, running.server.state) == ("running", "running")


async def test_a_purge_goes_through_at_once(running: Databases) -> None:
    began = running.world.loop.now
    await running.order(DeleteDatabase, purge_us=running.world.clock.now_us(), purge=True)
    await running.world.settled()
    assert (running.row.desired, running.servers, running.volumes) == ("purged", [], [])
    assert running.world.loop.now - began < 1


async def test_a_delete_in_the_middle_of_the_making_leaves_nothing(db: Databases) -> None:
    db.silent = True
    await db.create()
    await db.world.until(lambda: db.servers)
    await delete(db, kept_s=0)
    await db.world.settled()
    assert (db.row.desired, db.servers, db.volumes) == ("purged", [], [])


# tenants


async def test_a_suspension_stops_databases_and_a_reactivation_starts_them(running: Databases) -> None:
    world = running.world
    await world.submit(SuspendTenant(tenant_id=TENANT))
    await world.settled()
    assert (running.row.status, running.servers, running.volumes) == ("stopped", [], [name_of(running)])
    key = KeyCreated(key_id="k2", name=b"name", digest=b"digest", scopes=["admin"])
    await world.submit(ReactivateTenant(tenant_id=TENANT, key=key))
    await world.settled()
    assert (running.row.status, running.server.state) == ("running", "running")


async def test_an_erasure_takes_databases_and_the_volumes_of_deleted_ones(running: Databases) -> None:
    world = running.world
    await delete(running)
    await world.until(lambda: running.story()[-1] == "deleted")
    await running.create("second")
    await world.until(lambda: running.row.status == "running")
    await world.submit(RequestErasure(tenant_id=TENANT))
    await world.settled()
    assert (world.host.instances, world.host.volumes, world.host.networks) == ({}, {}, {})
    assert databases.kept_of(world.views, TENANT) == []
    assert tenants.status_of(world.views, TENANT) == "erased"
    assert running.story().count("delete_requested") == 1
