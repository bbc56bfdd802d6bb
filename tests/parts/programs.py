"""Runs programs to their end, and keeps daemons: started in a session of their own, found again and ended by pid file.

A pid file holds the pid and when that process started, so that a pid which meanwhile belongs to another process is never
taken for ours.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.parts.cache import folder

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"])
INSTALL_TIMEOUT_S = 2400
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


class PartFailed(Exception):
    """A part cannot be installed, started or stopped; the message is one line that says why and what helps."""


def find(program: str) -> str | None:
    """Where a program is, also where root's PATH is not ours."""
    return shutil.which(program, path=PATH)


def run(*argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Runs a program to its end and returns what it wrote to stdout. Raises PartFailed with its last line."""
    log = folder("logs") / f"{Path(argv[0]).name}.log"
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, "PATH": PATH, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PartFailed(f"{argv[0]} could not be run: {error}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        log.write_text(said + "\n")
        last = said.splitlines()[-1] if said else "it said nothing"
        raise PartFailed(f"`{' '.join(argv[:3])} …` ended with {done.returncode}: {last} (all of it: {log})")
    return done.stdout


@dataclass(frozen=True)
class Daemon:
    """A program that goes on running after us. `ready` says whether it answers."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]

    @property
    def log(self) -> Path:
        """Everything that it wrote since it was last started."""
        return folder("logs") / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Two words: pid, and its start in clock ticks since boot."""
        return folder("run") / f"{self.name}.pid"

    def pid(self) -> int | None:
        """The pid of the process that we started, None when it is gone."""
        try:
            pid, began = self.pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return (
            int(pid) if _began(int(pid)) == began and _program(int(pid)) == Path(self.argv[0]).resolve().name else None
        )

    def start(self) -> bool:
        """Starts it and waits until it is ready. False when it ran already. Raises PartFailed."""
        pid = self.pid()
        if pid is not None and self.ready():
            return False
        if pid is None:
            pid = self._spawn()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.ready():
            if self.pid() is None:
                raise PartFailed(f"{self.name} ended at once: {self._last_words()} (all of it: {self.log})")
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} (pid {pid}) does not answer after {START_TIMEOUT_S} s: see {self.log}")
            time.sleep(0.05)
        return True

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> bool:
        """Ends it and waits until it is gone. False when it did not run. Raises PartFailed when it will not end."""
        pid = self.pid()
        if pid is None:
            return False
        os.kill(pid, with_signal)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.pid() is not None:
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} (pid {pid}) still runs {STOP_TIMEOUT_S} s after {with_signal.name}")
            time.sleep(0.05)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)  # its other threads may outlive it by a moment
        self.pid_file.unlink(missing_ok=True)
        return True

    def _spawn(self) -> int:
        """posix_spawn rather than Popen: the daemon outlives us on purpose, and Popen would warn about that."""
        to_log = (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        from_nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        actions = [from_nothing, to_log, (os.POSIX_SPAWN_DUP2, 1, 2)]
        env = {**os.environ, "PATH": PATH}
        try:
            pid = os.posix_spawn(self.argv[0], self.argv, env, file_actions=actions, setsid=True)
        except OSError as error:
            raise PartFailed(f"{self.name} could not be started: {error}") from error
        self.pid_file.write_text(f"{pid} {_began(pid)}\n")
        return pid

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"


def lives(pid: int) -> bool:
    """Whether a process runs; not when only its exit code is left."""
    return _began(pid) is not None


def _began(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when there is none, or only its exit code is left."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else fields[18]


def _program(pid: int) -> str | None:
    """The name of the program that a process runs. Not from its cmdline: that is empty for a moment after the start."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except (FileNotFoundError, ProcessLookupError):
        return None
