"""The views can be lost in every way there is: what is opened afterwards is always what the log says."""

from pathlib import Path
from typing import Any

import apsw
import pytest

from events.event import Meta
from events.log import EventLog
from projections import views
from projections.views import Views, condemn, digests, open_views, read_checkpoint, rebuild, why_rebuild
from tests.commands.facts import a_service, a_tenant
from tests.commands.given import INSTALLATION, START_US, World, a_world
from tests.projections.story import tell

MARK = "INSERT INTO quota VALUES ('nobody', 'mark', 1)"


@pytest.fixture(autouse=True)
def made(world: World) -> Path:
    """The path of views that are in step with a log in which much happened; closed, and marked.

    The mark is a row that the log knows nothing of: it stays where views are gone on with, and goes where they are built.
    """
    tell()
    world.views.db.execute(MARK)
    world.views.close()
    return world.views.path


def reopened(world: World, path: Path) -> dict[str, str]:
    """Opens the views as a start does and closes them again; returns their digests without the mark."""
    opened = open_views(path, world.log.db, INSTALLATION, lambda done, of: None)
    try:
        checkpoint = read_checkpoint(opened.db)
        assert checkpoint
        assert (checkpoint.position, checkpoint.link) == (world.log.position, world.log.link)
        opened.db.execute("BEGIN")
        opened.db.execute("DELETE FROM quota WHERE tenant_id = 'nobody'")
        rebuilt = not opened.db.changes()
        found = digests(opened.db)
        opened.db.execute("ROLLBACK")
        return found | {"rebuilt": str(rebuilt)}
    finally:
        opened.close()


def expected(world: World, rebuilt: bool) -> dict[str, str]:
    """What the log says, folded at another place."""
    return world.digests_folded_again() | {"rebuilt": str(rebuilt)}


def sql(path: Path, statement: str, *bindings: Any) -> None:
    db = apsw.Connection(str(path))
    db.execute(statement, bindings)
    db.close()


def test_views_in_step_are_gone_on_with(world: World, made: Path) -> None:
    assert why_rebuild(made, world.log.db, INSTALLATION) == ""
    assert reopened(world, made) == expected(world, rebuilt=False)


def test_every_table_of_the_story_has_rows_so_that_equal_digests_mean_something(world: World, made: Path) -> None:
    db = apsw.Connection(str(made))
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    empty = [name for name in names if not db.execute(f"SELECT count(*) FROM {name}").get]
    db.close()
    assert not empty


def test_views_that_lag_catch_up(world: World, made: Path) -> None:
    world.log.begin()
    world.log.append("service-new", [a_service("new")], "any", "a" * 32, START_US, Meta())
    world.log.commit()
    assert why_rebuild(made, world.log.db, INSTALLATION) == ""
    assert reopened(world, made) == expected(world, rebuilt=False)


def test_catching_up_folds_only_what_is_missing(world: World, made: Path) -> None:
    before = world.log.position
    world.log.begin()
    world.log.append("service-new", [a_service("new")], "any", "a" * 32, START_US, Meta())
    world.log.commit()
    seen: list[tuple[int, int]] = []
    open_views(made, world.log.db, INSTALLATION, lambda done, of: seen.append((done, of))).close()
    assert seen == [(before + 1, before + 1)]


def test_missing_views_are_built(world: World, made: Path) -> None:
    made.unlink()
    assert why_rebuild(made, world.log.db, INSTALLATION) == "there are none yet"
    assert reopened(world, made) == expected(world, rebuilt=True)


@pytest.mark.parametrize("content", [b"", b"garbage " * 4096, bytes(16384)], ids=["empty", "garbage", "zeros"])
def test_a_file_that_is_no_database_is_built_anew(world: World, made: Path, content: bytes) -> None:
    made.write_bytes(content)
    assert reopened(world, made) == expected(world, rebuilt=True)


@pytest.mark.parametrize("kept", [1, 100, 8192, 8193, 20_000], ids=str)
def test_a_file_that_ends_too_early_is_built_anew(world: World, made: Path, kept: int) -> None:
    made.write_bytes(made.read_bytes()[:kept])
    assert why_rebuild(made, world.log.db, INSTALLATION)
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_a_damaged_file_takes_its_companions_with_it(world: World, made: Path) -> None:
    made.write_bytes(b"garbage " * 4096)
    for suffix in ("-wal", "-shm"):
        made.with_name(made.name + suffix).write_bytes(b"garbage " * 4096)
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_views_of_which_a_page_was_found_damaged_are_built_anew_once(world: World, made: Path) -> None:
    condemn(made)
    assert why_rebuild(made, world.log.db, INSTALLATION) == "a page was found damaged"
    assert reopened(world, made) == expected(world, rebuilt=True)
    assert why_rebuild(made, world.log.db, INSTALLATION) == ""


