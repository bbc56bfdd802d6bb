"""What may go wrong, and that afterwards everybody knows what is true."""

import asyncio
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from ahplat import limits
from ahplat.answers import Done
from ahplat.commands.tenants import ChangeProfile
from ahplat.errors import Broken, Unavailable, Unknown
from tests.commands.given import TENANT
from tests.writer.harness import PATIENCE_S, Bench, a_key_for, outcomes

Database = Callable[[Bench], apsw.Connection]
LARGE = b"x" * 200_000


def full(db: apsw.Connection) -> None:
    """No page more fits into the file."""
    db.pragma("max_page_count", db.pragma("page_count"))


def roomy(db: apsw.Connection) -> None:
    db.pragma("max_page_count", 2**31)


def large() -> ChangeProfile:
    """A command that needs more room than a page has."""
    return ChangeProfile(tenant_id=TENANT, name=LARGE)


def on_commit(db: apsw.Connection, error: Exception | None, after: int = 0) -> None:
    """Has every COMMIT of a file, but for the first few, fail with this error, and rolled back by SQLite; None ends that."""
    left = [after]

    def fail() -> bool:
        left[0] -= 1
        if left[0] < 0 and error:
            raise error
        return False

    db.set_commit_hook(fail if error else None)


def code_of(outcome: Any) -> str:
    return f"{type(outcome).__name__} {getattr(outcome, 'code', '')}".strip()


async def in_step(bench: Bench) -> None:
    """Log and views are where they say, the chain holds, and a restart finds the same."""
    assert bench.log.position == bench.log.committed == bench.events()[-1].position == len(bench.events())
    assert bench.views_reader.execute("SELECT position FROM checkpoint").get == bench.log.position
    position = bench.log.position
    await bench.reopen()
    assert bench.log.position == position


# a full disk

BOTH = pytest.mark.parametrize("file", [lambda bench: bench.log.db, lambda bench: bench.views.db], ids=["log", "views"])


@BOTH
async def test_on_a_full_disk_nothing_is_half_written(bench: Bench, file: Database) -> None:
    before = len(bench.events())
    full(file(bench))
    async with bench.busy():
        futures = [bench.set(1), bench.submit(large()), bench.set(2)]
    assert [code_of(outcome) for outcome in await outcomes(futures)] == ["Unavailable disk_full"] * 3
    assert len(bench.events()) == bench.log.position == before
    assert bench.value() == 0
    assert not bench.broken.done()


@BOTH
async def test_when_there_is_room_again_the_writer_works_again(bench: Bench, file: Database) -> None:
    full(file(bench))
    key = a_key_for("once")
    await outcomes([bench.submit(large(), key=key)])
    roomy(file(bench))
    found = await bench.submit(large(), key=key)
    assert not found.replayed
    await in_step(bench)


async def test_a_full_disk_says_when_to_come_back(bench: Bench) -> None:
    full(bench.log.db)
    (found,) = await outcomes([bench.submit(large())])
    assert isinstance(found, Unavailable)
    assert found.retry_after_s >= 1


async def test_a_disk_that_is_full_only_at_the_commit_leaves_nothing_either(bench: Bench) -> None:
    before = len(bench.events())
    on_commit(bench.log.db, apsw.FullError("full"))
    assert [code_of(one) for one in await outcomes([bench.set(1)])] == ["Unavailable disk_full"]
    assert len(bench.events()) == bench.log.position == before
    on_commit(bench.log.db, None)
    await bench.set(2)
    assert bench.values(before) == [2]
    await in_step(bench)


