"""Disks that fill: warned of, then nothing is begun that grows; and each level is told once."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from ahplat.commands.disks import ReportDisk
from ahplat.effects.disks import DiskWatch
from ahplat.errors import Unavailable
from ahplat.reserve import Reserve
from events.disks import DiskLevelChanged
from tests.effects.world import World

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How full the disks are, in percent; a tenth of each is root's alone."""
    percents = {"data": 50, "engine": 50}

    def disk_usage(folder: Path) -> Usage:
        percent = percents[Path(folder).name]
        return Usage(1_000, 9 * percent, 900 - 9 * percent)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    return percents


@pytest.fixture
def reserve(tmp_path: Path, used: dict[str, int]) -> Reserve:
    folder = tmp_path / "data"
    folder.mkdir()
    return Reserve(folder)


@pytest.fixture
def watch(world: World, used: dict[str, int]) -> DiskWatch:
    return DiskWatch(world.platform, Path("/data"), 80, 90)


async def test_a_level_that_is_reached_is_told_once(world: World, watch: DiskWatch, used: dict[str, int]) -> None:
    for used["data"] in (50, 80, 85, 91, 92, 89, 88, 87, 78, 77):
        await watch.look()
        await watch.look()
    assert world.facts(DiskLevelChanged) == [
        DiskLevelChanged("low", 80),
        DiskLevelChanged("full", 91),
        DiskLevelChanged("low", 87),
        DiskLevelChanged("ok", 77),
    ]


async def test_on_a_full_disk_nothing_is_begun_that_grows(watch: DiskWatch, used: dict[str, int]) -> None:
    used["data"] = 89
    await watch.look()
    watch.refuse()
    used["data"] = 90
    await watch.look()
    with pytest.raises(Unavailable, match="disk_full: the server's disk is 90 % full"):
        watch.refuse()
    used["data"] = 50  # there is room again: nobody waits for the next look
    watch.refuse()


async def test_the_engines_own_disk_counts_too(world: World, watch: DiskWatch, used: dict[str, int]) -> None:
    world.engine.root = "/engine"
    used["engine"] = 95
    await watch.look()
    assert (watch.seen["log"].level, watch.seen["engine"].level) == ("ok", "full")
    assert [at.stream for at in world.recorded() if at.type == "disk.level_changed"] == ["disk-engine"]
    with pytest.raises(Unavailable):
        watch.refuse()


async def test_a_new_server_knows_what_was_told(world: World, watch: DiskWatch, used: dict[str, int]) -> None:
    used["data"] = 91
    await watch.look()
    used["data"] = 89  # within the calm: it is full still
    again = DiskWatch(world.platform, Path("/data"), 80, 90)
    await again.look()
    assert again.seen["log"].level == "full"
    assert len(world.facts(DiskLevelChanged)) == 1


async def test_no_room_to_tell_it_is_told_when_there_is(world: World, watch: DiskWatch, used: dict[str, int]) -> None:
    used["data"] = 99
    world.writer.refuse(ReportDisk, Unavailable("disk_full", "the disk is full: nothing was changed", 30))
    await watch.look()
    assert world.facts(DiskLevelChanged) == []
    with pytest.raises(Unavailable):
        watch.refuse()
    await watch.look()
    assert world.facts(DiskLevelChanged) == [DiskLevelChanged("full", 99)]


def test_the_reserve_is_taken_where_there_is_room_for_several(reserve: Reserve, used: dict[str, int]) -> None:
    used["data"] = 60  # 360 of 1,000 bytes are left: an eighth thrice is more
    reserve.begin()
    assert not reserve.may_grow()
    used["data"] = 50
    assert reserve.may_grow()


def test_a_reserve_is_given_up_once_and_found_again_by_the_next_server(
    reserve: Reserve, tmp_path: Path, used: dict[str, int]
) -> None:
    reserve.begin()
    used["data"] = 90
    again = Reserve(tmp_path / "data")
    again.begin()
    assert again.may_grow()
    assert again.give_up()
    assert not again.may_grow()
    assert not again.give_up()


def test_a_start_without_room_gives_the_reserve_up(reserve: Reserve, tmp_path: Path, used: dict[str, int]) -> None:
    reserve.begin()
    used["data"] = 100
    again = Reserve(tmp_path / "data")
    again.begin()
    assert not again.may_grow()
    assert not (tmp_path / "data" / "reserve").exists()
