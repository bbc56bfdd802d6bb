"""Hints that go from a thread to the loop."""

import asyncio
import threading

import pytest

from ahplat import limits
from ahplat.engines.changes import Changes
from ahplat.errors import EngineAway


async def test_hints_of_one_service_merge_while_nobody_took_them() -> None:
    changes = Changes()
    for service in ("a", "b", "a", "a"):
        changes.put(service)
    changes.put("a")
    assert [await changes.take(), await changes.take()] == ["a", "b"]
    changes.put("a")
    assert await changes.take() == "a"


async def test_a_hint_from_another_thread_wakes_the_reader() -> None:
    changes = Changes()
    reader = asyncio.ensure_future(changes.take())
    await asyncio.sleep(0)
    threading.Thread(target=changes.put, args=("a",)).start()
    assert await asyncio.wait_for(reader, 5) == "a"


async def test_the_end_is_told_after_the_last_hint() -> None:
    changes = Changes()
    changes.put("a")
    changes.end("cut off")
    assert await changes.take() == "a"
    with pytest.raises(EngineAway, match="cut off"):
        await changes.take()


async def test_what_does_not_fit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WATCH_SERVICES", 2)
    changes = Changes()
    for service in ("a", "b", "c"):
        changes.put(service)
    changes.end("done")
    assert [await changes.take(), await changes.take()] == ["a", "b"]
    with pytest.raises(EngineAway):
        await changes.take()
