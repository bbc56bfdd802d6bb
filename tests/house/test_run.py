"""What `bin/test` calls green."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import run
from tests import shares as shares_of_files
from tests.run import NOTHING_RAN, Outcome, Wanted, judge, parse, together

ALL = ("lint", "fast", "inside", "embedded", "real")
LONG = (*ALL, "long")


def report(tests: int, failures: int = 0, errors: int = 0, skipped: int = 0) -> str:
    """What pytest writes."""
    numbers = f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"'
    return f"<testsuites><testsuite {numbers}></testsuite></testsuites>"


def test_a_run_is_green_when_all_passed() -> None:
    assert judge(0, report(12), narrowed=False) == Outcome(ran=True, passed=12)


def test_failures_and_errors_are_counted() -> None:
    assert judge(1, report(12, failures=2, errors=1), narrowed=False) == Outcome(ran=True, passed=9, failed=3)


def test_a_skipped_test_is_not_green() -> None:
    outcome = judge(0, report(12, skipped=2), narrowed=False)
    assert (outcome.passed, outcome.failed) == (10, 2)


def test_a_group_without_a_test_is_not_green() -> None:
    assert judge(NOTHING_RAN, report(0), narrowed=False).failed == 1


def test_a_group_in_which_k_selects_nothing_was_not_run() -> None:
    assert judge(NOTHING_RAN, report(0), narrowed=True) == Outcome(ran=False, why="no test here was selected")


def test_a_group_that_runs_in_parts_is_green_when_each_part_is() -> None:
    half, nothing = Outcome(ran=True, passed=7), judge(NOTHING_RAN, report(0), narrowed=False)
    assert together([half, half]) == Outcome(ran=True, passed=14)
    assert together([half, Outcome(ran=True, passed=1, failed=2, why="ended")]) == Outcome(True, 8, 2, "ended")
    assert together([half, nothing]).failed == 1


def test_a_part_in_which_k_selects_nothing_says_nothing() -> None:
    half, nothing = Outcome(ran=True, passed=7), judge(NOTHING_RAN, report(0), narrowed=True)
    assert together([nothing, half]) == half
    assert together([nothing, nothing]) == nothing


@pytest.mark.parametrize("text", ["", report(3)])
def test_a_pytest_that_fails_without_a_failed_test_is_not_green(text: str) -> None:
    assert judge(3, text, narrowed=False).failed == 1


def test_all_groups_run_unless_some_are_named() -> None:
    assert parse([], ci="").groups == ALL
    assert parse(["lint", "real"], ci="").groups == ("lint", "real")
    assert parse(["--fast"], ci="true").groups == ("fast",)
    assert parse(["--all"], ci="") == Wanted(LONG, True, ())
    assert parse(["long"], ci="true").demand_parts


@pytest.mark.parametrize(("argv", "ci"), [(["--real"], ""), ([], "true"), (["real"], "1")])
def test_the_real_parts_are_demanded(argv: list[str], ci: str) -> None:
    assert parse(argv, ci).demand_parts


@pytest.mark.parametrize(("argv", "ci"), [([], ""), ([], "false"), (["--fast"], "true"), (["lint"], "true")])
def test_the_real_parts_are_not_demanded(argv: list[str], ci: str) -> None:
    assert not parse(argv, ci).demand_parts


def test_what_stands_after_the_dashes_is_for_pytest_and_leaves_lint_out() -> None:
    assert parse(["-k", "revoked", "--", "-x", "--fast"], ci="") == Wanted(
        ALL[1:], False, ("-k", "revoked", "-x", "--fast")
    )


@pytest.mark.parametrize("argv", [["slow"], ["--fast", "--real"], ["--fast", "lint"]])
def test_what_makes_no_sense_is_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(argv, ci="")
    assert refused.value.code == 2


def test_a_missing_part_fails_only_where_the_parts_are_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "missing_parts", lambda: "runsc is missing: bin/parts puts it there")
    assert run.run_group("real", Wanted(ALL, False, ()), "").failed == 0
    assert run.run_group("real", Wanted(ALL, True, ()), "").failed == 1


def test_the_line_of_a_group_says_what_came_of_it() -> None:
    assert run.row("fast", Outcome(ran=True, passed=12), 1.23) == "fast: 12 passed, 1.2 s"
    failed = Outcome(ran=True, passed=9, failed=3, why="2 of them skipped or expected to fail")
    assert (
        run.row("fast", failed, 1.0)
        == "fast: FAILED, 3 failed, 9 passed, 1.0 s (2 of them skipped or expected to fail)"
    )
    missing = Outcome(ran=False, why="runsc is missing: bin/parts puts it there")
    assert run.row("real", missing, 0.0) == "real: not run, runsc is missing: bin/parts puts it there"


LASTING = """\
import subprocess, time
from pathlib import Path
import pytest

