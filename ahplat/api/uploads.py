"""Archives as bodies: streamed into the folder of the build that is to be, looked through there, and only then built.

What comes is hashed on its way, and that hash stands for the body where its idempotency key is concerned. Whatever ends a
request early, nothing of it is left: not by a client who goes, and not by a server that is killed, whose successor sweeps
what the log does not know. One that was accepted before is only hashed again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from msgspec import Struct

from ahplat import durable, limits
from ahplat.api import incoming
from ahplat.api.call import Call, Planned
from ahplat.builders import uploads
from ahplat.builders.workplace import Workplace
from ahplat.errors import Rejected, Unavailable

TYPES = ("application/gzip", "application/x-gzip", "application/x-tar+gzip")
_AGAIN_S = 5  # until it is worth asking for a place again


class Uploaded(Struct, frozen=True):
    """An archive that is here, and on the disk; `digest` is `sha256:<hex>`."""

    place: Workplace
    digest: str

    async def discard(self) -> None:
        """It is not wanted after all."""
        await self.place.discard()


def is_archive(call: Call) -> bool:
    """Whether the body is one, by what its sender says."""
    return call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() in TYPES


async def hash_again(call: Call) -> None:
    """Reads a body that is not wanted any more, for the sake of its hash."""
    digest = hashlib.sha256()
    await incoming.streamed(call.request, limits.UPLOAD_BYTES, digest.update)
    call.raw = digest.digest()


@asynccontextmanager
async def received(call: Call, build_id: str) -> AsyncIterator[Uploaded]:
    """The body as the archive of a build, which goes again where the block refuses it.

    Raises Rejected `archive_invalid`, `payload_too_large` and what else is the matter with bodies; Unavailable `overloaded`.
    """
    app = call.app
    place = Workplace(app.config.data_dir.absolute() / "builds", build_id)
    with app.uploads.taken(call.tenant_id, 1, limits.UPLOADS, limits.UPLOADS_OF_TENANT, _AGAIN_S):
        try:
            await place.begin(is_first=False)
            archive = Uploaded(place, await _store(call, place))
            await uploads.check(place, uploads.path_in(place))
        except BaseException:
            await asyncio.shield(place.discard())
            raise
        try:
            yield archive
        except (Planned, Rejected, Unavailable):  # anything else may have been accepted; the next start knows
            await archive.discard()
            raise


async def _store(call: Call, place: Workplace) -> str:
    digest = hashlib.sha256()
    with uploads.path_in(place).open("xb") as file:

        def take(piece: bytes) -> None:
            digest.update(piece)
            with _full_disk_told():
                file.write(piece)

        await incoming.streamed(call.request, limits.UPLOAD_BYTES, take)
        with _full_disk_told():
            file.flush()
            for path in (uploads.path_in(place), place.folder, place.folder.parent):
                await asyncio.to_thread(durable.sync, path)
    call.raw = digest.digest()
    call.principal = await call.app.gate.tenant(call)  # whose key died meanwhile is not let in any more
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("disk_full", f"the archive cannot be kept: {error.strerror}", 60) from error
