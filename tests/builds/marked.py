"""What runs with a mark: processes that were started with a variable in their environment."""

from pathlib import Path


def marked(variable: str) -> list[int]:
    """Pids of processes that have exactly `variable` ("NAME=value")."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def of_build(build_id: str) -> list[int]:
    """What runs of a build."""
    return marked(f"AH_BUILD={build_id}")


def of_builds(folder: Path) -> list[int]:
    """What runs of any build that has a folder there, sandboxes among it."""
    return [pid for path in folder.iterdir() for pid in of_build(path.name)]
