"""What was used and what was reserved: `metering.db`, a file of read models of its own, and the figures that follow from it.

No command is decided by it, so it does not stand in the writer's way: it follows the log at its own pace, and whoever asks
waits until it has come as far as the log was. Amounts are integers, intervals half-open, and prices are nowhere.

The invariant: however a time is split, the figures of its parts add up to those of the whole.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from apsw import Connection
from msgspec import Struct, structs

from projections import intervals, usage
from projections.views import Progress, Projections, Views, open_views

METERING: Projections = {"intervals": intervals, "usage": usage}
HOUR_S = 3_600


class Figures(Struct, frozen=True):
    """What one resource of a tenant came to in [at, until): a service, a database, or what is stored (then no id).

    Seconds count whole. `*_mb_s` is megabytes (2**20 bytes) times seconds, `*_milli_s` thousandths of a core times seconds.
    """

    at: int
    until: int
    kind: str
    resource_id: str
    running_s: int = 0
    reserved_mb_s: int = 0
    reserved_milli_s: int = 0
    build_s: int = 0
    cpu_us: int = 0
    memory_mb_s: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    stored_byte_s: dict[str, int] = {}

    def __add__(self, other: "Figures") -> "Figures":
        """Of the same resource in the same time."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _AMOUNTS}
        kinds = sorted(self.stored_byte_s.keys() | other.stored_byte_s.keys())
        stored = {kind: self.stored_byte_s.get(kind, 0) + other.stored_byte_s.get(kind, 0) for kind in kinds}
        return structs.replace(self, **sums, stored_byte_s=stored)


_AMOUNTS = tuple(
    name for name, kind in Figures.__annotations__.items() if kind in (int, "int") and name not in ("at", "until")
)


def open_metering(path: Path, log: Connection, installation: str, progress: Progress) -> Views:
    """Opens the file in step with the log, and makes it where there is none."""
    return open_views(path, log, installation, progress, METERING)


def windows(since: int, until: int, window_s: int) -> list[tuple[int, int]]:
    """[since, until) cut at the multiples of `window_s`; whole where that is 0.

    >>> windows(3500, 7300, 3600), windows(5, 9, 0)
    ([(3500, 3600), (3600, 7200), (7200, 7300)], [(5, 9)])
    """
    if since >= until:
        return []
    if not window_s:
        return [(since, until)]
    inner = range(since - since % window_s + window_s, until, window_s)
    borders = [since, *inner, until]
    return list(pairwise(borders))


def figures_of(
    db: Connection, tenant_id: str, since: int, until: int, window_s: int, resource_id: str = ""
) -> list[Figures]:
    """A tenant's figures, oldest window first, without those in which there is nothing to say; of one resource where it
    is named. What still lasts is counted up to `until`, which is therefore no later than now."""
    found: dict[tuple[int, str, str], Figures] = {}
    cut = windows(since, until, window_s)
    for one in (*_of_intervals(db, tenant_id, cut), *_of_use(db, tenant_id, cut), *_of_storage(db, tenant_id, cut)):
        if resource_id in ("", one.resource_id):
            key = (one.at, one.kind, one.resource_id)
            found[key] = found[key] + one if key in found else one
    return [found[key] for key in sorted(found)]


Spanning = TypeVar("Spanning", intervals.IntervalRow, usage.StoredRow)


def _shares(rows: list[Spanning], cut: list[tuple[int, int]]) -> Iterator[tuple[Spanning, int, int, int]]:
    """Each row with each window of which it has a second: (row, window's begin, window's end, seconds)."""
    for row in rows:
        for begin, end in cut:
            seconds = min(end, row.ended_at) - max(begin, row.begun_at)
            if seconds > 0:
                yield row, begin, end, seconds


def _of_intervals(db: Connection, tenant_id: str, cut: list[tuple[int, int]]) -> Iterator[Figures]:
    rows = intervals.of_tenant(db, tenant_id, cut[0][0], cut[-1][1]) if cut else []
    for row, begin, end, seconds in _shares(rows, cut):
        if row.kind == "build":
            yield Figures(begin, end, "service", row.resource_id, build_s=seconds)
        else:
            yield Figures(
                begin,
                end,
                row.kind,
                row.resource_id,
                running_s=seconds,
                reserved_mb_s=seconds * row.memory_mb,
                reserved_milli_s=seconds * row.cpu_milli,
            )


def _of_use(db: Connection, tenant_id: str, cut: list[tuple[int, int]]) -> Iterator[Figures]:
    begins = [begin for begin, _ in cut]
    for row in usage.used_of(db, tenant_id, cut[0][0], cut[-1][1]) if cut else []:
        begin, end = cut[bisect_right(begins, row.hour) - 1]
        yield Figures(
            begin,
            end,
            row.kind,
            row.resource_id,
            cpu_us=row.cpu_us,
            memory_mb_s=row.memory_mb_s,
            rx_bytes=row.rx_bytes,
            tx_bytes=row.tx_bytes,
        )


def _of_storage(db: Connection, tenant_id: str, cut: list[tuple[int, int]]) -> Iterator[Figures]:
    rows = usage.stored_of(db, tenant_id, cut[0][0], cut[-1][1]) if cut else []
    for row, begin, end, seconds in _shares(rows, cut):
        yield Figures(begin, end, "storage", "", stored_byte_s={row.kind: seconds * row.bytes})
