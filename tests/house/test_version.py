"""What says which version this is says the same."""

import tomllib

from ahplat.version import VERSION
from tests.house.rules import TREE


def test_the_package_and_the_program_have_one_version() -> None:
    assert tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["version"] == VERSION
