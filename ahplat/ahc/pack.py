"""A folder as the archive that is sent: the same bytes for the same files, whoever packs them, whenever.

Left out is what git ignores, whether or not git keeps the folder; what `.dockerignore` names; `.git` always. Where git has
to be asked and does not answer nothing is packed: what is ignored may be a secret.
"""

import asyncio
import gzip
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ahplat import processes
from ahplat.ahc.failures import USAGE, Failure
from ahplat.ahc.ignored import Ignored
from ahplat.errors import Unavailable

_GIT_S = 60.0
_WITHOUT_GIT = "`git status` there says more; or deploy a copy of the folder that has neither .git nor .gitignore"
_LEVEL = 6


class Packed(Struct, frozen=True):
    """What is in an archive."""

    files: int
    size: int  # of the archive, in bytes
    left_out: tuple[str, ...] = ()  # what cannot go: repositories in it, pipes, sockets


def pack(folder: Path, into: Path) -> Packed:
    """Packs a folder. Raises Failure where there is nothing in it, or a link leads out."""
    home = Path(os.path.realpath(folder))
    if not home.is_dir():
        raise Failure(USAGE, f"{folder} is no folder" if home.exists() else f"there is no folder {folder}")
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
    paths = [path for path in kept_by_git(home) if os.path.lexists(home / path)] if is_gits(home) else _walked(home)
    return sorted(path for path in paths if ".git" not in path.split("/") and not ignored.has(path))


def is_gits(home: Path) -> bool:
    """Whether git has a word in what goes: a repository is around the folder or in it, or a `.gitignore`."""
    return is_kept(home) or any(
        ".gitignore" in files or ".git" in (*folders, *files) for _, folders, files in os.walk(home)
    )


def is_kept(home: Path) -> bool:
    """Whether the folder is in a repository."""
    return any(os.path.lexists(folder / ".git") for folder in (home, *home.parents))


def kept_by_git(home: Path) -> list[str]:
    """What git keeps of a folder or would take in. Raises Failure."""
    listing = ["ls-files", "-z", "--others", "--exclude-standard"]
    if is_kept(home):
        if _git(home, "check-ignore", "--quiet", ".", may_say=(0, 1)).code == 0:
            what = f"git ignores {home} as a whole, so it does not say what in it may not leave this machine"
            raise Failure(USAGE, what, "deploy a copy of it that is outside of the repository")
        found = _git(home, *listing, "--cached").stdout
    else:  # by its .gitignore files, in a repository that is empty
        with tempfile.TemporaryDirectory(prefix="ahc-") as empty:
            _git(home, "init", "--quiet", "--bare", "--template=", empty)
            found = _git(home, f"--git-dir={empty}", f"--work-tree={home}", *listing).stdout
    return sorted({path.rstrip("/") for path in found.split("\0") if path})


def _git(home: Path, *argv: str, may_say: tuple[int, ...] = (0,)) -> processes.Completed:
    """What git says. Raises Failure where it is not there, or does not like the folder."""
    try:
        done = asyncio.run(processes.run(["git", "-C", str(home), *argv], _GIT_S))
    except Unavailable as error:
        raise Failure(USAGE, f"git does not say what it ignores in {home}: {error}", _WITHOUT_GIT) from error
    if done.code not in may_say:
        why = next(iter(done.stderr.splitlines()), f"exit code {done.code}")
        raise Failure(USAGE, f"git does not say what it ignores in {home}: {why}", _WITHOUT_GIT)
    return done


def _walked(home: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(home):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name != ".git" and name not in links)
        for name in (*links, *files):
            yield Path(folder, name).relative_to(home).as_posix()
