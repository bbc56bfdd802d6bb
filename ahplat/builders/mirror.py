"""What a builder sees of the local registry: base images, to read, and nothing of any tenant.

A builder has a network of its own, in which the registry does not exist. This listens there, on its loopback address, and
answers GET and HEAD of manifests and blobs of repositories that are not `ah/…`, in the registry's words (OCI
Distribution 1.1). The registry looks blobs up in their repository, so one cannot be had by way of another.
"""

import ctypes
import os
import re
import socket
import threading

import aiohttp
from aiohttp import web

from ahplat import limits

PORT = 5001
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_PATH = re.compile(
    r"/v2/(?:(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)/(?:manifests|blobs)/[A-Za-z0-9_][A-Za-z0-9._:-]{0,127})?"
)
_ASKED = ("Accept", "Range")
_TOLD = ("Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest", "ETag")


def is_readable(path: str) -> bool:
    """Whether a builder may ask for it.

    >>> is_readable("/v2/library/alpine/manifests/3"), is_readable("/v2/ah/someone-web/manifests/1")
    (True, False)
    """
    found = _PATH.fullmatch(path)
    return found is not None and not (found["name"] or "").startswith("ah/")


def listen_in(namespace: str) -> socket.socket:
    """A listening socket on the loopback address of a network namespace; it stays there, whoever reads it. Blocks."""
    made: list[socket.socket | OSError] = []

    def bind() -> None:
        try:
            made.append(_bind(namespace))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=bind, name="mirror")  # which namespace one is in is a thread's own
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _bind(namespace: str) -> socket.socket:
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"the network namespace {namespace} cannot be entered")
    finally:
        os.close(descriptor)
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    return listener


class Mirror:
    """Serves the registry at `upstream` (HOST:PORT) in as many namespaces as there are builders."""

    def __init__(self, upstream: str) -> None:
        self._upstream = f"http://{upstream}"
        self._session: aiohttp.ClientSession | None = None
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None))

    async def serve(self, listener: socket.socket) -> web.SockSite:
        """Begins to answer there; `stop` of what is returned ends it."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=limits.MIRROR_SILENCE_S)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
            await self._runner.setup()
        site = web.SockSite(self._runner, listener, backlog=128)
        await site.start()
        return site

    async def close(self) -> None:
        """Ends it everywhere."""
        if self._session is not None:
            await self._runner.cleanup()
            await self._session.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if request.method not in ("GET", "HEAD") or not is_readable(path):
            return web.Response(status=404)
        assert self._session
        asked = {name: request.headers[name] for name in _ASKED if name in request.headers}
        try:
            async with self._session.request(
                request.method, self._upstream + path, headers=asked, allow_redirects=False
            ) as got:
                told = {name: got.headers[name] for name in _TOLD if name in got.headers}
                response = web.StreamResponse(status=got.status, headers=told)
                await response.prepare(request)
                if request.method == "GET":
                    async for chunk in got.content.iter_chunked(limits.MIRROR_CHUNK_BYTES):
                        await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=502)
