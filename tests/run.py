"""The command line of `bin/test`: runs groups of checks and says of each one what came of it, or why it was not run.

Stdlib only. Invariant: green means that something ran and that all of it passed. A group that ran no test is not green,
nor is a test that was skipped or is expected to fail; and where the real parts are demanded they are there, or it fails.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

TREE = Path(__file__).resolve().parents[1]
TEARDOWN_S = 30  # what tests have to end what they started, after Ctrl-C
PARTS_LIMIT_S = 3600
GROUP_LIMIT_S = {"lint": 600, "fast": 600, "inside": 600, "embedded": 1800, "real": 3600, "long": 3600}
CORES = len(os.sched_getaffinity(0))
SIDE_BY_SIDE = ("-n", str(CORES + 1), "--dist", "loadfile", "--no-loadscope-reorder")  # they wait, too
SHARED = ("--hypothesis-profile=fast", "-p", "no:xdist")
NO_PROCESSES = "not embedded and not real and not long"
RUNS = {  # of pytest, one after another: which tests, in how many shares side by side, and what else it is told
    "fast": ((NO_PROCESSES, CORES, (*SHARED, "--rooms=fast")),),
    "inside": ((NO_PROCESSES, CORES, (*SHARED, "--rooms=inside")),),
    "embedded": (("(embedded or (hypothesis and not real)) and not long", 1, SIDE_BY_SIDE),),
    "real": (("real and not alone and not long", 1, SIDE_BY_SIDE), ("real and alone and not long", 1, ())),
    "long": (("long", 1, ()),),
}
REAL = frozenset({"real", "long"})  # which need the parts
NOTHING_RAN = 5  # pytest's exit code
INTERRUPTED = 130
TEACHES = """\
Runs all tests that this machine can, and ends with one line for each group: what came of it, or why it was not run.

  lint      ruff check, ruff format --check, mypy --strict
  fast      rules, parsers, the log: for every save
  inside    the whole platform in one process, on simulated engines: its API, effects, views
  embedded  starts the server, and services as real processes; tries the properties of both with more examples
  real      Docker, gVisor and a registry; bin/parts puts here what it needs
  long      what takes minutes by itself and is not in CI: before a release

Those two are shared out over the cores, of the others one file more runs at a time than there are cores;
then alone those that stop dockerd or take rules of the firewall away. Of cases that are alike and take long,
and of the tests in those files of real that take longest, each run draws some, others each time; --all, -k
and -- have them all.

  bin/test                  all groups but long; real only where its parts are here
  bin/test --fast           the fast group only
  bin/test --real           the same; puts the real parts here first, fails where one is missing. So does CI=true
  bin/test --all            all groups, long too; the parts as with --real
  bin/test lint embedded    these groups only
  bin/test -k revoked       the tests whose name says so
  bin/test fast -- -x -vv   after -- stands what pytest is told

The last line is `N passed, N failed`; lint counts its three checks. The exit code is 0 when something passed and
nothing failed, was skipped or is expected to fail; 1 when not; 130 on Ctrl-C.
"""


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    groups: tuple[str, ...]
    demand_parts: bool
    pytest_args: tuple[str, ...]
    seed: str = ""  # by which of sampled tests some cases are drawn; "" for all


@dataclass(frozen=True)
class Outcome:
    """What came of a group. `why` says why it was not run, or what the numbers do not say."""

    ran: bool
    passed: int = 0
    failed: int = 0
    why: str = ""


class Overdue(Exception):
    """A group did not end within its limit."""


def main() -> int:
    """Returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # set also where a shell has them ignored for its background jobs
        signal.signal(number, signal.default_int_handler)
    wanted = parse(sys.argv[1:], os.environ.get("CI", ""))
    try:
        return run_groups(wanted)
    except KeyboardInterrupt:
        say("bin/test: interrupted")
        return INTERRUPTED


