"""What grows with the log and with what is known, and what does not: a server on logs of three sizes, the smallest as bare.

The long one is of hundreds of tenants whose services were deployed again and again; the wide one is of 1,000 tenants with 20
services each, deployed once.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from msgspec import Struct

from tests.bench import history, load
from tests.bench.figure import Figure
from tests.bench.over_http import CONNECTIONS_AT_RATE, RATE, Asked, prepared
from tests.bench.process import platform, serving

SHORT, LONG, QUICK_LONG = 10_000, 5_000_000, 500_000
ROUNDS = 144  # of deploys of each service of the long one: it is of some 800 tenants
TENANTS, QUICK_TENANTS, SERVICES = 999, 100, 20  # one more is who asks, and 1,000 are the most
SECONDS = 4.0
SIGNED_WITHIN_S = 600
PAGE = "/v1/events?follow=false&limit=100"


class Found(Struct, frozen=True):
    """A server on one log. Times in ms, sizes in MB, what a request costs in µs of CPU."""

    events: int
    log: float
    views: float
    built_s: float
    ready: float
    resident: float
    get: float
    post: float
    page: float


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Each size by itself, one after the other: the machine has to be quiet for it."""
    sizes = {
        "short": history.Shape(SHORT),
        "wide": history.Shape(tenants=QUICK_TENANTS if quick else TENANTS, services=SERVICES, rounds=1),
        "long": history.Shape(QUICK_LONG if quick else LONG, rounds=ROUNDS),
    }
    found = {name: looked(folder / name, shape) for name, shape in sizes.items()}
    short = found.pop("short")
    for name, one in found.items():
        of = f"{name}: {one.events:,} events"
        yield Figure(f"{of}, log", "MB", one.log, short.log)
        yield Figure("… log, of an event", "bytes", one.log * 1e6 / one.events, short.log * 1e6 / short.events)
        yield Figure("… views", "MB", one.views, short.views)
        yield Figure("… views made anew, with the start", "s", one.built_s, short.built_s)
        yield Figure("… start, views in step", "ms", one.ready, short.ready)
        yield Figure("… resident after the start", "MB", one.resident, short.resident)
        yield Figure("… GET services, CPU", "µs", one.get, short.get)
        yield Figure("… POST env, CPU", "µs", one.post, short.post)
        yield Figure("… GET events, CPU", "µs", one.page, short.page)


def looked(data: Path, shape: history.Shape) -> Found:
    """Writes the log, starts on it without views and three times with them, and asks."""
    events = history.lay(data, shape)
    log_mb = megabytes(data, "events.db")
    with serving(platform(data), data.with_suffix(".log")) as server:
        built_s = server.ready_s
    ready = []
    for _ in range(3):
        with serving(platform(data), data.with_suffix(".log")) as server:
            ready.append(server.ready_s * 1e3)
            resident = server.resident_mb()
            views_mb = megabytes(data, "views.db")
    with serving(platform(data), data.with_suffix(".log")) as server:
        until_signed(data, events)
        get, post = prepared(server)
        page = (server, get[1].replace(b"/v1/services", PAGE.encode(), 1))
        costs = [cost(asked) for asked in (get, post, page)]
    return Found(events, log_mb, views_mb, built_s, median(ready), resident, *costs)


def until_signed(data: Path, position: int) -> None:
    """Waits until a server has caught up with the signing of a log that it did not write: that costs CPU beside requests."""
    signed, deadline = data / "checkpoints" / "signed", time.monotonic() + SIGNED_WITHIN_S
    while not (signed.exists() and f"\n{position}\n" in signed.read_text()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"position {position} was not signed within {SIGNED_WITHIN_S} s")
        time.sleep(1)


def megabytes(data: Path, name: str) -> float:
    return sum(path.stat().st_size for path in data.glob(f"{name}*")) / 1e6


def cost(asked: Asked) -> float:
    """CPU of one request at a constant rate, in microseconds; the first second warms."""
    server, request = asked
    load.put(server.port, request, CONNECTIONS_AT_RATE, RATE, 1)
    before = server.cpu_s()
    answers = load.put(server.port, request, CONNECTIONS_AT_RATE, RATE, SECONDS).answers
    return (server.cpu_s() - before) / answers * 1e6
