"""Where backups of databases lie: a sealed file for each, `<folder>/<tenant>/<backup>`, that goes with its tenant's key.

One is written under another name, synced and renamed in: there is never half a backup under its name. What a server that
died has left half is written over by the next attempt, and goes with the backup.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from pathlib import Path

from msgspec import Struct

from ahplat import durable, limits
from ahplat.backups import sealed_file
from ahplat.backups.sealed_file import SealedWriter
from ahplat.errors import Rejected, Unavailable
from ahplat.sealing import Keyring


class Stored(Struct, frozen=True):
    """Size and hash of a file as it lies there."""

    size: int
    sha256: str


class DatabaseFiles:
    """All of them. From `full_percent` of the disk on nothing more is written."""

    def __init__(self, folder: Path, keyring: Keyring, full_percent: float = limits.DISK_FULL_PERCENT) -> None:
        self._folder = folder
        self._keyring = keyring
        self._full_percent = full_percent

    def path(self, tenant_id: str, backup_id: str) -> Path:
        return self._folder / tenant_id / backup_id

    async def store(self, tenant_id: str, backup_id: str, pieces: AsyncIterator[bytes]) -> Stored:
        """Writes what comes, sealed, and returns once it is on the disk, whole. Raises Rejected `disk_full`; Unreadable."""
        path = self.path(tenant_id, backup_id)
        half = _half(path)
        try:
            self._make_folder(path.parent)
            with half.open("wb") as file:
                half.chmod(0o600)
                writer = SealedWriter(file, partial(self._keyring.seal, tenant_id, _stream(backup_id)))
                async for piece in pieces:
                    self._check_room()
                    await asyncio.to_thread(writer.add, piece)
                await asyncio.to_thread(writer.end)
            await asyncio.to_thread(durable.sync, half)
            await asyncio.to_thread(durable.move, half, path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable("backup_unwritten", f"the backup could not be written: {error.strerror}") from error
            raise Rejected("disk_full", "the server's disk is full") from error
        finally:
            half.unlink(missing_ok=True)
        return Stored(writer.size, writer.sha256)

    async def read(self, tenant_id: str, backup_id: str) -> AsyncGenerator[bytes, None]:
        """What was stored, a chunk at a time. Raises Rejected `backup_missing`; Unreadable where it is not what was stored."""
        try:
            file = self.path(tenant_id, backup_id).open("rb")
        except OSError as error:
            raise Rejected("backup_missing", f"the file of backup {backup_id} cannot be read") from error
        with file:
            chunks = sealed_file.read(file, partial(self._keyring.unseal, tenant_id, _stream(backup_id)))
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield chunk

    def remove(self, tenant_id: str, backup_id: str) -> None:
        """Removes one, whole or half, for good."""
        path = self.path(tenant_id, backup_id)
        for found in (path, _half(path)):
            found.unlink(missing_ok=True)
        if path.parent.exists():
            durable.sync(path.parent)

    def remove_tenant(self, tenant_id: str) -> None:
        """Removes all of a tenant's."""
        shutil.rmtree(self._folder / tenant_id, ignore_errors=True)

    def _make_folder(self, folder: Path) -> None:
        for made in (self._folder.parent, self._folder, folder):
            if not made.exists():
                made.mkdir(mode=0o700, parents=True)
                durable.sync(made.parent)

    def _check_room(self) -> None:
        disk = shutil.disk_usage(self._folder)
        if 100 * disk.used >= self._full_percent * (disk.used + disk.free):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _half(path: Path) -> Path:
    return path.with_name(path.name + ".half")


def _stream(backup_id: str) -> str:
    return f"backup-{backup_id}"
