"""The sandboxes of a build that are up before it is asked for: one tenant's, one build's, few, and gone with the builder."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from ahplat import limits
from ahplat.builders.builder import Job
from ahplat.builders.rooms import Rooms
from ahplat.errors import Rejected
from tests.builds.marked import of_build
from tests.real.builds.conftest import Yard

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

APP = {"main.py": "import time; time.sleep(60)\n"}
OWN = {"main.py": "", "Dockerfile": "FROM scratch\nCOPY . /app\n"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPARE_ROOMS_AFTER_S", 0.0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def waiting(yard: Yard, tenant: str) -> Rooms:
    """The rooms that wait for the tenant's next build, once they are up."""
    daemon = yard.builder._daemon(tenant)
    await until(lambda: daemon.has_spare)
    assert daemon._spare
    await daemon._spare.up()
    return daemon._spare


async def built(yard: Yard, job: Job) -> None:
    await yard.run(job)
    await yard.builder.discard(job.build_id)


def running(yard: Yard) -> dict[str, list[int]]:
    """What runs in each workplace that there is."""
    return {folder.name: of_build(folder.name) for folder in (yard.folder / "builds").iterdir()}


async def serves(yard: Yard, rooms: Rooms, job: Job) -> bool:
    """Whether a build is cloned in these rooms."""
    with yard.logs.open(job.tenant_id, job.build_id, []) as log:
        await yard.builder.clone(job, log)
        return yard.builder._rooms[job.build_id] is rooms


async def test_a_build_finds_the_rooms_up_that_came_up_after_the_one_before(yard: Yard) -> None:
    tenant = yard.tenant()
    await built(yard, yard.job(tenant, APP, builder="nixpacks"))
    rooms = await waiting(yard, tenant)
    before = {pid for pids in running(yard).values() for pid in pids}
    assert before <= set(yard.builder._daemon(tenant).cgroup.pids())
    job = yard.job(tenant, APP, builder="nixpacks")
    assert await serves(yard, rooms, job)
    await built(yard, job)
    assert not before & {pid for pids in running(yard).values() for pid in pids}, "rooms outlived the build they served"
    assert await waiting(yard, tenant) is not rooms


async def test_rooms_that_another_kind_of_build_wants_are_not_taken(yard: Yard) -> None:
    tenant = yard.tenant()
    await built(yard, yard.job(tenant, OWN))
    rooms = await waiting(yard, tenant)
    job = yard.job(tenant, APP, builder="nixpacks")
    assert not await serves(yard, rooms, job)
    await built(yard, job)


async def test_rooms_of_which_one_died_are_not_taken(yard: Yard) -> None:
    tenant = yard.tenant()
    await built(yard, yard.job(tenant, APP, builder="nixpacks"))
    rooms = await waiting(yard, tenant)
    died = max(running(yard).values(), key=len)
    for pid in died:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not rooms.are_fit)
    job = yard.job(tenant, APP, builder="nixpacks")
    assert not await serves(yard, rooms, job)
    await built(yard, job)


async def test_rooms_go_with_the_builder_that_they_wait_in(yard: Yard) -> None:
    tenant = yard.tenant()
    await built(yard, yard.job(tenant, APP, builder="nixpacks"))
    await waiting(yard, tenant)
    names = list(running(yard))
    await yard.builder._daemon(tenant).stop()
    assert running(yard) == {}
    assert [of_build(name) for name in names] == [[]] * 3


async def test_a_build_that_fails_leaves_no_rooms(yard: Yard) -> None:
    tenant = yard.tenant()
    job = yard.job(tenant, {"unknown": ""}, builder="nixpacks")
    with pytest.raises(Rejected, match="plan_failed"):
        await yard.run(job)
    assert running(yard) == {job.build_id: []}


@pytest.mark.parametrize("want", ["few", "memory"])
async def test_no_rooms_wait_where_enough_do_or_memory_is_short(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, want: str
) -> None:
    if want == "few":
        monkeypatch.setattr(limits, "SPARE_ROOMS", 1)
        first = yard.tenant()
        await built(yard, yard.job(first, OWN))
        await waiting(yard, first)
    else:
        monkeypatch.setattr(limits, "SPARE_ROOMS_FREE_MB", 10**9)
    asked = _noted(yard.builder._expect_another, monkeypatch, yard)
    tenant = yard.tenant()
    await built(yard, yard.job(tenant, OWN))
    await until(lambda: bool(asked))
    assert not yard.builder._doing
    assert not yard.builder._daemon(tenant).has_spare


def _noted(call: Callable[[Job], None], monkeypatch: pytest.MonkeyPatch, yard: Yard) -> list[Job]:
    """Jobs after which rooms were thought of."""
    noted: list[Job] = []

    def expect(job: Job) -> None:
        call(job)
        noted.append(job)

    monkeypatch.setattr(yard.builder, "_expect_another", expect)
    return noted
