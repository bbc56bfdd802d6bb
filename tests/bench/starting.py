"""How long a start takes with a long log and with a short one, views in step; and what the process takes in memory."""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench import history
from tests.bench.figure import Figure
from tests.bench.process import docker_is_here, platform, serving
from tests.parts import docker

SHORT, LONG, QUICK_LONG = 1_000, 1_000_000, 100_000
SETTLE_S = 2.0  # from ready until memory is read


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Milliseconds from the spawn to ready; both in turn, so that what else the machine does meets both."""
    short, long = folder / "short", folder / "long"
    for data, events in ((short, SHORT), (long, QUICK_LONG if quick else LONG)):
        history.lay(data, history.Shape(events))
        settle(data)
    both = [(started_ms(long), started_ms(short)) for _ in range(3 if quick else 9)]
    named = "start with 100k events, bare: 1k" if quick else "start with 1M events, bare: 1k"
    yield Figure(named, "ms", median(one for one, _ in both), median(other for _, other in both))


def settle(data: Path) -> None:
    """Has all views made; those of the metering are made while it serves."""
    with serving(platform(data), data.with_suffix(".log")):
        while not (data / "metering.db").exists():
            time.sleep(0.05)


def started_ms(data: Path) -> float:
    with serving(platform(data), data.with_suffix(".log")) as server:
        return server.ready_s * 1e3


def memory(folder: Path, quick: bool) -> Iterator[Figure]:
    """Megabytes resident, a while after the start, with each engine that is here."""
    engines = {"embedded": platform(folder / "embedded")}
    if docker_is_here():
        engines["docker"] = platform(folder / "docker", "--docker-host", docker.HOST, engine="docker")
    for engine, argv in engines.items():
        with serving(argv, folder / f"{engine}.log") as server:
            time.sleep(SETTLE_S)
            yield Figure(f"resident when idle, {engine}", "MB", server.resident_mb())
