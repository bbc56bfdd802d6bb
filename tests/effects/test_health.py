"""What counts as healthy, asked of real sockets on this machine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ahplat import limits
from ahplat.effects.health import Check, unhealthy
from ahplat.engines.engine import Identity, Instance

HOST = "127.0.0.1"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    """Somebody on a port."""
    server = await asyncio.start_server(talk, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answering(head: bytes) -> Talk:
    """Answers each request with this, and closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        writer.close()

    return talk


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the connection and says nothing."""
    await reader.read()
    writer.close()


def seen(port: int, **changes: Any) -> Instance:
    identity = Identity("i", 1, "t", "s", "d", 1, 1, 1, "x", 1)
    return Instance(
        **({"id": "1", "name": "n", "identity": identity, "state": "running", "host": HOST, "port": port} | changes)
    )


async def why(instance: Instance, path: str = "", port: int = 8000, up_s: float = 0.0) -> str:
    return await unhealthy(instance, Check(port, path, 0), up_s)


@pytest.fixture
async def nobody() -> int:
    """A port that nobody listens on."""
    async with listening(silent) as port:
        return port


async def test_one_that_takes_a_connection_is_healthy() -> None:
    async with listening(silent) as port:
        assert await why(seen(port)) == ""


async def test_one_that_does_not_is_not(nobody: int) -> None:
    assert "nothing takes a connection" in await why(seen(nobody))


@pytest.mark.parametrize(
    ("status", "healthy"),
    [
        (b"200 OK", True),
        (b"204 No Content", True),
        (b"302 Found", True),
        (b"404 Not Found", False),
        (b"503 Busy", False),
    ],
)
async def test_a_health_path_answers_2xx_or_3xx(status: bytes, healthy: bool) -> None:
    async with listening(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")) as port:
        said = await why(seen(port), "/health")
    assert (said == "") == healthy
    assert healthy or status.decode()[:3] in said


async def test_a_redirect_is_not_followed() -> None:
    async with listening(answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n")) as port:
        assert await why(seen(port), "/health") == ""


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 20", b"\0" * 100_000])
async def test_what_is_no_answer_is_not_healthy(answer: bytes) -> None:
    async with listening(answering(answer)) as port:
        assert "GET /health fails" in await why(seen(port), "/health")


async def test_nobody_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEALTH_REQUEST_S", 0.01)
    async with listening(silent) as port:
        assert "fails" in await why(seen(port), "/health")


async def test_what_is_not_running_is_not_asked() -> None:
    assert await why(seen(1, state="paused")) == "it is paused"


@pytest.mark.parametrize("health", ["starting", "unhealthy"])
async def test_the_images_own_check_counts_too(health: Any) -> None:
    async with listening(silent) as port:
        assert health in await why(seen(port, health=health))
        assert await why(seen(port, health="healthy")) == ""


async def test_a_worker_is_healthy_once_it_stayed_up() -> None:
    worker = seen(0, host="")
    assert "up for" in await why(worker, port=0, up_s=limits.WORKER_UP_S - 0.1)
    assert await why(worker, port=0, up_s=limits.WORKER_UP_S) == ""


async def test_a_service_that_has_no_address_is_neither_healthy_nor_taken_for_a_worker() -> None:
    """An empty host would be this machine itself, and whoever listens there."""
    async with listening(silent) as port:
        assert await why(seen(port, host=""), up_s=100) == "it has no address yet"
    assert await why(seen(0), up_s=100) == "it has no address yet"
