"""`ah replay`: views made anew are those that are there, and what is not is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ahplat.cli.main import main
from ahplat.replay import SEEDS
from events.database import open_database
from events.event import Meta
from events.services import ServiceRouteRepaired
from projections.metering import open_metering
from tests.commands.given import INSTALLATION, SERVICE, TENANT, World, a_world
from tests.projections.story import tell


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        tell()
        open_metering(made.folder / "metering.db", made.log.db, INSTALLATION, lambda done, of: None).close()
        yield made


def replay(world: World, *options: str) -> Result:
    return CliRunner().invoke(main, ["replay", "--data-dir", str(world.folder), *options])


def harm(world: World, file: str, statement: str) -> None:
    db = open_database(world.folder / file, "NORMAL")
    db.execute(statement)
    db.close()


def test_two_replays_and_the_live_files_are_equal_and_nothing_is_written(world: World) -> None:
    before = {path.name: path.read_bytes() for path in world.folder.iterdir() if path.suffix == ".db"}
    done = replay(world)
    assert done.exit_code == 0, done.output
    position = world.log.position
    views, metering = done.output.splitlines()
    assert views.startswith(f"views.db at position {position}: two replays and the live file are equal, ")
    assert metering == f"metering.db at position {position}: two replays and the live file are equal, 6 tables"
    assert {path.name: path.read_bytes() for path in world.folder.iterdir() if path.suffix == ".db"} == before


@pytest.mark.parametrize(
    ("file", "statement", "words"),
    [
        (
            "views.db",
            "UPDATE service SET port = 1 WHERE service_id = '11111111111111111111111111111111'",
            ["table service, row service_id 1111", "hash seed 1 has port 8000", "the live file has port 1"],
        ),
        ("views.db", "DELETE FROM quota", ["table quota", "the live file has no such row"]),
        (
            "views.db",
            "INSERT INTO quota VALUES ('x', 'mark', 1)",
            ["table quota, row tenant_id x", "1 has no such row"],
        ),
        ("views.db", "UPDATE env SET sealed = x'00'", ["table env", "sealed sealed"]),
        ("metering.db", "UPDATE used SET cpu_us = 1", ["metering.db", "table used", "cpu_us"]),
    ],
)
def test_a_row_that_is_not_what_the_log_says_is_named(
    world: World, file: str, statement: str, words: list[str]
) -> None:
    harm(world, file, statement)
    done = replay(world)
    assert done.exit_code == 1
    for word in words:
        assert word in done.output, done.output


def test_what_a_hash_seed_changes_is_found(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A replay whose process folds something else, as it would by the order of a set."""
    wrong = tmp_path / "sitecustomize.py"
    wrong.write_text(
        "import os\n"
        f"if os.environ.get('PYTHONHASHSEED') == '{SEEDS[1]}':\n"
        "    import projections.volumes as volumes\n"
        "    volumes.APPLY.clear()\n"
    )
    monkeypatch.setattr("ahplat.replaying._root", lambda: f"{Path(__file__).parents[2]}:{tmp_path}")
    done = replay(world)
    assert done.exit_code == 1
    assert "table volume" in done.output and "hash seed 2 has no such row" in done.output


def test_another_position_is_replayed_without_the_live_files(world: World) -> None:
    done = replay(world, "--to", "20")
    assert done.exit_code == 0, done.output
    assert [line.partition(":")[0] for line in done.output.splitlines()] == [
        "views.db at position 20",
        "metering.db at position 20",
    ]
    assert f"the live file is at {world.log.position}" in done.output
    by_time = replay(world, "--to", "2023-11-14T22:13:20Z")
    assert by_time.exit_code == 0 and "position 20:" not in by_time.output


def test_one_projection_is_compared_alone(world: World) -> None:
    harm(world, "views.db", "DELETE FROM quota")
    assert replay(world, "--only", "tenants").exit_code == 1
    done = replay(world, "--only", "services")
    assert done.exit_code == 0 and done.output.count("\n") == 1
    assert "1 table" in replay(world, "--only", "todo").output
    assert replay(world, "--only", "nothing").exit_code == 2


def test_views_that_lag_are_compared_at_their_own_position(world: World) -> None:
    position = world.log.position
    world.log.begin()
    world.log.append(f"service-{SERVICE}", [ServiceRouteRepaired("x")], "any", TENANT, world.now_us, Meta())
    world.log.commit()
    done = replay(world)
    assert done.exit_code == 0 and f"views.db at position {position}: two replays and the live file" in done.output


def test_missing_views_are_no_fault_and_a_missing_log_is(world: World, tmp_path: Path) -> None:
    (world.folder / "metering.db").unlink()
    assert "there is no live file" in replay(world).output
    done = CliRunner().invoke(main, ["replay", "--data-dir", str(tmp_path)])
    assert done.exit_code == 2 and "is it the server's --data-dir?" in done.output


def test_a_damaged_file_ends_it_in_one_line(world: World) -> None:
    world.log.close()
    path = world.folder / "events.db"
    held = path.read_bytes()
    path.write_bytes(held[: len(held) // 2 // 8192 * 8192] + b"\xff" * (len(held) // 2))
    done = replay(world)
    assert done.exit_code == 2 and len(done.output.splitlines()) == 1, done.output
    world.log.db = open_database(world.folder / "another.db", "NORMAL")
