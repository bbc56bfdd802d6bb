"""Rows that are held and written at the end are those that are written at once; SQL in between sees what was written."""

from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import Struct

from events.database import open_reader
from events.services import ServiceConfigured
from projections.shares import SharesDiffer, make_share, put_together
from projections.tables import HeldTables, Table, Tables
from projections.views import digests, rebuild
from tests.commands.given import INSTALLATION, OTHER_TENANT, SERVICE, World
from tests.folds import digests_in_shares
from tests.projections.story import tell


class Pet(Struct, frozen=True):
    """A row of a table for trying out; names are nobody's or one pet's."""

    owner: int
    pet: int
    name: str | None


PETS = Table("pets", Pet, "owner")
SCHEMA = (
    "CREATE TABLE pets (owner INTEGER, pet INTEGER, name TEXT UNIQUE, PRIMARY KEY (owner, pet)) STRICT, WITHOUT ROWID"
)
SEEN = "CREATE TABLE seen (owner INTEGER, pets INTEGER) STRICT"

owners, names = some.integers(1, 3), some.none() | some.sampled_from("abcdefgh")
steps = some.one_of(
    some.tuples(some.just("put"), owners, some.lists(names, max_size=2)),
    some.tuples(some.just("add"), owners, names),
    some.tuples(some.just("change"), owners, some.none()),
    some.tuples(some.just("find"), owners, some.none()),
    some.tuples(some.just("append"), owners, some.none()),
    some.tuples(some.just("read by SQL"), owners, some.none()),
    some.tuples(some.just("write by SQL"), owners, some.none()),
)


def a_database() -> apsw.Connection:
    db = apsw.Connection(":memory:")
    db.execute(f"{SCHEMA}; {SEEN}").fetchall()
    return db


def take(tables: Tables, step: str, owner: int, value: Any) -> object:
    """One step, as a projection might take it; returns what it read."""
    match step:
        case "put":
            rows = [Pet(owner, pet, f"{owner}{name}{pet}" if name else None) for pet, name in enumerate(value)]
            tables.put(PETS, owner, rows)
        case "add" if not tables.of(PETS, owner):
            tables.add(PETS, Pet(owner, 0, value and f"{owner}{value}"))
        case "change":
            tables.change(PETS, owner, name=None)
        case "find":
            return sorted(tables.of(PETS, owner), key=lambda row: row.pet)
        case "append":
            tables.append("INSERT INTO seen VALUES (?, ?)", (owner, -1))
        case "read by SQL":
            tables.execute("INSERT INTO seen SELECT ?1, count(*) FROM pets WHERE owner = ?1", (owner,))
        case "write by SQL":
            tables.execute("DELETE FROM pets WHERE owner = ? AND pet = 0", (owner,))
    return None


@given(some.lists(some.lists(steps, max_size=12), max_size=3))
def test_what_is_held_is_what_is_written_at_once(batches: list[list[tuple[str, int, Any]]]) -> None:
    now, later = a_database(), a_database()
    written = Tables(now)
    for batch in batches:
        held = HeldTables(later)
        for step in batch:
            assert take(held, *step) == take(written, *step), step
        held.flush()
        for query in ("SELECT * FROM pets ORDER BY owner, pet", "SELECT * FROM seen ORDER BY owner, pets"):
            assert now.execute(query).fetchall() == later.execute(query).fetchall()


def test_a_name_may_pass_from_one_row_to_another_while_both_are_held() -> None:
    db = a_database()
    held = HeldTables(db)
    held.put(PETS, 1, [Pet(1, 0, "rex")])
    held.flush()
    held.put(PETS, 2, [Pet(2, 0, "rex")])
    held.change(PETS, 1, name="max")
    held.flush()
    assert db.execute("SELECT name FROM pets ORDER BY owner").fetchall() == [("max",), ("rex",)]


def test_the_story_folded_in_pieces_of_any_size_gives_the_same_rows(world: World, monkeypatch: Any) -> None:
    tell()
    for size in (1, 2, 3, 7, 1000):
        monkeypatch.setattr("projections.views.CHUNK", size)
        assert world.digests_folded_again() == world.digests()


def test_the_story_folded_in_shares_of_the_tenants_gives_the_same_rows(world: World) -> None:
    tell()
    assert world.digests_in_shares() == world.digests()


def test_shares_go_up_to_the_position_that_is_wanted(world: World) -> None:
    tell()
    up_to = world.log.position - 20
    rebuild(world.folder / "then.db", world.log.db, INSTALLATION, lambda done, of: None, up_to=up_to)
    with open_reader(world.folder / "then.db") as then:
        assert digests_in_shares(world.log.db, world.folder, up_to) == digests(then) != world.digests()


def test_shares_that_are_not_of_one_log_are_not_put_together(world: World) -> None:
    tell()
    paths = [world.folder / f"{share}.db" for share in range(2)]
    for share, path in enumerate(paths):
        make_share(path, world.log.db, "", lambda done, of: None, share, 2, world.log.position - share)
    with pytest.raises(SharesDiffer):
        put_together(world.folder / "together.db", paths)
    paths[1].write_bytes(b"")
    with pytest.raises(SharesDiffer, match=r"1\.db was not finished"):
        put_together(world.folder / "together.db", paths)
    assert not (world.folder / "together.db").exists()


def test_shares_that_do_not_come_together_are_not_held_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed, they would keep their room on a disk that has too little of it."""
    tell()
    paths = [world.folder / f"{share}.db" for share in range(2)]
    for share, path in enumerate(paths):
        make_share(path, world.log.db, "", lambda done, of: None, share, 2, world.log.position)

    def full(path: Path) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr("projections.shares.remove", full)
    with pytest.raises(apsw.FullError) as kept:
        put_together(world.folder / "together.db", paths)
    held = {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}
    assert held.isdisjoint(map(str, paths)), kept


def test_views_whose_making_ended_early_are_not_held_open(world: World) -> None:
    tell()

    def full(_done: int, _of: int) -> None:
        raise apsw.FullError("database or disk is full")

    with pytest.raises(apsw.FullError) as kept:
        rebuild(world.folder / "fresh.db", world.log.db, INSTALLATION, full)
    held = {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}
    assert str(world.folder / "fresh.db.new") not in held, kept


def test_shares_differ_where_an_event_stands_in_another_tenants_name(world: World) -> None:
    """What `put_together` rests on does matter."""
    tell()
    world.append(f"service-{SERVICE}", [ServiceConfigured(memory_mb=999)], OTHER_TENANT)
    assert world.digests_in_shares() != world.digests()
