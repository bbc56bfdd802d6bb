"""How fast a whole log is checked: by `ah verify` on all cores, and by the verifier of its own on one."""

import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ahplat.verification import verify
from events.database import open_reader
from events.ranges import Fault
from tests.bench import history
from tests.bench.figure import Figure

EVENTS, QUICK_EVENTS = 1_000_000, 200_000
PROGRAM = Path(__file__).parents[2] / "bin" / "ah-verify"


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Events a second; the best of each, for what else the machine does only ever lowers it."""
    path = folder / "events.db"
    events = history.write(path, history.Shape(QUICK_EVENTS if quick else EVENTS))
    rounds = [(on_all_cores(path), by_itself(path), read_and_hash(path)) for _ in range(2 if quick else 3)]
    ours, alone, bare = (events / min(one) for one in zip(*rounds, strict=True))
    yield Figure("ah verify, all cores", "events/s", ours, bare)
    yield Figure("bin/ah-verify, one core", "events/s", alone, bare)


def on_all_cores(path: Path) -> float:
    """Seconds."""
    began = time.perf_counter()
    assert not isinstance(verify(path, [], lambda done, total: None), Fault)
    return time.perf_counter() - began


def by_itself(path: Path) -> float:
    """Seconds, its start included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, str(PROGRAM), str(path), "--unsigned"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def read_and_hash(path: Path) -> float:
    """Seconds that reading takes, and two hashes of each event: of its bytes, and of 65 more. On one core."""
    log = open_reader(path)
    began, link = time.perf_counter(), bytes(32)
    for data, meta in log.execute("SELECT data, meta FROM event ORDER BY position"):
        link = sha256(b"\1" + link + sha256(data + meta).digest()).digest()
    took_s = time.perf_counter() - began
    log.close()
    return took_s
