"""Archives as tests need them: entry by entry, sane and hostile."""

import gzip
import io
import tarfile
from typing import Any

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", **fields: Any) -> Entry:
    """One entry; a file unless `type` says something else."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str) -> Entry:
    return entry(name, type=tarfile.DIRTYPE, mode=0o755)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return entry(name, type=kind, linkname=target)


def packed(*entries: Entry, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar.gz of them."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=format) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def of_files(files: dict[str, str]) -> bytes:
    """A tar.gz of texts."""
    return packed(*(entry(name, text.encode()) for name, text in files.items()))


def with_tar_changed(archive: bytes, old: bytes, new: bytes) -> bytes:
    """The same tar.gz with some bytes of its tar other ones."""
    return gzip.compress(gzip.decompress(archive).replace(old, new, 1))
