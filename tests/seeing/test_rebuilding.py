"""Views at a start: made anew on all cores they are those of one fold, and whatever fails or ends it leaves nothing."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import apsw
import pytest

from ahplat import limits, rebuilding, replaying
from ahplat.rebuilding import rebuild_side_by_side, views_in_step
from events.database import open_reader
from projections.views import digests, read_checkpoint, why_rebuild
from tests.commands.given import INSTALLATION, World, a_world
from tests.projections.story import tell

SLEEPS = ["sleep", "60"]


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REBUILD_ALONE_EVENTS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})


@pytest.fixture
def world() -> Any:
    with a_world() as made:
        tell()
        yield made


def rebuilt(world: World) -> tuple[Path, list[tuple[int, int]]]:
    """Where they are to be, and the progress that was told."""
    told: list[tuple[int, int]] = []
    path = world.folder / "made.db"
    asyncio.run(
        rebuild_side_by_side(
            path, world.log.path, world.log.position, INSTALLATION, lambda done, of: told.append((done, of))
        )
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


def test_a_short_log_and_a_single_core_are_left_to_one_fold(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REBUILD_ALONE_EVENTS", world.log.position + 1)
    assert not rebuilt(world)[0].exists()
    monkeypatch.setattr(limits, "REBUILD_ALONE_EVENTS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert not rebuilt(world)[0].exists()


def test_where_one_process_is_killed_the_others_are_ended_and_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = replaying.start_piped
    started = []

    async def one_dies(argv: list[str], *given: Any) -> Any:
        process = await start(SLEEPS, *given)
        started.append(process)
        if argv[-2] == "0":
            process.send_signal(signal.SIGKILL)
        return process

    monkeypatch.setattr(replaying, "start_piped", one_dies)
    path, _ = rebuilt(world)
    assert not path.exists()
    assert "the views are made on one core: it ended with -9" in caplog.text
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 3


def test_where_there_is_no_room_to_put_them_together_nothing_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, shares: list[Path]) -> None:
        assert all(share.exists() for share in shares)
        raise apsw.FullError("no room")

    monkeypatch.setattr(rebuilding, "put_together", full)
    rebuilt(world)
    assert left(world) == []
    assert "the views are made on one core: no room" in caplog.text


def test_where_none_can_be_started_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere")
    rebuilt(world)
    assert left(world) == []
    assert "No such file" in caplog.text


def test_what_a_killed_making_left_goes_with_the_next_start(world: World) -> None:
    for name in ("views.db.new", "views.db.new-0", "views.db.new-0-journal"):
        (world.folder / name).write_bytes(b"left")
    world.views.close()
    asyncio.run(views_in_step(world.views.path, world.log.path, INSTALLATION, lambda done, of: None)).close()
    assert left(world) == []


def test_when_it_has_been_called_off_no_thread_works_on_the_views_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be another server's then."""
    monkeypatch.setattr(limits, "REBUILD_ALONE_EVENTS", world.log.position + 1)
    monkeypatch.setattr("projections.views.CHUNK", 1)
    told: list[int] = []

    def slowly(done: int, _: int) -> None:
        told.append(done)
        time.sleep(0.02)

    async def called_off() -> int:
        making = asyncio.ensure_future(views_in_step(world.folder / "made.db", world.log.path, INSTALLATION, slowly))
        while len(told) < 3:
            await asyncio.sleep(0.001)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        assert making.cancelled()
        return len(told)

    came = asyncio.run(called_off())
    assert len(told) == came < world.log.position / 2
    assert not (world.folder / "made.db").exists()


def test_who_calls_it_off_while_shares_are_put_together_waits_until_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def slow(path: Path, shares: list[Path]) -> None:
        begun.set()
        time.sleep(0.2)
        ended.set()

    monkeypatch.setattr(rebuilding, "put_together", slow)

    async def called_off() -> None:
        made, last = world.folder / "made.db", world.log.position
        making = asyncio.ensure_future(
            rebuild_side_by_side(made, world.log.path, last, INSTALLATION, lambda done, of: None)
        )
        await asyncio.to_thread(begun.wait, 30)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        assert making.cancelled() and ended.is_set()

    asyncio.run(called_off())
    assert left(world) == []
