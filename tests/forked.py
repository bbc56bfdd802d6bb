"""`ah` begun where all is imported: forked from a process that has done that once, in a seventh of the time.

What tests start, kill and start again thousands of times is `ah`; Python's imports are five sixths of a start. It is the
code of `ahplat.cli.entry` with its arguments, environment, folder and output, and it dies like any process.
"""

import atexit
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

from ahplat.cli.entry import run

TREE = Path(__file__).parents[1]
AS_A_PROGRAM = ("env",)  # for `runs_by`: begun as its user does it, and not forked from one that has imported it
PR_SET_PDEATHSIG = 1  # prctl(2)


def begun(
    argv: Sequence[str],
    env: Mapping[str, str],
    said: Path,
    runs_by: Sequence[str] = (),
    main: Callable[[], None] = run,
) -> "Forked | subprocess.Popen[bytes]":
    """`ah` with these arguments, in the tree, with what it says in a file; a program of its own where one is to become it."""
    with said.open("w") as log:
        if not runs_by:
            return Forked(argv, env, said, main=main)
        command = [*runs_by, sys.executable, "-P", "-m", "ahplat.cli.entry", *argv]
        return subprocess.Popen(command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)


class Forked:
    """The part of subprocess.Popen that tests use."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        said: Path,
        errors: Path | None = None,
        main: Callable[[], None] = run,
    ) -> None:
        """Runs `ah`, or another `main`, with these arguments in the tree; what it says goes to files, errors to theirs."""
        given = (list(argv), dict(env), str(said), str(errors or said), main)
        self._process = _context().Process(target=_become, args=given)
        self._process.start()
        atexit.register(self.kill)  # multiprocessing would wait for it
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("ah", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _context() -> ForkServerContext:
    """Starts the process that is forked; the environment of whoever is first does not get into it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ahplat.cli.main", "ahplat.cli.serve", "ahplat.main", "tests.forked"])
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    with mock.patch.dict(os.environ, plain | {"PYTHONPATH": str(TREE)}, clear=True):
        forkserver.ensure_running()
    return context


def _become(argv: list[str], env: dict[str, str], said: str, errors: str, main: Callable[[], None]) -> None:
    for path, stream in ((said, sys.stdout), (errors, sys.stderr)):
        output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(output, stream.fileno())
        os.close(output)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(TREE)
    sys.argv = ["ah", *argv]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # when pytest is killed what it was forked from ends
    main()
