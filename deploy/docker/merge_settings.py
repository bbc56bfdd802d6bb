"""Adds the settings of a fragment to Docker's daemon.json: `merge_settings.py [--check] FRAGMENT DAEMON_JSON`.

Standard library only: it runs before anything is installed. Invariant: nothing that is there changes. What the fragment
has and the file has not is added, at any depth; where both have a value the file's stays, and is told of. The file as it
was is kept beside it, and the new one comes in its place by a rename.

Exit code 0: nothing is missing (any more); 1: something is, and --check changed nothing; 2: the file is no JSON object.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

KEPT = ".before-ahplat"


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("fragment", type=Path)
    parser.add_argument("settings", type=Path)
    given = parser.parse_args()
    before = given.settings.read_text() if given.settings.exists() else ""
    try:
        found = json.loads(before or "{}")
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        print(f"{given.settings} is not what Docker reads, a JSON object ({found}): mend it first", file=sys.stderr)
        return 2
    wanted = json.loads(given.fragment.read_text())
    for setting in differing(found, wanted):
        print(f"{given.settings}: {setting} is set otherwise than ahplat would, and stays", file=sys.stderr)
    merged = together(found, wanted)
    if merged == found:
        return 0
    if not given.check:
        put(given.settings, before, json.dumps(merged, indent=2) + "\n")
    return int(given.check)


def together(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Both; of what both have, the first one's.

    >>> together({"a": 1, "b": {"c": 2}}, {"a": 9, "b": {"d": 3}})
    {'a': 1, 'b': {'c': 2, 'd': 3}}
    """
    made = dict(found)
    for name, value in wanted.items():
        held = found.get(name)
        if name not in found:
            made[name] = value
        elif isinstance(held, dict) and isinstance(value, dict):
            made[name] = together(held, value)
    return made


def differing(found: dict[str, Any], wanted: dict[str, Any], within: str = "") -> list[str]:
    """What both have, with different values.

    >>> differing({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 9, "d": 3, "e": 4}})
    ['b.c']
    """
    names: list[str] = []
    for name in found.keys() & wanted.keys():
        held, value = found[name], wanted[name]
        if isinstance(held, dict) and isinstance(value, dict):
            names += differing(held, value, f"{within}{name}.")
        elif held != value:
            names.append(f"{within}{name}")
    return sorted(names)


def put(path: Path, before: str, text: str) -> None:
    """Replaces a file, and keeps what it was; what was kept once is not overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.with_name(path.name + KEPT)
    if before and not kept.exists():
        shutil.copy2(path, kept)
    fresh = path.with_name(path.name + ".half")
    with fresh.open("w") as file:
        if path.exists():
            shutil.copymode(path, fresh)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


if __name__ == "__main__":
    sys.exit(main())
