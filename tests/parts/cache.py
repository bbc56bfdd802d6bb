"""The folder outside the tree where parts are kept, so that only the first run on a machine pays for them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def folder(*names: str) -> Path:
    """A folder of the cache, made where it is missing: `~/.cache/ahplat/parts`, or under XDG_CACHE_HOME."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").joinpath("ahplat", "parts", *names)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(what: str = "lock") -> Iterator[None]:
    """One process at a time installs, starts or stops parts; the others wait for it. Or for something else so named."""
    with folder().joinpath(what).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str) -> bool:
    """Writes through a rename, so that a half-written file is never read. True when the text is another than before."""
    if path.exists() and path.read_text() == text:
        return False
    half = path.with_name(path.name + ".half")
    half.write_text(text)
    half.rename(path)
    return True
