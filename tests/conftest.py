"""What holds for all tests."""

import gc

import pytest

pytest.register_assert_rewrite("tests.builds.git_server", "tests.faults.harness", "tests.faults.operator")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected stays to the end: the garbage collector need not look at it again and again, nor often."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