def parse(argv: list[str], ci: str) -> Wanted:
    """What is wanted; ends with code 2 where it makes no sense."""
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        "bin/test", description=TEACHES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUP_LIMIT_S))
    parser.add_argument("--fast", action="store_true", help="the fast group only")
    parser.add_argument("--real", action="store_true", help="put the real parts here, fail where one is missing")
    parser.add_argument("--all", action="store_true", help="the long group, too, with the real parts")
    parser.add_argument("-k", metavar="EXPRESSION", help="the tests that match, as pytest has it")
    given = parser.parse_args(argv[:end])
    if unknown := [name for name in given.groups if name not in GROUP_LIMIT_S]:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUP_LIMIT_S)}")
    if given.fast and (given.real or given.all or given.groups):
        parser.error("--fast is the fast group alone")
    pytest_args = ([] if given.k is None else ["-k", given.k]) + argv[end + 1 :]
    usual = [name for name in (RUNS if pytest_args else GROUP_LIMIT_S) if given.all or name != "long"]
    groups = ["fast"] if given.fast else given.groups or usual
    demand_parts = given.real or given.all or ci.lower() not in ("", "0", "false")
    seed = "" if given.all or pytest_args else os.environ.get("AH_SEED", "") or str(secrets.randbelow(10**6))
    return Wanted(tuple(groups), demand_parts and not REAL.isdisjoint(groups), tuple(pytest_args), seed)