async def test_a_full_disk_after_which_the_log_has_moved_is_an_unknown_outcome(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_commit(bench.log.db, apsw.FullError("full"))
    monkeypatch.setattr(bench.log, "last_position_in_file", lambda: 10**6)
    assert [code_of(one) for one in await outcomes([bench.set(1)])] == ["Unknown outcome_unknown"]
    assert [code_of(one) for one in await outcomes([bench.set(2)])] == ["Unavailable stopping"]
    on_commit(bench.log.db, None)


# the views fail after the log has it

VIEW_ERRORS = [apsw.FullError("full"), apsw.IOError("broken"), apsw.BusyError("locked")]


@pytest.mark.parametrize("error", VIEW_ERRORS, ids=lambda error: type(error).__name__)
async def test_what_the_log_has_counts_even_if_the_views_could_not_be_committed(bench: Bench, error: Exception) -> None:
    before = bench.log.position
    on_commit(bench.views.db, error)
    async with bench.busy():
        futures = [bench.set(1), bench.set(2)]
    assert [type(outcome) for outcome in await outcomes(futures)] == [Done, Done]
    assert bench.values(before) == [1, 2]
    assert bench.value() == 0
    on_commit(bench.views.db, None)
    await bench.set(3)
    assert bench.values(before) == [1, 2, 3]
    assert bench.value() == 3
    await in_step(bench)


async def test_nothing_is_decided_on_views_that_lag_behind_the_log(bench: Bench) -> None:
    before = bench.log.position
    on_commit(bench.views.db, apsw.FullError("full"))
    await bench.set(1)
    assert [code_of(one) for one in await outcomes([bench.set(2)])] == ["Unavailable disk_full"]
    assert bench.values(before) == [1]
    on_commit(bench.views.db, None)
    await bench.set(3)
    assert bench.values(before) == [1, 3]


async def test_views_that_lag_catch_up_by_themselves_and_say_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CATCH_UP_S", 0.01)
    caught_up = asyncio.Event()
    bench.writer.on_caught_up.append(caught_up.set)
    on_commit(bench.views.db, apsw.FullError("full"))
    await bench.set(1)
    assert bench.writer.behind
    assert bench.value() == 0
    on_commit(bench.views.db, None)
    await asyncio.wait_for(caught_up.wait(), PATIENCE_S)
    assert bench.value() == 1
    assert not bench.writer.behind
    await in_step(bench)


async def test_a_damaged_page_that_is_found_while_views_catch_up_stops_the_writer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CATCH_UP_S", 0.01)
    on_commit(bench.views.db, apsw.FullError("full"))
    await bench.set(1)
    on_commit(bench.views.db, apsw.CorruptError("a page is not what was written"))
    assert await bench.why_broken() is apsw.CorruptError
    on_commit(bench.views.db, None)


async def test_views_that_lag_catch_up_at_the_next_start(bench: Bench) -> None:
    on_commit(bench.views.db, apsw.FullError("full"))
    await bench.set(1)
    on_commit(bench.views.db, None)
    await bench.reopen()
    assert bench.value() == 1


async def test_a_fault_while_views_catch_up_does_not_keep_them_from_it_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bench.log.position
    on_commit(bench.views.db, apsw.FullError("full"))
    await bench.set(1)
    on_commit(bench.views.db, None)
    with monkeypatch.context() as patched:
        patched.setattr(bench.views, "apply", lambda at, event: 1 / 0)
        assert [code_of(one) for one in await outcomes([bench.set(2)])] == ["ZeroDivisionError"]
    await bench.set(3)
    assert bench.values(before) == [1, 3]
    assert bench.value() == 3


# an unknown outcome


async def test_another_error_at_the_commit_is_an_unknown_outcome_for_the_whole_batch(bench: Bench) -> None:
    async with bench.busy():
        futures = [bench.set(1), bench.set(2)]
        on_commit(bench.log.db, apsw.IOError("who knows"), after=1)
    found = await outcomes(futures)
    assert [code_of(one) for one in found] == ["Unknown outcome_unknown"] * 2
    on_commit(bench.log.db, None)


async def test_after_an_unknown_outcome_the_writer_stops_and_says_so(bench: Bench) -> None:
    on_commit(bench.log.db, apsw.IOError("who knows"))
    await outcomes([bench.set(1)])
    on_commit(bench.log.db, None)
    assert [code_of(one) for one in await outcomes([bench.set(2)])] == ["Unavailable stopping"]
    assert await bench.why_broken() is Unknown


async def test_what_waits_when_the_writer_stops_is_told_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH", 1)
    async with bench.busy():
        futures = [bench.set(n) for n in range(3)]
        on_commit(bench.log.db, apsw.IOError("who knows"), after=1)
    found = await outcomes(futures)
    on_commit(bench.log.db, None)
    assert [code_of(one) for one in found] == [
        "Unknown outcome_unknown",
        "Unavailable stopping",
        "Unavailable stopping",
    ]


async def test_what_became_of_an_unknown_outcome_is_told_by_a_repeat_after_the_restart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, commit = a_key_for("once"), bench.log.commit

    def half() -> None:
        commit()
        raise apsw.IOError("the answer of the disk was lost")

    monkeypatch.setattr(bench.log, "commit", half)
    before = bench.log.position
    assert [code_of(one) for one in await outcomes([bench.set(1, key=key)])] == ["Unknown outcome_unknown"]
    monkeypatch.undo()
    bench.views.rollback()
    await bench.reopen()
    again = await bench.set(1, key=key)
    assert again.replayed
    assert bench.values(before) == [1]
    assert bench.value() == 1


async def test_a_broken_invariant_stops_the_writer(bench: Bench) -> None:
    def breaks(_: apsw.Connection) -> Any:
        raise Broken("broken", "two and two are five")

    assert [code_of(one) for one in await outcomes([bench.set(1, answer=breaks)])] == ["Broken broken"]
    assert [code_of(one) for one in await outcomes([bench.set(2)])] == ["Unavailable stopping"]
    assert await bench.why_broken() is Broken


async def test_a_damaged_page_stops_the_writer(bench: Bench) -> None:
    def breaks(_: apsw.Connection) -> Any:
        raise apsw.CorruptError("a page is not what was written")

    await outcomes([bench.set(1, answer=breaks)])
    assert [code_of(one) for one in await outcomes([bench.set(2)])] == ["Unavailable stopping"]
    assert await bench.why_broken() is apsw.CorruptError


# somebody else's lock


@BOTH
async def test_a_lock_of_somebody_else_is_waited_for(bench: Bench, file: Database) -> None:
    other = apsw.Connection(file(bench).filename)
    other.execute("BEGIN IMMEDIATE")
    waited: list[int] = []

    def busy(times: int) -> bool:
        waited.append(times)
        if len(waited) == 3:
            other.execute("ROLLBACK")
        return times < 1  # every other time it is told to us: BEGIN is tried again

    file(bench).set_busy_handler(busy)
    before = bench.log.position
    await bench.set(1)
    assert waited == [0, 1, 0]
    assert bench.values(before) == [1]
    other.close()
    await in_step(bench)


@BOTH
async def test_a_lock_that_is_never_let_go_is_not_waited_for_for_ever(bench: Bench, file: Database) -> None:
    other = apsw.Connection(file(bench).filename)
    other.execute("BEGIN IMMEDIATE")

    def busy(times: int) -> bool:
        bench.clock.s += limits.BUSY_S / 4
        return False

    file(bench).set_busy_handler(busy)
    assert [code_of(one) for one in await outcomes([bench.set(1)])] == ["Unavailable log_busy"]
    other.execute("ROLLBACK")
    other.close()
    await bench.set(2)
    await in_step(bench)


async def test_an_error_at_the_beginning_of_a_batch_does_not_keep_the_next_from_beginning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise apsw.IOError("once")

    with monkeypatch.context() as patched:
        patched.setattr(bench.views, "begin", fails)
        assert [code_of(one) for one in await outcomes([bench.set(1)])] == ["IOError"]
    await bench.set(2)
    assert bench.value() == 2
