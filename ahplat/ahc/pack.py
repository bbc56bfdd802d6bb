"""A folder as the archive that is sent: the same bytes for the same files, whoever packs them, whenever.

Left out is what git ignores, where git keeps the folder; what `.dockerignore` names; `.git` always.
"""

import asyncio
import gzip
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ahplat import processes
from ahplat.ahc.failures import USAGE, Failure
from ahplat.ahc.ignored import Ignored
from ahplat.errors import Unavailable

_GIT_S = 60.0
_LEVEL = 6


class Packed(Struct, frozen=True):
    """What is in an archive."""

    files: int
    size: int  # of the archive, in bytes
    left_out: tuple[str, ...] = ()  # what cannot go: repositories in it, pipes, sockets


def pack(folder: Path, into: Path) -> Packed:
    """Packs a folder. Raises Failure where there is nothing in it, or a link leads out."""
    home = Path(os.path.realpath(folder))
    left_out, files = list[str](), 0
    try:
        with (
            into.open("wb") as file,
            gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in wanted(home):
                if _add(archive, home, path):
                    files += 1
                else:
                    left_out.append(path)
    except OSError as error:
        raise Failure(USAGE, f"{error.filename or folder} cannot be packed: {error.strerror}") from error
    if not files:
        raise Failure(USAGE, f"there is no file in {folder} to send", "look at .gitignore and .dockerignore")
    return Packed(files, into.stat().st_size, tuple(left_out))


def _add(archive: tarfile.TarFile, home: Path, path: str) -> bool:
    """One file or link; whether it is any."""
    at = home / path
    entry = tarfile.TarInfo(path)
    if at.is_symlink():
        target = at.readlink()
        if target.is_absolute() or not Path(os.path.realpath(at)).is_relative_to(home):
            raise Failure(
                USAGE, f"{path} is a link out of the folder, to {target}", "put it into .dockerignore, or copy it"
            )
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(target), 0o777
        archive.addfile(entry)
        return True
    if not at.is_file():
        return False
    with at.open("rb") as content:
        found = os.fstat(content.fileno())
        entry.size, entry.mode = found.st_size, 0o755 if found.st_mode & 0o100 else 0o644
        archive.addfile(entry, content)
    return True


def wanted(home: Path) -> list[str]:
    """Paths of all that goes, sorted."""
    ignore_file = home / ".dockerignore"
    ignored = Ignored(ignore_file.read_text(errors="replace").splitlines() if ignore_file.is_file() else [])
    listed = kept_by_git(home)
    paths = list(_walked(home)) if listed is None else [path for path in listed if os.path.lexists(home / path)]
    return sorted(path for path in paths if ".git" not in path.split("/") and not ignored.has(path))


def kept_by_git(home: Path) -> list[str] | None:
    """What git keeps or would take in; None where the folder is in no repository, or there is no git."""
    argv = ["git", "-C", str(home), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = asyncio.run(processes.run(argv, _GIT_S))
    except Unavailable:
        return None
    if done.code != 0:
        return None
    return sorted({path.rstrip("/") for path in done.stdout.split("\0") if path})


def _walked(home: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(home):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name != ".git" and name not in links)
        for name in (*links, *files):
            yield Path(folder, name).relative_to(home).as_posix()
