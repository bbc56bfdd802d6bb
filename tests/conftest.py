"""What holds for all tests."""

import gc

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.builds.git_server", "tests.faults.harness")
settings.register_profile("fast", max_examples=20, print_blob=True)  # the embedded group tries five times as many


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected stays to the end: the garbage collector need not look at it again and again, nor often."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
