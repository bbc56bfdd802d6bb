"""A new world for each test, that `given`, `when` and `then` are about."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.commands.given", "tests.commands.facts")

from tests.commands.given import World, a_world  # noqa: E402 — the rewriting comes before the import


@pytest.fixture(autouse=True)
def the_world() -> Iterator[World]:
    with a_world() as made:
        yield made
