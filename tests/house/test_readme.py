"""The README has the table of what a container reaches as the test tries it."""

from tests.house.rules import TREE
from tests.real.platform import reach


def test_the_readme_has_the_table_of_what_a_container_reaches() -> None:
    assert reach.table() in (TREE / "README.md").read_text(), (
        "put there what `python -m tests.real.platform.reach` prints"
    )
