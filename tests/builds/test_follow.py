"""A program whose end is waited for leaves nothing behind, wherever that waiting is given up."""

import asyncio
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ahplat import processes
from ahplat.errors import Unavailable
from tests.builds.marked import marked

pytestmark = pytest.mark.embedded

FORKS = "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(300)\n"


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def follow(mark: str, folder: Path, *argv: str) -> Any:
    env = {"PATH": os.environ["PATH"]}
    return processes.follow(argv, cwd=folder, env=env, mark=mark, hear=lambda _: None, timeout_s=60)


@pytest.mark.parametrize("is_slow", [True, False])
async def test_one_that_is_given_up_while_it_starts_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """Also where it runs already, and only the loop has not heard of it yet."""
    mark, start = f"AH_TEST={secrets.token_hex(8)}", asyncio.create_subprocess_exec
    runs, told = asyncio.Event(), asyncio.Event()

    async def slow(*argv: Any, **how: Any) -> Any:
        process = await start(*argv, **how)
        await eventually(lambda: len(marked(mark)) >= 2)
        runs.set()
        await told.wait()
        return process

    if is_slow:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    before = descriptors()
    following = asyncio.ensure_future(follow(mark, tmp_path, sys.executable, "-c", FORKS))
    if is_slow:
        await asyncio.wait_for(runs.wait(), 15)
    else:
        await asyncio.sleep(0)
    following.cancel()
    await asyncio.sleep(0)
    told.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(following, 15)
    await eventually(lambda: not marked(mark))
    await eventually(lambda: descriptors() <= before)


async def test_one_that_is_missing_is_said_so_and_holds_nothing_open(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(Unavailable, match="program_missing"):
        await follow("AH_TEST=none", tmp_path, "/nowhere/program")
    assert descriptors() <= before
