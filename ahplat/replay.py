"""Replays: views made from the whole log, twice, under two hash seeds, beside the live ones; and where they differ.

What a server reads and decides by are views; the log is what counts. Equal digests show that the one follows from the
other. The invariant: nothing of the live folder is written, and a server that runs is not disturbed.
"""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from ahplat.replaying import KINDS, Fold, fold_side_by_side
from events.database import copy_database, open_reader
from events.log import head
from projections.compare import changes, tables_made
from projections.views import checkpoint_in, digests, fingerprint

SEEDS = ("1", "2")
Progress = Callable[[int, int], None]  # (events folded, events in all)


class Replayed(Struct, frozen=True):
    """What came of one kind of views. `live` says whether the live file was compared, or why not.

    `difference` says where the first two that are not equal part; "" where all are equal.
    """

    kind: str
    position: int
    tables: int
    live: str
    difference: str


def replay(data_dir: Path, position: int | None, only: str, progress: Progress) -> list[Replayed]:
    """Replays a folder's log up to a position (None: to where the live files are), and compares all there is.

    With `only` the tables of one projection are compared. Raises FoldFailed, and apsw errors where a file is damaged.
    """
    kinds = [kind for kind, projections in KINDS.items() if not only or only in projections]
    with tempfile.TemporaryDirectory(prefix="ah-replay-") as folder:
        return [_replayed(data_dir, Path(folder), kind, position, only, progress) for kind in kinds]


def _replayed(data_dir: Path, folder: Path, kind: str, position: int | None, only: str, progress: Progress) -> Replayed:
    live, at, state = _live(data_dir / f"{kind}.db", folder / f"{kind}-live.db", position)
    if at is None:
        log = open_reader(data_dir / "events.db")
        at = head(log) if position is None else position
        log.close()
    made = [folder / f"{kind}-{seed}.db" for seed in SEEDS]
    folds = [Fold(data_dir / "events.db", file, kind, at, seed=seed) for file, seed in zip(made, SEEDS, strict=True)]
    asyncio.run(fold_side_by_side(folds, lambda done: progress(done, at * len(folds))))
    files = dict(zip((f"the replay under hash seed {seed}" for seed in SEEDS), made, strict=True))
    if live:
        files["the live file"] = live
    first, *others = files
    wanted = tables_made({only: KINDS[kind][only]} if only else KINDS[kind])
    for other in others:
        if found := _difference(files[first], files[other], wanted, first, other):
            return Replayed(kind, at, len(wanted), state, found)
    return Replayed(kind, at, len(wanted), state, "")


def _live(path: Path, copy: Path, position: int | None) -> tuple[Path | None, int | None, str]:
    """(a copy of the live file, or None; where it is, where nobody says where to; a word about it)."""
    if not path.exists():
        return None, None, "there is no live file"
    copy_database(path, copy)
    checkpoint = checkpoint_in(copy)
    if checkpoint is None:
        return None, None, "the live file has no checkpoint"
    if checkpoint.fingerprint != fingerprint():
        return None, None, "the live file is of other code"
    if position not in (None, checkpoint.position):
        return None, None, f"the live file is at {checkpoint.position}"
    return copy, checkpoint.position, ""


def _difference(one: Path, other: Path, wanted: list[str], name: str, other_name: str) -> str:
    """Where two files part first, in words; "" where they are equal."""
    left, right = open_reader(one), open_reader(other)
    try:
        of_left, of_right = digests(left), digests(right)
        for table in wanted:
            if table not in of_right:
                return f"there is no table {table} in {other_name}"
            if of_left[table] != of_right[table]:
                change, _ = next(changes(left, right, table))
                has = f"{name} has {_words(change.before)}, {other_name} has {_words(change.after)}"
                return f"table {table}, row {_words(change.key)}: {has}"
        return ""
    finally:
        left.close()
        right.close()


def _words(row: dict[str, object] | None) -> str:
    return "no such row" if row is None else ", ".join(f"{name} {value}" for name, value in row.items())
