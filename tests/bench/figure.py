"""Figures and what is aimed at: a measured value, the bare one beside it, and whether the aim of the issue is met."""

from collections.abc import Collection, Sequence
from typing import Literal

from msgspec import Struct

MISSED, MET = "MISSED", "met"


class Aim(Struct, frozen=True):
    """A bound for a figure's value, for its ratio to the bare one, or for what it has `over` the bare one."""

    of: Literal["value", "ratio", "over"]
    at: Literal["most", "least"]
    bound: float


class Figure(Struct, frozen=True):
    """One line of the table. `bare` is None where there is nothing of the same kind to stand beside it."""

    name: str
    unit: str
    value: float
    bare: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.bare if self.bare else None

    @property
    def verdict(self) -> str:
        """MET, MISSED, or "" where nothing is aimed at."""
        aim = AIMS.get(self.name)
        if aim is None:
            return ""
        over = self.value - (self.bare or 0.0)
        measured = {"value": self.value, "ratio": self.ratio, "over": over}[aim.of]
        assert measured is not None, f"{self.name} has a ratio as its aim and no bare value"
        return MET if (measured <= aim.bound if aim.at == "most" else measured >= aim.bound) else MISSED


AIMS = {
    "GET services, CPU at 95/s": Aim("ratio", "most", 1.5),
    "POST env, CPU at 95/s": Aim("ratio", "most", 2.2),
    "GET services, 32 connections": Aim("value", "least", 10_000),
    "POST env, 32 connections": Aim("value", "least", 6_000),
    "append, 64 callers": Aim("value", "least", 35_000),
    "commands, 64 callers": Aim("value", "least", 15_000),
    "rebuild of all views": Aim("value", "least", 200_000),
    "ah verify, all cores": Aim("value", "least", 500_000),
    "bin/ah-verify, one core": Aim("value", "least", 100_000),
    "commit to frame, 1 stream, p50": Aim("value", "most", 1),
    "commit to frame, 100 streams, p50": Aim("value", "most", 4),
    "start with 1M events, bare: 1k": Aim("ratio", "most", 1.5),
    "resident when idle, embedded": Aim("value", "most", 80),
    "resident when idle, docker": Aim("value", "most", 80),
    "deploy, embedded": Aim("over", "most", 150),
    "deploy, docker": Aim("over", "most", 150),
    "a followed line, embedded, p95": Aim("over", "most", 50),
    "a followed line, docker, p95": Aim("over", "most", 50),
    "build, docker": Aim("over", "most", 150),
    "build, docker, from a clone to a push": Aim("over", "most", 150),
    "POST service to first 200": Aim("over", "most", 150),
    "POST database to running, postgres": Aim("over", "most", 150),
    "POST database to running, redis": Aim("over", "most", 150),
    "requests lost at switches": Aim("value", "most", 0),
    "400/s for 600 s: answers other than 2xx": Aim("value", "most", 0),
    "… of streams and restarts beside it": Aim("value", "most", 0),
    "… p99 in the end, bare: at first": Aim("ratio", "most", 1.5),
    "… resident in the end, bare: at first": Aim("ratio", "most", 1.1),
    "1500/s for 20 s: neither 2xx nor refused with Retry-After": Aim("value", "most", 0),
}

_HEADS = ("figure", "unit", "measured", "bare", "ratio", "aim", "")


def table(figures: list[Figure]) -> str:
    """The figures in columns, numbers to the right."""
    return columns([_HEADS, *(_row(figure) for figure in figures)], left=(0, 1, 6))


def columns(rows: Sequence[tuple[str, ...]], left: Collection[int]) -> str:
    """Rows with their cells below one another; those in the columns that `left` names begin at the left."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(figure: Figure) -> tuple[str, ...]:
    aim = AIMS.get(figure.name)
    return (
        figure.name,
        figure.unit,
        number(figure.value),
        "" if figure.bare is None else number(figure.bare),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if aim is None else _aim(aim),
        figure.verdict,
    )


def _aim(aim: Aim) -> str:
    sign = "≤" if aim.at == "most" else "≥"
    return {
        "value": f"{sign} {aim.bound:,g}",
        "ratio": f"{sign} {aim.bound:g} × bare",
        "over": f"{sign} bare + {aim.bound:g}",
    }[aim.of]


def number(value: float) -> str:
    """Three digits that count.

    >>> number(12345.6), number(12.34), number(0.01234)
    ('12,346', '12.3', '0.0123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(figures: list[Figure]) -> list[dict[str, object]]:
    """The same, for programs."""
    return [
        {
            "name": figure.name,
            "unit": figure.unit,
            "value": figure.value,
            "bare": figure.bare,
            "ratio": figure.ratio,
            "aim": aim and {"of": aim.of, "at": aim.at, "bound": aim.bound},
            "met": None if aim is None else figure.verdict == MET,
        }
        for figure in figures
        for aim in [AIMS.get(figure.name)]
    ]