def run_groups(wanted: Wanted) -> int:
    """Runs what is wanted, in the order of the groups, and returns the exit code."""
    parts = put_parts() if wanted.demand_parts else ""
    rows: list[tuple[str, Outcome, float]] = []
    for group in GROUP_LIMIT_S:
        began = time.monotonic()
        rows.append((group, run_group(group, wanted, parts), time.monotonic() - began))
    say("")
    for group, outcome, took_s in rows:
        say(row(group, outcome, took_s))
    if wanted.seed:
        say(f"AH_SEED={wanted.seed} drew the samples and repeats them; --all runs every case")
    passed, failed = sum(outcome.passed for _, outcome, _ in rows), sum(outcome.failed for _, outcome, _ in rows)
    say(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def run_group(group: str, wanted: Wanted, parts_fault: str) -> Outcome:
    """Runs one group, where it is wanted and can be."""
    if group not in wanted.groups:
        return Outcome(ran=False, why="not asked for")
    if group in REAL and (lacks := parts_fault or missing_parts()):
        return Outcome(ran=False, failed=int(wanted.demand_parts), why=lacks)
    say(f"\n== {group}")
    try:
        if group in REAL and run(parts_command("up"), PARTS_LIMIT_S):
            return Outcome(ran=False, failed=1, why="the parts are here and do not start, see above")
        if group == "lint":
            return lint()
        return pytest(group, wanted)
    except Overdue as overdue:
        return Outcome(ran=False, failed=1, why=str(overdue))


def lint() -> Outcome:
    """Style, format and types."""
    programs = [f"bin/{path.name}" for path in sorted((TREE / "bin").iterdir()) if b"python" in path.read_bytes()[:40]]
    checks = [
        ["ruff", "check", ".", *programs],
        ["ruff", "format", "--check", ".", *programs],
        ["mypy", "--strict", "-p", "events", "-p", "projections", "-p", "ahplat", "-p", "tests.bench"],
    ]
    codes = []
    for check in checks:
        say(f"$ {' '.join(check)}")
        codes.append(run([sys.executable, "-m", *check], GROUP_LIMIT_S["lint"]))
    return Outcome(ran=True, passed=codes.count(0), failed=len(codes) - codes.count(0))


def pytest(group: str, wanted: Wanted) -> Outcome:
    """The tests of one group, counted from the reports that pytest writes."""
    outcomes, args = [], wanted.pytest_args
    for marks, shares, told in RUNS[group]:
        with tempfile.TemporaryDirectory() as folder:
            reports = [Path(folder) / f"{number}.xml" for number in range(1, shares + 1)]
            always = [sys.executable, "-m", "pytest", "-m", marks, "-rfEsx", "-p", "tests.shares", *told]
            always += ["--sample", wanted.seed] if wanted.seed else []
            own = [
                [
                    f"--share={report.stem}/{shares}",
                    f"--junitxml={report}",
                    "-o",
                    f"cache_dir=.pytest_cache/{report.stem}",
                ]
                for report in reports
            ]
            codes = run_beside([[*always, *each, *args] for each in own], GROUP_LIMIT_S[group])
            for code, report in zip(codes, reports, strict=True):
                outcomes.append(judge(code, report.read_text() if report.exists() else "", narrowed=bool(args)))
    return together(outcomes)


def together(outcomes: list[Outcome]) -> Outcome:
    """What came of a group that ran in parts. Where something ran, a part in which nothing was selected says nothing."""
    ran = [outcome for outcome in outcomes if outcome.ran or outcome.failed] or outcomes[:1]
    return Outcome(
        ran=any(outcome.ran for outcome in ran),
        passed=sum(outcome.passed for outcome in ran),
        failed=sum(outcome.failed for outcome in ran),
        why="; ".join(dict.fromkeys(outcome.why for outcome in ran if outcome.why)),
    )


def judge(code: int, report: str, narrowed: bool) -> Outcome:
    """What came of a run of pytest: its exit code, and its report in JUnit's XML ("" where it wrote none)."""
    if code == NOTHING_RAN:
        return Outcome(ran=False, failed=int(not narrowed), why="no test here was selected")
    if not report:
        return Outcome(ran=False, failed=1, why=f"pytest ended with code {code} and no report")
    suite = next(ElementTree.fromstring(report).iter("testsuite"))
    tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    broken = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    why = f"{skipped} of them skipped or expected to fail" if skipped else ""
    if code and not broken:
        broken, why = 1, f"pytest ended with code {code}"
    return Outcome(ran=True, passed=max(tests - broken - skipped, 0), failed=broken + skipped, why=why)


def row(group: str, outcome: Outcome, took_s: float) -> str:
    """The line of one group at the end."""
    if not outcome.ran:
        return f"{group}: {'FAILED' if outcome.failed else 'not run'}, {outcome.why}"
    failed = f"FAILED, {outcome.failed} failed, " if outcome.failed else ""
    why = f" ({outcome.why})" if outcome.why else ""
    return f"{group}: {failed}{outcome.passed} passed, {took_s:.1f} s{why}"


def put_parts() -> str:
    """Puts the real parts here and starts them; says what went wrong, "" where nothing did."""
    say("== parts")
    try:
        for step in ([], ["up"]):
            if code := run(parts_command(*step), PARTS_LIMIT_S):
                return f"`{' '.join(['bin/parts', *step])}` failed with code {code}, see above"
    except Overdue as overdue:
        return str(overdue)
    return ""


def missing_parts() -> str:
    """What the real group lacks on this machine, in one line; "" where it lacks nothing."""
    from tests.parts import parts

    return "; ".join(parts.missing())


def parts_command(*args: str) -> list[str]:
    """The command line of bin/parts."""
    return [sys.executable, str(TREE / "bin/parts"), *args]


def run(argv: list[str], limit_s: int) -> int:
    """Runs a program in the tree and returns its exit code."""
    return run_beside([argv], limit_s)[0]


def run_beside(argvs: list[list[str]], limit_s: int) -> list[int]:
    """Runs programs side by side and returns their exit codes. Whatever ends us ends them, and what they started.

    Each has a process group of its own, so that Ctrl-C reaches it once, through us, however it reached us. The first
    one says what it says at once, the others when they have ended.
    """
    deadline = time.monotonic() + limit_s
    with ExitStack() as ended:
        children: list[subprocess.Popen[bytes]] = []
        said = [None, *(ended.enter_context(tempfile.TemporaryFile()) for _ in argvs[1:])]
        for argv, to in zip(argvs, said, strict=True):
            child = subprocess.Popen(
                argv, cwd=TREE, env=environment(), stdin=subprocess.DEVNULL, stdout=to, stderr=to, process_group=0
            )
            ended.callback(end, child)
            children.append(child)
        try:
            for child, to in zip(children, said, strict=True):
                child.wait(max(0.0, deadline - time.monotonic()))
                if to is not None:
                    to.seek(0)
                    say(to.read().decode(errors="replace").rstrip())
        except subprocess.TimeoutExpired:
            raise Overdue(f"did not end within {limit_s} s and was ended") from None
        return [child.returncode for child in children]


def environment() -> dict[str, str]:
    """Ours, with the tree to import from, and bytecode kept beside the environment: most of a test's start is compiling."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(TREE), "PYTHONPYCACHEPREFIX": str(TREE / ".venv/pycache")}


def end(child: subprocess.Popen[bytes]) -> None:
    """Ends a program by SIGINT, so that tests can end what they started; by SIGKILL when that, or a second Ctrl-C, is due.

    Nothing happens to one that has ended.
    """
    if child.poll() is not None:
        return
    with suppress(KeyboardInterrupt, subprocess.TimeoutExpired, ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)
        child.wait(TEARDOWN_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def say(line: str) -> None:
    """One line, at once: the programs that we run write to the same place."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
