"""Virtual time for every test here but those of the health checks, which ask real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.effects.world")

from tests.effects.virtual import VirtualLoop  # noqa: E402 — the rewriting comes before the import
from tests.effects.world import World, listen_by  # noqa: E402
from tests.folders import folder as folder  # noqa: E402


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Which loop a test runs on."""
    if item.path.name == "test_health.py":
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}


@pytest.fixture
async def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A server at work, with one tenant and no service. What holds at any time is checked at the end."""
    made = World(folder)
    listen_by(made, monkeypatch)
    await made.register()
    made.begin()
    yield made
    await made.end()
    made.check()
    made.close()
