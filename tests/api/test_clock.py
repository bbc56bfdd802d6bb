"""A clock that is set: a running server counts on, and a start by a clock that is far off is refused. Nothing is removed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from ahplat import limits
from ahplat.backups import schedule
from ahplat.backups.schedule import is_due
from ahplat.clock import SystemClock
from ahplat.errors import CannotStart
from events.log import read_all
from tests.api.site import Movable, Site, Tenant, a_site
from tests.engines.simulated import Ran

HOUR_S, YEAR_S = 3_600, 365 * 24 * 3_600


class Machine:
    """The machine's clock, which a test sets, and its time since it was started, which nobody can set."""

    def __init__(self) -> None:
        self.set_by_s = 0
        self.slept_s = 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made, time_ns, gettime_ns = Machine(), time.time_ns, time.clock_gettime_ns
    monkeypatch.setattr("ahplat.clock.time.time_ns", lambda: time_ns() + (made.set_by_s + made.slept_s) * 10**9)
    monkeypatch.setattr("ahplat.clock.time.clock_gettime_ns", lambda which: gettime_ns(which) + made.slept_s * 10**9)
    yield made


@pytest.mark.parametrize("seconds", [-HOUR_S, YEAR_S])
def test_a_clock_that_jumps_is_not_followed_and_said(machine: Machine, seconds: int) -> None:
    clock = SystemClock()
    before = clock.now_us()
    machine.set_by_s = seconds
    assert 0 <= clock.now_us() - before < 60_000_000
    assert clock.off_s == pytest.approx(seconds, abs=60)
    machine.set_by_s = 0
    assert 0 <= clock.now_us() - before < 60_000_000
    assert clock.off_s == 0


def test_a_clock_that_is_put_right_by_little_is_followed(machine: Machine) -> None:
    clock = SystemClock()
    for _ in range(3):
        before = clock.now_us()
        machine.set_by_s += 500
        assert 499e6 < clock.now_us() - before < 560e6
        assert clock.off_s == 0


def test_a_machine_that_slept_did_not_jump(machine: Machine) -> None:
    clock = SystemClock()
    before = clock.now_us()
    machine.slept_s = YEAR_S
    assert clock.now_us() - before >= YEAR_S * 10**6
    assert clock.off_s == 0


def test_time_goes_on_from_the_log_until_the_clock_has_caught_up(machine: Machine) -> None:
    clock = SystemClock()
    log_ends_us = clock.now_us() + HOUR_S * 10**6
    clock.go_on_from(log_ends_us)
    assert 0 <= clock.now_us() - log_ends_us < 60_000_000
    assert clock.off_s == pytest.approx(-HOUR_S, abs=60)
    machine.slept_s = HOUR_S
    assert 0.9 * HOUR_S * 1e6 <= clock.now_us() - log_ends_us < 0.9 * HOUR_S * 1e6 + 60_000_000
    assert clock.off_s == pytest.approx(-0.9 * HOUR_S, abs=60)
    machine.slept_s = 11 * HOUR_S
    assert clock.now_us() == pytest.approx(time.time_ns() / 1e3, abs=60_000_000)
    assert clock.off_s == 0


