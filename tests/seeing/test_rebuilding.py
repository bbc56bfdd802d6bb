"""Views made anew on all cores: as those of one fold, and where processes fail nothing is there."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ahplat import limits, replaying
from ahplat.rebuilding import rebuild_side_by_side
from events.database import open_reader
from projections.views import digests, read_checkpoint, why_rebuild
from tests.commands.given import INSTALLATION, World, a_world
from tests.projections.story import tell


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REBUILD_ALONE_EVENTS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.fixture
def world() -> Any:
    with a_world() as made:
        tell()
        yield made


def rebuilt(world: World) -> tuple[Path, list[tuple[int, int]]]:
    """Where they are to be, and the progress that was told."""
    told: list[tuple[int, int]] = []
    path = world.folder / "made.db"
    with open_reader(world.log.path) as log:
        asyncio.run(
            rebuild_side_by_side(path, world.log.path, log, INSTALLATION, lambda done, of: told.append((done, of)))
        )
    return path, told


def left(world: World) -> list[str]:
    return [path.name for path in world.folder.iterdir() if ".new" in path.name]


def test_they_are_those_of_one_fold_and_a_start_goes_on_with_them(world: World) -> None:
    path, told = rebuilt(world)
    assert why_rebuild(path, world.log.db, INSTALLATION) == ""
    with open_reader(path) as views:
        assert digests(views) == world.digests()
        checkpoint = read_checkpoint(views)
    assert checkpoint and (checkpoint.position, checkpoint.link) == (world.log.position, world.log.link)
    assert told[-1] == (world.log.position, world.log.position)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert left(world) == []


def test_a_short_log_is_left_to_one_fold(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REBUILD_ALONE_EVENTS", world.log.position + 1)
    rebuilt(world)
    assert left(world) == []


def test_where_a_process_is_killed_nothing_is_left_and_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = replaying.start_piped
    started = []

    async def one_dies(*given: Any) -> Any:
        process = await start(*given)
        started.append(process)
        if len(started) == 2:
            process.send_signal(signal.SIGKILL)
        return process

    monkeypatch.setattr(replaying, "start_piped", one_dies)
    rebuilt(world)
    assert left(world) == []
    assert "the views are made on one core" in caplog.text
    assert all(process.returncode is not None for process in started)


def test_where_none_can_be_started_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere")
    rebuilt(world)
    assert left(world) == []
    assert "No such file" in caplog.text