def test_what_old_views_had_in_their_wal_does_not_get_into_new_ones(world: World, made: Path) -> None:
    db = apsw.Connection(str(made))
    db.wal_autocheckpoint(0)
    db.execute("UPDATE quota SET value = 666")
    wal = made.with_name(made.name + "-wal")
    left_behind = wal.read_bytes()
    db.close()
    made.write_bytes(b"garbage " * 4096)
    wal.write_bytes(left_behind)
    assert reopened(world, made) == expected(world, rebuilt=True)


@pytest.mark.parametrize("statement", ["DROP TABLE checkpoint", "DELETE FROM checkpoint"])
def test_views_without_a_checkpoint_are_built_anew(world: World, made: Path, statement: str) -> None:
    sql(made, statement)
    assert why_rebuild(made, world.log.db, INSTALLATION) == "the file has no checkpoint"
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_another_installations_views_are_built_anew(world: World, made: Path) -> None:
    sql(made, "UPDATE checkpoint SET installation = 'other'")
    assert "another installation's" in why_rebuild(made, world.log.db, INSTALLATION)
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_views_of_other_code_are_built_anew(world: World, made: Path) -> None:
    sql(made, "UPDATE checkpoint SET fingerprint = 'other'")
    assert "code" in why_rebuild(made, world.log.db, INSTALLATION)
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_views_that_are_ahead_of_the_log_are_built_anew(world: World, made: Path) -> None:
    sql(made, "UPDATE checkpoint SET position = position + 1")
    assert "ahead of the log" in why_rebuild(made, world.log.db, INSTALLATION)
    assert reopened(world, made) == expected(world, rebuilt=True)


@pytest.mark.parametrize("position", ["position", "position - 1"], ids=["at the end", "before the end"])
def test_views_of_another_past_are_built_anew(world: World, made: Path, position: str) -> None:
    sql(made, f"UPDATE checkpoint SET link = zeroblob(32), position = {position}")
    assert "another log" in why_rebuild(made, world.log.db, INSTALLATION)
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_views_of_a_log_that_was_made_anew_are_built_anew(world: World, made: Path, folder: Path) -> None:
    other = EventLog(folder / "events.db", INSTALLATION, START_US)
    assert "ahead" in why_rebuild(made, other.db, INSTALLATION)
    opened = open_views(made, other.db, INSTALLATION, lambda done, of: None)
    assert opened.db.execute("SELECT count(*) FROM tenant").get == 0
    opened.close()
    other.close()


# a death on the way


def test_a_death_before_the_new_views_are_in_place_does_no_harm(
    world: World, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(made, "UPDATE checkpoint SET fingerprint = 'other'")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rebuild(made, world.log.db, INSTALLATION, lambda done, of: None)
    assert made.with_name("views.db.new").exists()
    assert reopened(world, made) == expected(world, rebuilt=True)
    assert not made.with_name("views.db.new").exists()


def test_a_death_while_views_are_built_leaves_the_old_ones(
    world: World, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Views, "apply_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rebuild(made, world.log.db, INSTALLATION, lambda done, of: None)
    assert made.read_bytes() == before
    assert reopened(world, made) == expected(world, rebuilt=False)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_what_is_left_of_views_that_were_being_built_is_not_gone_on_with(world: World, made: Path, suffix: str) -> None:
    made.unlink()
    made.with_name(f"views.db.new{suffix}").write_bytes(b"garbage " * 4096)
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_views_are_built_in_pieces_that_tell_how_far_they_are(
    world: World, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "CHUNK", 10)
    made.unlink()
    seen: list[tuple[int, int]] = []
    open_views(made, world.log.db, INSTALLATION, lambda done, of: seen.append((done, of))).close()
    last = world.log.position
    assert seen == [(min(done, last), last) for done in range(10, last + 10, 10)]
    assert reopened(world, made) == expected(world, rebuilt=True)


def test_digests_tell_views_apart_by_one_byte(world: World, made: Path) -> None:
    before = reopened(world, made)
    sql(made, "UPDATE tenant SET email = x'00' WHERE label = 'acme'")
    after = reopened(world, made)
    assert {name for name in before if before[name] != after[name]} == {"tenant"}


def test_a_new_log_has_views(folder: Path) -> None:
    log = EventLog(folder / "events.db", INSTALLATION, START_US)
    opened = open_views(folder / "views.db", log.db, INSTALLATION, lambda done, of: None)
    checkpoint = read_checkpoint(opened.db)
    assert checkpoint
    assert checkpoint.position == 1
    opened.close()
    log.close()


def test_what_is_rolled_back_was_never_folded() -> None:
    with a_world() as fresh:
        before = fresh.digests()
        fresh.log.begin()
        (at,) = fresh.log.append("tenant-x", [a_tenant()], "any", "x", START_US, Meta())
        fresh.log.rollback()
        fresh.views.begin()
        fresh.views.apply(at, a_tenant())
        assert fresh.digests() != before
        fresh.views.rollback()
        assert fresh.digests() == before
