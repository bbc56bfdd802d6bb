"""Each tool beside a server, where there is nothing: it ends with one line that says so, and an exit code by its kind."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ahplat.cli.main import main

FAILED, UNREADABLE = 1, 2
NOTHING_THERE = [
    (["log"], UNREADABLE),
    (["why", "1"], UNREADABLE),
    (["diff", "1", "1"], UNREADABLE),
    (["replay"], UNREADABLE),
    (["incident", "acme", "--from", "1"], UNREADABLE),
    (["usage"], UNREADABLE),
    (["verify"], UNREADABLE),
    (["export", "-"], UNREADABLE),
    (["backup"], FAILED),
    (["rotate-key"], FAILED),
    (["status"], FAILED),
    (["gc"], FAILED),
    (["unpark", "1"], FAILED),
    (["undo", "1", "--yes"], FAILED),
]


@pytest.mark.parametrize(("arguments", "code"), NOTHING_THERE)
def test_a_tool_that_finds_nothing_says_so_in_one_line(arguments: list[str], code: int, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [*arguments, "--data-dir", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert done.stderr.startswith("ah: ") and done.stderr.count("\n") == 1, done.stderr
