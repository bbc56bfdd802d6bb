"""The one module that starts other programs: argv only, never a shell, always with a time limit."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from ahplat.errors import Unavailable


class Completed(Struct, frozen=True):
    """How a program ended: its exit code, and what it said."""

    code: int
    stdout: str
    stderr: str


async def run(argv: Sequence[str], timeout_s: float, stdin: str = "") -> Completed:
    """Runs a program to its end. Raises Unavailable when it is missing or takes longer than `timeout_s`."""
    source = subprocess.PIPE if stdin else subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise Unavailable("program_missing", f"{argv[0]} could not be started: {error.strerror}") from error
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(stdin.encode() or None), timeout_s)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise Unavailable("program_timeout", f"{argv[0]} did not end within {timeout_s} s") from error
    return Completed(process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


async def start_piped(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> asyncio.subprocess.Process:
    """Starts a program in a session of its own, without stdin, whose stdout and stderr we read. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        *argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def environment_of(pid: int) -> dict[str, str] | None:
    """The variables that a process was started with; None when it is gone."""
    try:
        entries = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def start_detached(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    stdin: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> int:
    """Starts a program in a session of its own, that outlives us, and returns its pid. Its output goes nowhere.

    It inherits `stdin` and `pass_fds` and nothing else. When it ends while we live it stays a zombie until `reap`.
    """
    process = subprocess.Popen(  # noqa: S603 — argv, no shell
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
        pass_fds=pass_fds,
    )
    process.returncode = 0  # this object never waits for it, and need not warn that it runs on
    return process.pid


def reap(pid: int) -> None:
    """Takes in a child that ended; nothing happens where it lives, or is not ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def kill_child(pid: int) -> None:
    """SIGKILLs a child of ours that was not reaped: until then its pid cannot be another's."""
    os.kill(pid, signal.SIGKILL)
    reap(pid)


def started_at(pid: int) -> int | None:
    """When it started, in clock ticks since boot: with the pid this names one process for good. None: it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])  # field 22; the second may hold spaces and brackets


def open_exactly(pid: int, ticks: int) -> int | None:
    """A pidfd of the process that has this pid and started then; None when it is gone, or the pid is a stranger's now.

    A pidfd never comes to mean another process, so what is sent through it cannot hit one.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if started_at(pid) == ticks:
        return descriptor
    os.close(descriptor)
    return None


def open_child(pid: int) -> int | None:
    """A pidfd of a child of ours; None when it ended and was reaped."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def signal_exactly(descriptor: int, number: int) -> None:
    """Sends a signal through a pidfd; nothing happens where the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def kill_marked(variable: str) -> int:
    """SIGKILLs every process that was started with exactly `variable` ("NAME=value") in its environment; how many."""
    return _kill_all(lambda process: _has(process, variable))


def kill_session(leader: int) -> int:
    """SIGKILLs every process of the session that a child of ours leads, which was not reaped; how many."""
    return _kill_all(lambda process: _session_of(process) == leader)


def _kill_all(fits: Callable[[Path], bool]) -> int:
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and fits(entry)]
    for pid in found:
        ticks = started_at(pid)
        descriptor = None if ticks is None else open_exactly(pid, ticks)
        if descriptor is not None:
            if fits(Path(f"/proc/{pid}")):
                signal_exactly(descriptor, signal.SIGKILL)
            os.close(descriptor)
    return len(found)


def _has(process: Path, variable: str) -> bool:
    try:
        return variable.encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _session_of(process: Path) -> int | None:
    """None of what ended, reaped or not."""
    try:
        state, _, _, session, *_ = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(session)


def alive(pid: int) -> bool:
    """Whether a process of that id exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
