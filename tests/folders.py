"""Where fast tests keep their databases: in memory where the machine has such a place, so that an fsync costs nothing."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@contextmanager
def memory_folder() -> Iterator[Path]:
    """An empty folder, gone afterwards."""
    place = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    made = Path(tempfile.mkdtemp(prefix="ahplat-test-", dir=place))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder in memory. A conftest imports it."""
    with memory_folder() as made:
        yield made
