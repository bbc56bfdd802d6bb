"""A new world for each test, and databases in memory."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.commands.given", "tests.commands.facts")

from tests.commands.given import World, a_world  # noqa: E402 — the rewriting comes before the import
from tests.folders import folder as folder  # noqa: E402


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made
