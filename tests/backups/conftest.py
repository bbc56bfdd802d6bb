"""A folder with two tenants, and where its backups go."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.backups.platform_folder")

from tests.backups.platform_folder import Folder  # noqa: E402 — the rewriting comes before the import
from tests.folders import folder as folder  # noqa: E402

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def data(folder: Path) -> Folder:
    made = Folder(folder / "data").make()
    made.register(ONE, "Ada Lovelace")
    made.register(TWO, "Grace Hopper")
    return made


@pytest.fixture
def backups(folder: Path) -> Path:
    return folder / "backups"
