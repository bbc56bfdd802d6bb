"""The connection to dockerd: one client, bounded threads, and every failure turned into one of ours.

The client is made at the first call and thrown away when the daemon stops answering, so that the next call negotiates
the API version anew. A call that is cancelled returns only after its thread did: nobody starts a second attempt while
a first one is still at work. The exception are pulls, which touch no instance and are cut instead.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import requests
import urllib3
from docker import APIClient
from docker.errors import APIError, DockerException, create_api_error_from_http_exception

from ahplat import limits
from ahplat.errors import EngineAway, Unavailable

T = TypeVar("T")
AWAY = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class Stream:
    """An answer that comes in pieces, which any thread may cut short."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.was_cut = False

    def lines(self) -> Iterator[bytes]:
        """One JSON text after the other, as Docker writes them."""
        return (line for line in self._response.iter_lines(limits.STREAM_CHUNK_BYTES) if line)

    def pieces(self) -> Iterator[bytes]:
        """What there is, as soon as there is any."""
        while piece := self._response.raw.read1(limits.STREAM_CHUNK_BYTES):
            yield piece

    def frames(self) -> Iterator[bytes]:
        """What a container wrote, stdout and stderr in order, without the headers that multiplex them."""
        while header := self._exactly(8):
            yield self._exactly(int.from_bytes(header[4:], "big"))

    def cut(self) -> None:
        """Ends it for whoever reads it; nothing happens when it has ended."""
        self.was_cut = True
        with suppress(ValueError, RuntimeError, OSError):  # at its end already
            self._response.raw.shutdown()

    def close(self) -> None:
        """Lets go of the connection; only for the thread that reads."""
        self._response.close()

    def detached(self) -> tuple[socket.socket, bytes]:
        """The connection, for who goes on with it by himself, and what was read of it already, after the answer's head."""
        buffered: Any = getattr(self._response.raw._fp, "fp", None)
        connection: socket.socket = buffered.raw._sock
        connection.setblocking(False)
        return connection.dup(), bytes(buffered.peek())

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size and (part := self._response.raw.read(size - len(parts))):
            parts += part
        return bytes(parts)


def open_stream(
    client: APIClient,
    method: str,
    path: str,
    params: Mapping[str, str],
    idle_s: float | None,
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, object] | None = None,
) -> Stream:
    """Asks for an answer that comes in pieces, with at most `idle_s` between them. Raises APIError."""
    url = f"{client.base_url}/v{client.api_version}{path}"
    response = client.request(method, url, params=params, headers=headers, json=body, stream=True, timeout=idle_s)
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        with response:
            create_api_error_from_http_exception(error)
    return Stream(response)


class Dockerd:
    """One daemon; `base_url` None means DOCKER_HOST, else the usual socket."""

    def __init__(self, base_url: str | None) -> None:
        self._base_url = base_url or os.environ.get("DOCKER_HOST")
        self._client: APIClient | None = None
        self._calls = ThreadPoolExecutor(limits.ENGINE_THREADS, "docker")
        self._pulls = ThreadPoolExecutor(limits.ENGINE_PULLS, "docker-pull")

    async def call(self, work: Callable[[APIClient], T]) -> T:
        """Runs `work` in a thread. Raises EngineAway, Unavailable `engine_error`, and what `work` raises of ours."""
        return await _to_its_end(self.begin(work))

    def begin(self, work: Callable[[APIClient], T]) -> Future[T]:
        """The same for what changes nothing, so that nobody has to wait for its end."""
        return self._submit(self._calls, work)

    async def confirm(self) -> None:
        """Raises EngineAway when the daemon takes no new connection.

        A dockerd that shuts down closes its door, then ends the containers, and all the while answers over the connections
        that it has: what it says of an end is worth believing only while the door is open.
        """
        await self.call(self._knock)

    def begin_pull(self, work: Callable[[APIClient], T]) -> Future[T]:
        """The same for a pull, which the caller watches and cuts by itself."""
        return self._submit(self._pulls, work)

    def close(self) -> None:
        """Lets go of threads and connections; a call under way still ends."""
        for pool in (self._calls, self._pulls):
            pool.shutdown(wait=False)
        if self._client is not None:
            self._client.close()

    def _submit(self, pool: ThreadPoolExecutor, work: Callable[[APIClient], T]) -> Future[T]:
        try:
            return pool.submit(self._attempt, work)
        except RuntimeError as error:
            raise EngineAway("this engine was closed") from error

    def _attempt(self, work: Callable[[APIClient], T]) -> T:
        try:
            return work(self._connected())
        except APIError as error:
            raise Unavailable("engine_error", f"Docker answered {error.status_code}: {error.explanation}") from error
        except AWAY as error:
            self._client = None
            raise EngineAway(f"Docker does not answer: {error}") from error
        except msgspec.DecodeError as error:
            raise Unavailable("engine_error", f"Docker's answer could not be read: {error}") from error

    def _connected(self) -> APIClient:
        """The client, made where there is none: by several threads at once rather than one after the other, since a
        daemon that hangs makes each of them wait."""
        client = self._client
        if client is None:
            client = self._client = self._connect("auto")
        return client

    def _connect(self, version: str) -> APIClient:
        client = APIClient(self._base_url, version=version, timeout=limits.ENGINE_TIMEOUT_S)
        client.trust_env = False  # no proxy, no .netrc between us and the daemon
        return client

    def _knock(self, client: APIClient) -> None:
        visitor = self._connect(client.api_version)
        try:
            visitor.ping()
        finally:
            visitor.close()


async def _to_its_end(work: Future[T]) -> T:
    """Awaits a thread's work; when cancelled, first waits until it ended, unless it had not begun."""
    waiter = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(waiter)
    except asyncio.CancelledError:
        if not work.cancel():
            await asyncio.wait({waiter})
        raise
