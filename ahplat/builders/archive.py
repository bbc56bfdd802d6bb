"""Looks through an archive that somebody sent, and unpacks it: `python -I -S archive.py FILE BYTES ENTRIES [INTO]`.

A program of its own, stdlib only: what is hostile in an archive is met by a process that holds nothing, and that can be
ended at any moment. It ends with 0, or with REFUSED and a line that says why. Invariant: what it unpacks is files, folders
and links below INTO. Nothing is ever written through a link, for no entry may lie below one, and none may come twice; so
it does not matter here where a link leads. Those that lead out are refused all the same: what builds would follow them.

Modes are git's two, 755 and 644: no setuid bit, no owner and no other bit of the sender's arrives. `tarfile` reads the
entries; everything that it asks of the file goes through `Bounded`, which never goes back and hands out only so much, so
that neither a bomb nor a header of a gigabyte gets far. The filters of `tarfile` (PEP 706) allow more than is wanted here.
"""

import gzip
import io
import os
import posixpath
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

REFUSED = 65
PIECE_BYTES = 1024 * 1024  # handed out at once: more than any header needs
NAME_BYTES = 255  # of one part of a path, as Linux has it
PATH_BYTES = 2_000  # of a path in the archive; the build's folder comes before it
HEADER_BYTES = 4096  # of one entry, its long name and what fills its last block included
PADDING_BYTES = 1024 * 1024  # at the end
DEPTH = 100  # folders, one in the other
BROKEN = (gzip.BadGzipFile, tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError)
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
OTHERS = {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a named pipe"}


class Refused(Exception):
    """Why the archive is not taken."""


class Bounded(io.RawIOBase):
    """What an archive unpacks to, from its beginning to its end, and no more than `most` bytes of it."""

    def __init__(self, unpacked: gzip.GzipFile, most: int) -> None:
        self._unpacked = unpacked
        self._most = most
        self.last = b""  # what was read last: a header, where that is asked

    def tell(self) -> int:
        return self._unpacked.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self.tell():
            raise Refused("it leads back to a place before")
        self._see(offset)
        return self._unpacked.seek(offset)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= PIECE_BYTES:
            raise Refused(f"a header of it is of more than {PIECE_BYTES} bytes")
        self.last = self._unpacked.read(size)
        self._see(self.tell())
        return self.last

    def _see(self, end: int) -> None:
        if end > self._most:
            raise Refused(f"it unpacks to more than {self._most} bytes")


Entry = tuple[str, tarfile.TarInfo, tarfile.TarFile]


def entries(file: Path, most_bytes: int, most_entries: int) -> Iterator[Entry]:
    """(path, entry, its archive) of each, once it was found to be in order. Raises Refused."""
    seen: dict[str, str] = {}  # path → file, folder or link
    size = 0
    try:
        with gzip.GzipFile(file, "rb") as unpacked:
            whole = Bounded(unpacked, most_bytes + most_entries * HEADER_BYTES + PADDING_BYTES)
            with tarfile.open(fileobj=whole, mode="r:") as archive:
                while (entry := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                    size += entry.size
                    if size > most_bytes:
                        raise Refused(f"it unpacks to more than {most_bytes} bytes")
                    path = checked(entry, seen)
                    if len(seen) > most_entries:
                        raise Refused(f"it has more than {most_entries} entries")
                    if path:
                        yield path, entry, archive
            _see_its_end(whole)
    except BROKEN as error:
        raise Refused(f"it is no whole tar.gz: {error or type(error).__name__}") from error
    if "file" not in seen.values():
        raise Refused("there is no file in it")


def _see_its_end(whole: Bounded) -> None:
    """What `tarfile` takes for the end may be a broken entry; and only at the end is there the sum of all that came."""
    piece, begins = whole.last, whole.tell()
    while piece:
        if piece.strip(b"\0"):
            raise Refused("it is no whole tar.gz: an entry of it is broken, or something comes after its end")
        if whole.tell() - begins > PADDING_BYTES:
            raise Refused(f"more than {PADDING_BYTES} bytes come after its end")
        piece = whole.read(PIECE_BYTES)


def checked(entry: tarfile.TarInfo, seen: dict[str, str]) -> str:
    """The entry's path, "" for the root itself; `seen` learns of it. Raises Refused.

    >>> checked(tarfile.TarInfo("./src/main.py"), {}), checked(tarfile.TarInfo("src/../../passwd"), {})
    Traceback (most recent call last):
    ahplat.builders.archive.Refused: 'src/../../passwd' leads out of the folder
    """
    kind = "folder" if entry.isdir() else "link" if entry.issym() else "file"
    if not (entry.isdir() or entry.issym() or entry.islnk() or entry.type in FILES):
        raise Refused(f"{entry.name[:200]!r} is {OTHERS.get(entry.type, 'no file, folder or link')}")
    path = inside(entry.name)
    if not path:
        if kind != "folder":
            raise Refused(f"{entry.name[:200]!r} is a {kind} in place of the folder itself")
        return ""
    steps = path.split("/")
    for depth in range(1, len(steps)):
        if seen.setdefault(parent := "/".join(steps[:depth]), "folder") != "folder":
            raise Refused(f"{path[:200]!r} lies below {parent[:200]!r}, which is a {seen[parent]}")
    if path in seen and not kind == seen[path] == "folder":
        raise Refused(f"{path[:200]!r} is there twice")
    seen[path] = kind
    if entry.issym():
        see_link(path, entry.linkname)
    if entry.islnk() and seen.get(inside(entry.linkname)) != "file":
        raise Refused(f"{path[:200]!r} is a link to {entry.linkname[:200]!r}, which is no file before it")
    return path


def inside(name: str) -> str:
    """A path in the archive in its shortest form. Raises Refused where it is none, or not one below the folder."""
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if name.startswith("/"):
        raise Refused(f"{name[:200]!r} is an absolute path")
    if ".." in steps:
        raise Refused(f"{name[:200]!r} leads out of the folder")
    if (
        len(os.fsencode(name)) > PATH_BYTES
        or len(steps) > DEPTH
        or any(len(os.fsencode(s)) > NAME_BYTES for s in steps)
    ):
        raise Refused(f"{name[:200]!r}… is too long, or too deep")
    return "/".join(steps)


def see_link(path: str, target: str) -> None:
    """Refuses a link that leads out by what it says; one that does so by way of others is found once it is there."""
    told = f"{path[:200]!r} is a link to {target[:200]!r}"
    if not target or "\0" in target or len(os.fsencode(target)) > PATH_BYTES:
        raise Refused(f"{told}, which is no path")
    where = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if target.startswith("/") or where.split("/")[0] == "..":
        raise Refused(f"{told}, out of the folder")


def unpack(into: Path, entry: Entry) -> None:
    """Puts one entry below a folder."""
    path, found, archive = entry
    at = into / path
    at.parent.mkdir(parents=True, exist_ok=True)
    if found.isdir():
        at.mkdir(exist_ok=True)
    elif found.issym():
        at.symlink_to(found.linkname)
    elif found.islnk():
        at.hardlink_to(into / inside(found.linkname))
    else:
        source = archive.extractfile(found)
        assert source, f"{path} was found to be a file"
        with source, at.open("xb") as target:
            shutil.copyfileobj(source, target, PIECE_BYTES // 4)
        at.chmod(0o755 if found.mode & 0o100 else 0o644)


def main(file: str, most_bytes: str, most_entries: str, into: str = "") -> int:
    """The exit code; why stands on stdout. OSError: it is not the archive that is to blame."""
    os.umask(0o022)
    try:
        for entry in entries(Path(file), int(most_bytes), int(most_entries)):
            if into:
                unpack(Path(into), entry)
    except (Refused, *BROKEN) as why:
        print(str(why).encode("utf-8", "backslashreplace").decode())
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
