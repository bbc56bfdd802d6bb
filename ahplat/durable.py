"""Files that are whole and on the disk, or not there: written beside, synced, renamed in, and the folder synced."""

import contextlib
import fcntl
import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1024 * 1024


def sync(path: Path) -> None:
    """Has a file, or a folder's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """Puts a file of mode 0600 in place of what is there."""
    fresh = path.with_name(path.name + ".half")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    move(fresh, path)


def move(path: Path, to: Path) -> None:
    """Renames a file or folder of the same file system, for good."""
    path.rename(to)
    sync(to.parent)


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file, which is made where it is missing; what was torn before stays a line of its own."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a+b") as file:
        path.chmod(0o600)
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)
    sync(path.parent.parent)


def pack(path: Path, into: Path) -> None:
    """Compresses a file into a synced one."""
    with path.open("rb") as source, into.open("wb") as target:
        into.chmod(0o600)
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0) as packed:
            shutil.copyfileobj(source, packed, PIECE_BYTES)
        target.flush()
        os.fsync(target.fileno())


def unpack(path: Path, into: Path) -> None:
    """What was packed, as a synced file of mode 0600. Raises OSError, EOFError or zlib.error where it is no whole one."""
    with gzip.open(path, "rb") as packed, into.open("wb") as target:
        into.chmod(0o600)
        shutil.copyfileobj(packed, target, PIECE_BYTES)
        target.flush()
        os.fsync(target.fileno())


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Holds a lock for the block; says False where somebody else has it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
