"""The note of who was erased: `checkpoints/erased`, one tenant id a line, apart from log and keys.

A backup that is older than an erasure still holds the key. Whoever restores it reads these notes and erases again. The
invariant: a tenant is noted, on the disk, before its key is destroyed.
"""

from collections.abc import Iterable
from pathlib import Path

from ahplat import durable


def path_in(data_dir: Path) -> Path:
    """Where the notes of a server are."""
    return data_dir / "checkpoints" / "erased"


def read(path: Path) -> frozenset[str]:
    """The tenants that a file of notes names: the first word of each line, what follows a # left out."""
    if not path.exists():
        return frozenset()
    lines = path.read_text(errors="replace").splitlines()
    return frozenset(words[0] for line in lines if (words := line.partition("#")[0].split()))


def note(path: Path, tenants: Iterable[str]) -> None:
    """Adds those that are not there yet; they are on the disk when this returns. Raises OSError."""
    for tenant in sorted(frozenset(tenants) - read(path)):
        durable.append_line(path, tenant)
