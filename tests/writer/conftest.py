"""A writer at work, with databases in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.folders import folder as folder
from tests.writer.harness import Bench


@pytest.fixture
async def bench(folder: Path) -> AsyncIterator[Bench]:
    made = Bench(folder)
    await made.register()
    yield made
    await made.close()
