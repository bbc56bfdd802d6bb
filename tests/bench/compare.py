"""Two revisions in one run: their figures in pairs, one right after the other and in turns, so that a noisy machine is the
same for both. What counts is the ratio within a pair; the middle one of several is shown, and how far they lie apart.

The other revision is checked out beside this one and run with the packages that are here.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from tests.bench.figure import columns, number

ROOT = Path(__file__).parents[2]
LIMIT_S = 1_800  # of one group
END_S = 60  # of one that is interrupted


class Paired(Struct, frozen=True):
    """A figure of both: the values in the middle, and of each pair what this tree's is of the other's."""

    name: str
    unit: str
    other: float
    here: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


@contextmanager
def checked_out(revision: str, into: Path) -> Iterator[Path]:
    """A tree of a revision. Raises subprocess.CalledProcessError where there is none."""
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", into, revision], check=True)
    try:
        yield into
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", into], check=True)


def paired(other: Path, group: str, quick: bool, rounds: int) -> list[Paired]:
    """The figures of a group that both have. Who is first changes from round to round."""
    units: dict[str, str] = {}
    pairs: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds):
        trees = (other, ROOT) if turn % 2 == 0 else (ROOT, other)
        found = {tree: _measured(tree, group, quick) for tree in trees}
        for name, (unit, value) in found[ROOT].items():
            if name in found[other]:
                units[name] = unit
                pairs.setdefault(name, []).append((found[other][name][1], value))
    return [
        Paired(
            name,
            units[name],
            statistics.median(there for there, _ in values),
            statistics.median(here for _, here in values),
            [here / there for there, here in values if there],
        )
        for name, values in pairs.items()
        if any(there for there, _ in values)
    ]


def _measured(tree: Path, group: str, quick: bool) -> dict[str, tuple[str, float]]:
    """Name → (unit, value), by a process in that tree; its aims do not matter."""
    argv = [sys.executable, "-m", "tests.bench.main", "--json", "--only", group, *(["--quick"] if quick else [])]
    environ = os.environ | {"PYTHONPATH": str(tree)}
    with subprocess.Popen(argv, cwd=tree, env=environ, stdout=subprocess.PIPE, text=True, process_group=0) as child:
        try:
            said, _ = child.communicate(timeout=LIMIT_S)
        except BaseException:  # Ctrl-C reaches it through us, once, and it has time to end what it started
            os.killpg(child.pid, signal.SIGINT)
            child.communicate(timeout=END_S)
            raise
    if not said.strip():
        raise ChildProcessError(f"{group} in {tree} measured nothing (exit code {child.returncode})")
    return {one["name"]: (one["unit"], one["value"]) for one in json.loads(said.strip().splitlines()[-1])}


def table(found: list[Paired], revision: str) -> str:
    """The pairs in columns.

    >>> print(table([Paired("GET", "ms", 2.0, 1.0, [0.4, 0.5, 0.6])], "v1"))
    figure  unit  v1  here  ratio  from    to
    GET     ms     2     1   0.50  0.40  0.60
    """
    heads = ("figure", "unit", revision, "here", "ratio", "from", "to")
    rows = [
        (
            one.name,
            one.unit,
            number(one.other),
            number(one.here),
            *(f"{ratio:.2f}" for ratio in (one.ratio, min(one.ratios), max(one.ratios))),
        )
        for one in found
    ]
    return columns([heads, *rows], left=(0, 1))
