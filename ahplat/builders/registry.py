"""Puts a build's image into the registry, in the registry's words (OCI Distribution 1.1): we do it, not the build.

What the build made is an OCI image layout on the disk. Blobs that are there already are not sent again, so a push that
was cut off goes on where it was.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import aiohttp
import msgspec
from msgspec import Struct

from ahplat import limits
from ahplat.builders.blobs import Blobs
from ahplat.errors import Rejected, Unavailable

T = TypeVar("T")

_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


class Descriptor(Struct, frozen=True, rename="camel"):
    """A blob, as OCI names it."""

    media_type: str
    digest: str
    size: int


class Index(Struct, frozen=True):
    manifests: list[Descriptor]


class Manifest(Struct, frozen=True):
    config: Descriptor
    layers: list[Descriptor]


class Tags(Struct, frozen=True):
    tags: list[str] | None = None


class Answer(Struct, frozen=True):
    """What the registry said, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Layout(Struct, frozen=True):
    """An OCI image layout with one image in it. What is wrong in it is the build's fault: Rejected `image_unusable`."""

    folder: Path

    def manifest(self) -> Descriptor:
        """The image's."""
        found = _read(self.folder / "index.json", Index).manifests
        if len(found) != 1 or found[0].media_type not in _MANIFESTS:
            raise Rejected("image_unusable", f"expected one image, the build made {len(found)}")
        return found[0]

    def blobs(self) -> list[Descriptor]:
        """What the image consists of, its configuration last."""
        manifest = _read(self.path(self.manifest()), Manifest)
        return [*manifest.layers, manifest.config]

    def path(self, of: Descriptor) -> Path:
        """Where a blob is."""
        algorithm, _, encoded = of.digest.partition(":")
        if algorithm != "sha256" or len(encoded) != 64 or not encoded.isalnum():
            raise Rejected("image_unusable", f"expected sha256 digests, found {of.digest[:80]!r}")
        return self.folder / "blobs" / algorithm / encoded


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise Rejected("image_unusable", f"the build's image cannot be read: {error}") from error


class Registry:
    """The one at `address` (HOST:PORT), which wants no key: it listens on this machine only.

    `blobs` is what it keeps, so that nothing is pushed while that is looked through.
    """

    def __init__(self, address: str, blobs: Blobs) -> None:
        self.address = address
        self._url = f"http://{address}"
        self.blobs = blobs

    async def push(self, layout: Layout, repository: str, tag: str) -> str:
        """Has the image there under that name; returns its digest. Raises Rejected, Unavailable."""
        manifest = layout.manifest()
        async with self.blobs.pushing(), self._session() as session:
            for blob in layout.blobs():
                await self._push_blob(session, repository, layout.path(blob), blob)
            content = layout.path(manifest).read_bytes()
            fields = {"Content-Type": manifest.media_type}
            url = f"{self._url}/v2/{repository}/manifests/{tag}"
            await self._ask(session, "PUT", url, (201,), data=content, headers=fields)
        return manifest.digest

    async def holds(self, repository: str, reference: str) -> str:
        """The digest that a tag has there; "" where there is none."""
        async with self._session() as session:
            url = f"{self._url}/v2/{repository}/manifests/{reference}"
            headers = {"Accept": ", ".join(_MANIFESTS)}
            got = await self._ask(session, "HEAD", url, (200, 404), headers=headers)
            return got.headers.get("Docker-Content-Digest", "") if got.status == 200 else ""

    async def forget(self, repository: str) -> None:
        """Removes all tags of a repository."""
        async with self._session() as session:
            got = await self._ask(session, "GET", f"{self._url}/v2/{repository}/tags/list", (200, 404))
            tags = msgspec.json.decode(got.body, type=Tags).tags if got.status == 200 else None
            for tag in tags or []:
                if digest := await self.holds(repository, tag):
                    await self._drop(session, repository, digest)

    async def drop(self, repository: str, digest: str) -> None:
        """Removes one image, and with it its tags."""
        async with self._session() as session:
            await self._drop(session, repository, digest)

    async def _drop(self, session: aiohttp.ClientSession, repository: str, digest: str) -> None:
        await self._ask(session, "DELETE", f"{self._url}/v2/{repository}/manifests/{digest}", (202, 404))
        self.blobs.dropped()

    async def _push_blob(self, session: aiohttp.ClientSession, repository: str, path: Path, blob: Descriptor) -> None:
        blobs = f"{self._url}/v2/{repository}/blobs"
        if (await self._ask(session, "HEAD", f"{blobs}/{blob.digest}", (200, 404))).status == 200:
            return
        begun = await self._ask(session, "POST", f"{blobs}/uploads/", (202,))
        upload = urljoin(blobs, begun.headers["Location"])
        url = f"{upload}{'&' if '?' in upload else '?'}digest={blob.digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with path.open("rb") as file:
            await self._ask(session, "PUT", url, (201,), data=file, headers=headers)

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=limits.PUSH_S, sock_connect=5)
        return aiohttp.ClientSession(timeout=timeout)

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, url: str, expected: tuple[int, ...], **what: Any
    ) -> Answer:
        try:
            async with session.request(method, url, **what) as got:
                body = await got.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("registry_unavailable", f"{method} {url}: {error or 'timeout'}") from error
        if got.status not in expected:
            raise Unavailable("registry_unavailable", f"{method} {url} answers {got.status}: {body[:200]!r}")
        return Answer(got.status, got.headers, body)
