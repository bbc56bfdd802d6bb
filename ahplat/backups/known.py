"""How far the log is known to have come: `checkpoints/known`, a line "position link epoch" for each backup and restore.

It lies apart from the log, so that whoever puts an older one in its place is told what would be lost. The last line
counts, not the highest position: after a restore that was told to go behind, the shorter log is the true one.
"""

import re
from pathlib import Path

from apsw import Connection
from msgspec import Struct

from ahplat import durable
from events.log import head, read_all

_WORDS = re.compile(r"(\d+)\D.*?\b([0-9a-f]{64})\b(?: (\d+))?", re.DOTALL)


class Known(Struct, frozen=True):
    """The log had this link at this position, in this epoch; `source` says who knows. Epoch 0: nobody said which."""

    position: int
    link: str
    epoch: int
    source: str


def path_in(data_dir: Path) -> Path:
    """Where a server's folder has it."""
    return data_dir / "checkpoints" / "known"


def note(data_dir: Path, position: int, link: str, epoch: int) -> None:
    """Adds a line, on the disk when this returns. Raises OSError."""
    durable.append_line(path_in(data_dir), f"{position} {link} {epoch}")


def parse(text: str, source: str) -> Known | None:
    """What a line says, one of `ah verify` too; None where it says nothing.

    >>> parse("3 events hold, the last link is " + "ab" * 32, "verify").position
    3
    """
    match = _WORDS.search(text)
    return Known(int(match[1]), match[2], int(match[3] or 0), source) if match else None


def read(data_dir: Path) -> Known | None:
    """The last line of a folder's own."""
    path = path_in(data_dir)
    if not path.exists():
        return None
    for line in reversed(path.read_text(errors="replace").splitlines()):
        if found := parse(line, str(path)):
            return found
    return None


def missing(data_dir: Path, log: Connection) -> str:
    """What is known of a folder's log and not in it; "" where all of it is."""
    one = read(data_dir)
    if one is None or one.position == 0:
        return ""
    found = read_all(log, one.position - 1, 1)
    if not found:
        return f"it ends at position {head(log)}, but {one.source} says that it came to {one.position}"
    if found[0].link.hex() != one.link:
        return (
            f"position {one.position} has the link {found[0].link.hex()[:16]}…, but {one.source} says {one.link[:16]}…"
        )
    return ""
