"""The views of the past: what one tenant's events make of it is what the whole log makes of it."""

from collections import Counter

import pytest
from apsw import Connection

from ahplat.replaying import KINDS
from events.database import open_reader
from events.log import head
from projections import tenants
from projections.past import size_of, views_at
from projections.views import digests, read_checkpoint
from tests.commands.given import OTHER_TENANT, TENANT, World
from tests.events.plans import plans, reading_everything
from tests.golden.opened import RELEASES, unpacked
from tests.projections.story import tell


def rows(db: Connection) -> Counter[tuple[object, ...]]:
    """All rows of all tables, each after its table's name."""
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    wanted = [name for name in names if name != "checkpoint" and not name.startswith("sqlite_")]
    return Counter((name, *row) for name in wanted for row in db.execute(f"SELECT * FROM {name}"))


def check_parts(log: Connection, step: int) -> None:
    """Asserts that the rows of each tenant make up those of all, at every `step`th position back from the last."""
    tenants_ = [tenant for (tenant,) in log.execute("SELECT DISTINCT tenant FROM event WHERE tenant != ''")]
    for position in range(head(log), 0, -step):
        for projections in KINDS.values():
            whole = rows(views_at(log, None, position, projections))
            nobodys = rows(views_at(log, "nobody", position, projections))
            together = nobodys.copy()
            for tenant in tenants_:
                together += rows(views_at(log, tenant, position, projections)) - nobodys
            assert together == whole, position


def test_at_whatever_position_the_rows_of_each_tenant_make_up_those_of_all(world: World) -> None:
    tell()
    assert {tenant for (tenant,) in world.log.db.execute("SELECT DISTINCT tenant FROM event")} > {TENANT, OTHER_TENANT}
    check_parts(world.log.db, 2)


@pytest.mark.parametrize("release", RELEASES)
def test_so_they_do_in_the_log_that_a_release_left_in_which_is_every_event(release: str) -> None:
    with unpacked(release) as data:
        log = open_reader(data / "events.db")
        check_parts(log, 11)
        log.close()


def test_the_past_at_the_head_is_the_present(world: World) -> None:
    tell()
    db = views_at(world.log.db, None, world.log.position)
    assert digests(db) == world.digests()
    checkpoint = read_checkpoint(db)
    assert checkpoint and (checkpoint.position, checkpoint.link) == (world.log.position, world.log.link)


def test_a_long_past_is_folded_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tell()
    position = world.log.position - 3
    for whose in (TENANT, None):
        at_once = digests(views_at(world.log.db, whose, position))
        with monkeypatch.context() as patch:
            patch.setattr("projections.past.CHUNK", 7)
            assert digests(views_at(world.log.db, whose, position)) == at_once


def test_of_all_tenants_only_the_projections_that_are_wanted_are_made(world: World) -> None:
    tell()
    db = views_at(world.log.db, None, world.log.position, {"tenants": tenants})
    made = digests(db)
    assert made == {name: digest for name, digest in world.digests().items() if name in made}
    assert "tenant" in made and "service" not in made


def test_how_much_there_is_to_fold_is_counted_no_further_than_it_matters(world: World) -> None:
    tell()
    log, last = world.log.db, world.log.position
    assert size_of(log, None, last, 10_000) == last
    own = log.execute("SELECT count(*) FROM event WHERE tenant IN (?, '')", (TENANT,)).get
    assert size_of(log, TENANT, last, 10_000) == own < last
    assert size_of(log, TENANT, 3, 10_000) == 3 and size_of(log, None, last, 5) == 5
    assert 5 <= size_of(log, TENANT, last, 5) <= 10


def test_a_tenants_past_is_read_by_an_index_in_order(world: World) -> None:
    tell()
    steps = plans(world.log.db, lambda: views_at(world.log.db, TENANT, world.log.position))
    assert any("MERGE (UNION ALL)" in step for step in steps), steps
    assert any("event_of_tenant (tenant=? AND position>? AND position<?)" in step for step in steps), steps
    assert not reading_everything(steps) and not any("TEMP B-TREE" in step for step in steps), steps