def test_a_clock_that_was_behind_the_log_is_followed_once_it_is_put_right(machine: Machine) -> None:
    machine.set_by_s = -HOUR_S
    clock = SystemClock()
    clock.go_on_from(time.time_ns() // 1_000 + HOUR_S * 10**6)
    clock.now_us()
    assert clock.off_s
    machine.set_by_s = 0
    assert clock.now_us() == pytest.approx(time.time_ns() / 1e3, abs=60_000_000)
    assert clock.off_s == 0


@pytest.mark.parametrize("seconds", [1, 500])
def test_time_never_goes_back_and_goes_on_where_the_clock_is_set_back_by_little(machine: Machine, seconds: int) -> None:
    clock = SystemClock()
    before = clock.now_us()
    machine.set_by_s = -seconds
    assert 0 <= clock.now_us() - before < 60_000_000
    machine.slept_s = seconds // 2 + 1
    assert clock.now_us() - before >= 0.4e6 * seconds
    machine.slept_s = 10 * seconds
    assert clock.now_us() == pytest.approx(time.time_ns() / 1e3, abs=60_000_000)


async def with_something_kept(site: Site) -> tuple[Tenant, str, Tenant]:
    """A tenant with a database that it deleted, and one that is suspended: both are kept for a while."""
    acme, gone = await site.register(), await site.register()
    database = (await acme.post("/v1/databases", {"name": "orders", "type": "redis"})).json["id"]
    await acme.delete(f"/v1/databases/{database}")
    await gone.delete("/v1/tenant")
    await site.settled()
    return acme, database, gone


async def test_nothing_is_removed_when_the_clock_is_set_a_year_forward(machine: Machine, folder: Path) -> None:
    async with a_site(folder / "data") as site:
        acme, database, gone = await with_something_kept(site)
        machine.set_by_s = YEAR_S
        told = (await acme.get("/v1/system/health/detailed")).json["clock"]
        assert (told["followed"], told["off_s"]) == (False, pytest.approx(YEAR_S, abs=60))
        await acme.running()  # which has all open work looked at
        assert (await acme.post(f"/v1/databases/{database}/undelete")).status == 200
        assert (await site.operator.get(f"/v1/tenants/{gone.id}")).json["status"] == "suspended"
        first, *_, last = read_all(site.app.log, 0, 10_000)
        assert last.at_us - first.at_us < 60_000_000


async def test_a_start_by_a_clock_a_year_ahead_is_refused_until_somebody_says_that_it_is_right(
    machine: Machine, folder: Path
) -> None:
    async with a_site(folder / "data") as site:
        acme, database, _ = await with_something_kept(site)
        await site.end()
        machine.set_by_s = YEAR_S
        site.clock = Movable()
        with pytest.raises(CannotStart, match="--accept-clock"):
            await site.begin()
        machine.set_by_s = 0
        site.clock = Movable()
        await site.begin()
        assert (await acme.post(f"/v1/databases/{database}/undelete")).status == 200
        await acme.delete(f"/v1/databases/{database}")
        await site.settled()
        machine.set_by_s = YEAR_S
        site.clock = Movable()
        site.config = structs.replace(site.config, accept_clock=True)
        await site.restart()
        await site.settled()
        assert (await acme.post(f"/v1/databases/{database}/undelete")).code == "database_not_found"


async def test_a_clock_that_is_set_back_an_hour_stops_nothing_now_or_at_the_next_start(
    machine: Machine, folder: Path
) -> None:
    async with a_site(folder / "data") as site:
        acme, database, _ = await with_something_kept(site)
        machine.set_by_s = -HOUR_S
        await acme.running()
        site.clock = Movable()
        await site.restart()
        await acme.running()
        assert (await acme.post(f"/v1/databases/{database}/undelete")).status == 200
        times = [at.at_us for at in read_all(site.app.log, 0, 10_000)]
        assert times == sorted(times)


@pytest.fixture
async def behind(machine: Machine, folder: Path) -> AsyncIterator[Site]:
    """A site that was started by a clock an hour before its log's last event."""
    async with a_site(folder / "data") as site:
        await site.register()
        machine.set_by_s = -HOUR_S
        site.clock = Movable()
        await site.restart()
        yield site


async def test_a_command_runs_as_long_as_it_may_by_a_clock_behind_the_log(behind: Site) -> None:
    behind.host.commands[("sleep", "9")] = Ran(None)
    acme = await behind.register()
    service = await acme.running()
    body = {"command": ["sleep", "9"], "timeout_s": 1}
    running = asyncio.create_task(acme.post(f"/v1/services/{service['id']}/exec", body))
    await acme.service()  # which has all open work looked at
    assert (await running).json["outcome"] == "timed_out"


async def test_an_answer_waits_for_its_work_by_a_clock_behind_the_log(behind: Site) -> None:
    acme = await behind.register()
    answer = await acme.post("/v1/services", {"name": "web", "image": "web:1", "port": 0}, Prefer="wait=5")
    assert (answer.status, answer.json["status"]) == (201, "running")


async def test_how_far_the_log_is_ahead_of_the_clock_is_told(behind: Site) -> None:
    acme = await behind.register()
    told = (await acme.get("/v1/system/health/detailed")).json["clock"]
    assert (told["followed"], told["off_s"]) == (False, pytest.approx(-HOUR_S, abs=60))
    status = (await behind.socket.get("/v1/system/status")).json
    assert status["now"] == pytest.approx(
        time.time_ns() / 1e9, abs=60
    )  # not by the log's: how old a backup is follows from it


@pytest.mark.parametrize("seconds", [-HOUR_S, YEAR_S])
async def test_a_backup_is_not_due_for_a_clock_that_is_not_followed(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Pairs have the machine's time, by which the newest is as old as it is."""
    clock = SystemClock()
    machine.set_by_s = seconds
    looks: asyncio.Queue[bool] = asyncio.Queue()

    def asked(made_at: int, now_s: float, every_s: float) -> bool:
        looks.put_nowait(is_due(made_at, now_s, every_s))
        return False

    monkeypatch.setattr(limits, "BACKUP_LOOK_S", 0.001)
    monkeypatch.setattr(schedule, "is_due", asked)
    monkeypatch.setattr(schedule, "last_made_at", lambda folder: time.time_ns() // 10**9 - 60)
    looking = schedule.Schedule(folder, folder, HOUR_S / 2, clock)
    looking.begin()
    async with asyncio.timeout(5):
        assert not await looks.get()
    await looking.close()
