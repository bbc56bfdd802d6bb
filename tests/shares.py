"""The pytest plugin of `bin/test`: of the test files one share, so that several pytests side by side run each test once.

The fast group's way to use all cores: each pytest imports and collects its own files only, and none has to tell another
of each test. With pytest-xdist that was a quarter of the group's time; it is for tests that wait. Files are dealt by
their size, largest first: shares take about as long. Invariant: every file is in exactly one share.

Of tests that are `sampled` it draws one case in SAMPLED_OF, or as many as `sampled(of=…)` says, by a seed: cases that are
alike and take long, of which other ones are run each time. `among="file"` draws of all that is so marked in a file, not
of each test's cases. Without a seed all are.

The fast group has the files of FAST_ROOMS, the inside group the others: `--rooms` says whose.

It brings their profile of Hypothesis too, which has to be known before any conftest is found.
"""

import random
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

TREE = Path(__file__).resolve().parents[1]
SAMPLED_OF = 3
OF_RULES = "checkpoints commands engines events golden routers sealing writer"
FAST_ROOMS = ("events", "projections", *(f"tests/{name}" for name in OF_RULES.split()))
SHORT = TREE / "tests/real/engine"  # many short tests: side by side they come last, and fill what the long ones leave
settings.register_profile("fast", max_examples=20, print_blob=True, deadline=None)
settings.register_profile("more", max_examples=100, print_blob=True, deadline=None)  # the embedded group's
settings.load_profile("more")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", default="1/1", metavar="N/M", help="of M shares of the test files the Nth")
    parser.addoption("--rooms", default="", metavar="fast|inside", help="only the files of this group")
    parser.addoption("--sample", default="", metavar="SEED", help="of what is sampled, the cases that this draws")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of another share is not even imported."""
    return None if collection_path.suffix != ".py" or is_ours(collection_path, config) else True


@pytest.hookimpl(trylast=True)  # a sample is drawn of what -m and -k have left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What was named on the command line is collected by all: each keeps its own, and of that what is drawn."""
    left_out = not_drawn(items, config.getoption("--sample"))
    kept = [item for item in items if is_ours(item.path, config) and item.nodeid not in left_out]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = sorted(kept, key=lambda item: item.path.is_relative_to(SHORT))


def not_drawn(items: list[pytest.Item], seed: str) -> set[str]:
    """The cases of sampled tests that are not run, by their node ids: the same for all that collect the same."""
    cases: dict[tuple[str, int], list[str]] = defaultdict(list)  # (test or file, one in how many) → its cases
    for item in items:
        if seed and (marker := item.get_closest_marker("sampled")):
            among = "::" if marker.kwargs.get("among") == "file" else "["
            cases[item.nodeid.partition(among)[0], marker.kwargs.get("of", SAMPLED_OF)].append(item.nodeid)
    left_out: set[str] = set()
    for (group, of), found in sorted(cases.items()):
        drawn = random.Random(f"{seed} {group}").sample(sorted(found), -(-len(found) // of))
        left_out |= set(found) - set(drawn)
    return left_out


def is_ours(path: Path, config: pytest.Config) -> bool:
    """Whether a file is in this run's share."""
    number, shares = map(int, config.getoption("--share").split("/"))
    return dealt(shares, tuple(config.getini("testpaths")), config.getoption("--rooms")).get(path, 1) == number


def group_of(path: Path) -> str:
    """Of a file of the tree, the group whose it is."""
    return "fast" if any(path.is_relative_to(TREE / room) for room in FAST_ROOMS) else "inside"


@cache
def dealt(shares: int, rooms: tuple[str, ...], group: str = "") -> dict[Path, int]:
    """Each file of the tree, where it goes: to the share that has least so far, or to none (0) if it is another group's.

    What is not of the tree was named on the command line: the first share has it.
    """
    sizes = {path: path.stat().st_size for room in rooms for path in (TREE / room).rglob("*.py")}
    loads = dict.fromkeys(range(1, shares + 1), 0)
    found: dict[Path, int] = {}
    for path, size in sorted(sizes.items(), key=lambda one: (not one[0].name.startswith("test_"), -one[1], one[0])):
        if group in ("", group_of(path)):
            found[path] = min(loads, key=lambda number: (loads[number], number))
            loads[found[path]] += size
        else:
            found[path] = 0
    return found
