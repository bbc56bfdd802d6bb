"""How fast all views are made from the log on all cores, as a start does it, beside reading and decoding alone on one."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from ahplat.rebuilding import views_in_step
from events.catalog import decode
from events.database import open_reader
from events.log import read_all
from projections.views import CHUNK
from tests.bench import history
from tests.bench.figure import Figure

EVENTS, QUICK_EVENTS = 300_000, 50_000


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Events a second; the best of both, for what else the machine does only ever lowers it."""
    events = history.write(folder / "events.db", history.Shape(QUICK_EVENTS if quick else EVENTS))
    both = [(rebuilt(folder), read_and_decode(folder / "events.db")) for _ in range(2 if quick else 4)]
    ours, bare = min(one for one, _ in both), min(other for _, other in both)
    yield Figure("rebuild of all views", "events/s", events / ours, events / bare)


def read_and_decode(path: Path) -> float:
    """Seconds."""
    log = open_reader(path)
    began, position = time.perf_counter(), 0
    while chunk := read_all(log, position, CHUNK):
        for at in chunk:
            decode(at.type, at.data)
        position = chunk[-1].position
    took_s = time.perf_counter() - began
    log.close()
    return took_s


def rebuilt(folder: Path) -> float:
    """Seconds."""
    path, log_path = folder / "views.db", folder / "events.db"
    path.unlink(missing_ok=True)
    began = time.perf_counter()
    asyncio.run(views_in_step(path, log_path, history.INSTALLATION, lambda done, total: None)).close()
    return time.perf_counter() - began
