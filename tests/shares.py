"""The pytest plugin of `bin/test`: of the test files one share, so that several pytests side by side run each test once.

The fast group's way to use all cores: each pytest imports and collects its own files only, and none has to tell another
of each test. With pytest-xdist that was a quarter of the group's time; it is for tests that wait. Files are dealt by
their size, largest first: shares take about as long. Invariant: every file is in exactly one share.

It brings the fast group's profile of Hypothesis too, which has to be known before any conftest is found.
"""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

TREE = Path(__file__).resolve().parents[1]
settings.register_profile("fast", max_examples=20, print_blob=True)  # the embedded group tries five times as many


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", default="1/1", metavar="N/M", help="of M shares of the test files the Nth")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of another share is not even imported."""
    return None if collection_path.suffix != ".py" or is_ours(collection_path, config) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What was named on the command line is collected by all: each keeps its own."""
    others = [item for item in items if not is_ours(item.path, config)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if is_ours(item.path, config)]


def is_ours(path: Path, config: pytest.Config) -> bool:
    """Whether a file is in this run's share."""
    number, shares = map(int, config.getoption("--share").split("/"))
    return share_of(path, shares, tuple(config.getini("testpaths"))) == number


def share_of(path: Path, shares: int, rooms: tuple[str, ...]) -> int:
    """The number of a file's share, from 1; the first has what is not of the tree."""
    return dealt(shares, rooms).get(path, 1)


@cache
def dealt(shares: int, rooms: tuple[str, ...]) -> dict[Path, int]:
    """Each file, where it goes: to the share that has least so far."""
    sizes = {path: path.stat().st_size for room in rooms for path in (TREE / room).rglob("*.py")}
    loads = dict.fromkeys(range(1, shares + 1), 0)
    found: dict[Path, int] = {}
    for path, size in sorted(sizes.items(), key=lambda one: (not one[0].name.startswith("test_"), -one[1], one[0])):
        found[path] = min(loads, key=lambda number: (loads[number], number))
        loads[found[path]] += size
    return found
