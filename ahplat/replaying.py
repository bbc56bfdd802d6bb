"""One fold of a log into a new file of views, as a process of its own: `python -m ahplat.replaying` and what a Fold has.

It is a process because a process has one core, and chooses the order of sets and hashes when it begins (PYTHONHASHSEED).
Each line that it writes is how many events it has come past.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from ahplat.processes import start_piped
from events.database import open_reader
from projections.metering import METERING
from projections.shares import make_share
from projections.views import PROJECTIONS, rebuild

KINDS = {"views": PROJECTIONS, "metering": METERING}


class FoldFailed(Exception):
    """A fold did not come to its end; the text says why."""


class Fold(Struct, frozen=True):
    """What to fold, up to which position, into which new file; all of it, or one of so many shares of the tenants."""

    log: Path
    into: Path
    kind: str
    position: int
    installation: str = ""
    share: int = 0
    shares: int = 1
    seed: str = "random"  # of hashes


async def fold_side_by_side(folds: Sequence[Fold], told: Callable[[int], None]) -> None:
    """Has a process do each; tells how many events all have come past. Where one fails the others are ended.

    Raises FoldFailed, and OSError where none can be started.
    """
    done = [0] * len(folds)

    def came(number: int, folded: int) -> None:
        done[number] = folded
        told(sum(done))

    folding = [asyncio.ensure_future(_fold_apart(fold, partial(came, number))) for number, fold in enumerate(folds)]
    try:
        await asyncio.gather(*folding)
    finally:
        for one in folding:
            one.cancel()
        await asyncio.gather(*folding, return_exceptions=True)


async def _fold_apart(fold: Fold, told: Callable[[int], None]) -> None:
    """Has a process do it, and ends that where this ends early."""
    given = (fold.log, fold.into, fold.kind, fold.position, fold.installation, fold.share, fold.shares)
    argv = [sys.executable, "-P", "-m", "ahplat.replaying", *map(str, given)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    environ |= {"PYTHONHASHSEED": fold.seed, "PYTHONPATH": _root()}
    starting = asyncio.ensure_future(start_piped(argv, environ, Path.cwd()))
    try:
        await _follow(await asyncio.shield(starting), told)
    finally:
        process = await starting
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _follow(process: asyncio.subprocess.Process, told: Callable[[int], None]) -> None:
    assert process.stdout and process.stderr
    said = asyncio.ensure_future(process.stderr.read())
    try:
        async for line in process.stdout:
            told(int(line))
        if code := await process.wait():
            text = (await said).decode(errors="replace").strip()
            raise FoldFailed(text.rpartition("\n")[2] or f"it ended with {code}")
    finally:
        said.cancel()


def _root() -> str:
    """Where a process finds this code."""
    return str(Path(__file__).parents[1])


def _fold(log_path: str, into: str, kind: str, position: str, installation: str, share: str, shares: str) -> None:
    log = open_reader(Path(log_path))
    if shares == "1":
        rebuild(Path(into), log, installation, _tell, KINDS[kind], int(position))
    else:
        make_share(Path(into), log, installation, _tell, int(share), int(shares), int(position))
    log.close()


def _tell(done: int, _: int) -> None:
    print(done, flush=True)


if __name__ == "__main__":
    _fold(*sys.argv[1:])