FOLDER = Path(__file__).parent

@pytest.fixture
def server():
    child = subprocess.Popen(["sleep", "1000"])
    (FOLDER / "pid").write_text(str(child.pid))
    yield
    (FOLDER / "torn-down").touch()

def test_lasts(server):
    (FOLDER / "began").touch()
    time.sleep(1000)
"""


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie because nobody on this machine takes in orphans."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.embedded
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_lets_the_tests_tear_down_and_ends_what_they_leave(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "test_lasting.py").write_text(LASTING)
    command = [
        sys.executable,
        "-m",
        "tests.run",
        "--fast",
        "--",
        str(tmp_path / "test_lasting.py"),
        f"--rootdir={tmp_path}",
    ]
    running = subprocess.Popen(command, cwd=run.TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(number)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == run.INTERRUPTED
    assert out.endswith("bin/test: interrupted\n")
    assert (tmp_path / "torn-down").exists()
    assert has_ended(int((tmp_path / "pid").read_text()))


class Case:
    """A collected test, as much of it as the drawing looks at."""

    def __init__(self, nodeid: str, mark: pytest.Mark | None) -> None:
        self.nodeid = nodeid
        self._mark = mark

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self._mark if name == "sampled" else None


def left_out(seed: str) -> set[str]:
    marks = {"one": pytest.mark.sampled.mark, "two": pytest.mark.sampled(of=5).mark, "whole": None}
    cases = [Case(f"a.py::{test}[{n}]", mark) for test, mark in marks.items() for n in range(7)]
    return shares_of_files.not_drawn(cases, seed)  # type: ignore[arg-type]


def test_of_sampled_tests_a_seed_draws_a_third_or_as_many_as_they_say_at_least_one_and_in_time_all() -> None:
    assert left_out("") == set()
    assert left_out("5") == left_out("5") != left_out("6")
    assert sorted(name.split("[")[0] for name in left_out("5")) == ["a.py::one"] * 4 + ["a.py::two"] * 5
    assert set.intersection(*(left_out(str(seed)) for seed in range(40))) == set()


def test_of_what_is_sampled_among_its_file_whole_tests_are_drawn() -> None:
    mark = pytest.mark.sampled(of=2, among="file").mark
    cases = [Case(f"{file}.py::test_{n}", mark) for file in "ab" for n in range(6)]
    found = [shares_of_files.not_drawn(cases, str(seed)) for seed in range(40)]  # type: ignore[arg-type]
    assert all(sorted(name[0] for name in one) == ["a"] * 3 + ["b"] * 3 for one in found)
    assert set.intersection(*found) == set()


def test_what_is_asked_for_by_name_or_altogether_is_not_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AH_SEED", "7")
    assert [parse(argv, "").seed for argv in ([], ["--real"], ["--all"], ["-k", "killed"])] == ["7", "7", "", ""]
    monkeypatch.delenv("AH_SEED")
    assert parse([], "").seed.isdecimal()


@pytest.mark.parametrize("shares", [1, 2, 5])
def test_every_file_is_in_one_share_and_shares_are_alike(shares: int) -> None:
    dealt = shares_of_files.dealt(shares, ("tests", "events"))
    there = {path for room in ("tests", "events") for path in (run.TREE / room).rglob("*.py")}
    assert (set(dealt), set(dealt.values())) == (there, set(range(1, shares + 1)))
    loads = [sum(path.stat().st_size for path in there if dealt[path] == number) for number in range(1, shares + 1)]
    assert max(loads) < 1.1 * min(loads)


def test_every_file_is_in_the_fast_group_or_in_the_other() -> None:
    fast, inside = (shares_of_files.dealt(2, ("tests", "events"), group) for group in ("fast", "inside"))
    assert fast.keys() == inside.keys()
    assert all((fast[path] == 0) != (inside[path] == 0) for path in fast)
    assert all((run.TREE / room).is_dir() for room in shares_of_files.FAST_ROOMS)


@pytest.mark.embedded
def test_programs_side_by_side_all_tell_what_they_have_to(capfd: pytest.CaptureFixture[str]) -> None:
    programs = [["sh", "-c", f"echo {word}; exit {code}"] for word, code in (("one", 1), ("two", 0), ("three", 3))]
    assert run.run_beside(programs, limit_s=60) == [1, 0, 3]
    assert capfd.readouterr().out.split() == ["one", "two", "three"]


@pytest.mark.embedded
def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(run.Overdue):
        run.run(["sleep", "1000"], limit_s=0)
