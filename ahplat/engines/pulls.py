"""Pulls an image: reads Docker's progress to its end, and lets the event loop cut it short.

Docker answers 200 and then reports in the stream what went wrong, so only a stream that ended without an error is a
success. It stops downloading when the connection that asked for it is gone. Pulls go out without credentials: those of
the operator, in the SDK's configuration, would open the operator's own images to every tenant.
"""

import asyncio
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import Future

import msgspec
import requests
from docker import APIClient
from docker.errors import APIError, NotFound
from msgspec import Struct

from ahplat import limits
from ahplat.engines import images
from ahplat.engines.dockerd import Stream, open_stream
from ahplat.engines.images import InspectedImage
from ahplat.errors import Rejected

NO_CREDENTIALS = {"X-Registry-Auth": urlsafe_b64encode(b"{}").decode()}
DIGEST = "Digest: "


class _Progress(Struct):
    status: str = ""
    error: str = ""


class Pull:
    """One pull. `run` is for its thread, `cut` for any other, at any time."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._cut = False

    def run(self, client: APIClient) -> str | None:
        """Pulls, and returns the digest that Docker reports. Raises Rejected, Unavailable; see `images.pull_error`."""
        try:
            stream = self._open(client)
            try:
                return self._follow(stream)
            finally:
                stream.close()
        except (requests.Timeout, requests.ConnectionError) as error:
            if not _timed_out(error):
                raise
            raise images.pull_error(self.reference, f"nothing heard for {limits.PULL_STALL_S} s") from error
        except requests.RequestException:
            if self._cut:
                raise cancelled_error(self.reference) from None
            raise

    def cut(self) -> None:
        """Ends it where it is; nothing happens when it has ended."""
        with self._lock:
            self._cut = True
            if self._stream is not None:
                self._stream.cut()

    def _open(self, client: APIClient) -> Stream:
        asked = {"fromImage": images.repository_of(self.reference), "tag": images.version_of(self.reference)}
        try:
            stream = open_stream(client, "POST", "/images/create", asked, limits.PULL_STALL_S, NO_CREDENTIALS)
        except APIError as error:
            raise images.pull_error(self.reference, error.explanation or "") from error
        with self._lock:
            self._stream = stream
            if self._cut:
                stream.cut()
        return stream

    def _follow(self, stream: Stream) -> str | None:
        digest = None
        for line in stream.lines():
            progress = msgspec.json.decode(line, type=_Progress)
            if progress.error:
                raise images.pull_error(self.reference, progress.error)
            if progress.status.startswith(DIGEST):
                digest = progress.status.removeprefix(DIGEST)
        if self._cut:
            raise cancelled_error(self.reference)
        return digest


async def to_its_end(work: Future[str | None], pull: Pull, cancelled: Callable[[], bool]) -> str | None:
    """Waits for a pull and cuts it as soon as `cancelled` says so, or as the caller is cancelled itself."""
    waiter = asyncio.wrap_future(work)
    try:
        while not waiter.done():
            if cancelled():
                raise cancelled_error(pull.reference)
            await asyncio.wait({waiter}, timeout=limits.CANCEL_POLL_S)
        return waiter.result()
    finally:
        pull.cut()
        waiter.cancel()


def cancelled_error(reference: str) -> Rejected:
    """What a pull ends with that nobody wants any more."""
    return Rejected("cancelled", f"the pull of {reference} was cancelled")


def look(client: APIClient, reference: str) -> InspectedImage | None:
    """What Docker knows of an image; None when it is not there."""
    try:
        return msgspec.convert(client.inspect_image(reference), InspectedImage)  # type: ignore[no-untyped-call]
    except NotFound:
        return None


def _timed_out(error: requests.RequestException) -> bool:
    return isinstance(error, requests.Timeout) or "Read timed out" in str(error)
