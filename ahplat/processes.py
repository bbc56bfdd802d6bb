"""The one module that starts other programs: argv only, never a shell, always with a time limit."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from ahplat import limits
from ahplat.errors import Unavailable

T = TypeVar("T")

NOTHING = subprocess.DEVNULL  # a program's input that is at its end


def side_by_side(tasks: Sequence[Callable[[], T]]) -> Iterator[T]:
    """What each task returns, in their order, worked out on all cores in processes of their own. Tasks can be pickled."""
    from concurrent.futures import ProcessPoolExecutor  # takes 10 ms, which a server need not wait for

    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


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


async def start_piped(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: bool = False
) -> asyncio.subprocess.Process:
    """Starts a program in a session of its own, whose stdout and stderr we read, and whose stdin we write where asked to.

    Raises OSError.
    """
    return await asyncio.create_subprocess_exec(
        *argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def environment_of(pid: int) -> dict[str, str] | None:
    """The variables that a process was started with; None when it is gone.

    The kernel shows none while it still puts them in place, a moment after whoever waits for the exec was told of it.
    """
    entries: list[bytes] = []
    for _ in range(limits.ENVIRON_LOOKS):
        try:
            text = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return None
        if text:
            entries = text.split(b"\0")
            break
        time.sleep(limits.ENVIRON_LOOK_S)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def folder_of(pid: int) -> Path:
    """The working directory of a process. Raises OSError where it is gone."""
    return Path(f"/proc/{pid}/cwd").readlink()


async def follow(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    mark: str,
    hear: Callable[[bytes], None],
    timeout_s: float,
    file_bytes: int = 0,
    stdin: int = NOTHING,
) -> int:
    """Runs a program in a session of its own to its end, hands on what it says as it comes, and returns its exit code.

    Where this ends early, by cancellation too, nothing of it is left: its process group is killed, and whatever else
    has `mark` ("NAME=value", which is put into its environment) there; so it is where what it started holds its output
    open after its end. `file_bytes` is the largest file that it may write.
    Raises Unavailable `program_missing`, and TimeoutError.
    """
    name, _, value = mark.partition("=")
    ours, theirs = os.pipe()
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env={**env, name: value},
            stdin=stdin,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except OSError as error:
        os.close(ours)
        raise Unavailable("program_missing", f"{argv[0]} could not be started: {error.strerror}") from error
    except asyncio.CancelledError:
        os.close(ours)
        with contextlib.suppress(OSError):
            await _end_group(await starting, mark)  # it may run already: only who started it can end it
        raise
    finally:
        os.close(theirs)
    hearing = asyncio.ensure_future(_hear(ours, hear))
    try:
        if file_bytes:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        async with asyncio.timeout(timeout_s):
            code = await process.wait()
        await _drained(hearing, mark)
        return code
    finally:
        await _end_group(process, mark)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def _hear(descriptor: int, hear: Callable[[bytes], None]) -> None:
    """Hands on what comes through a pipe until all its writers are gone."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        while data := await reader.read(limits.PROGRAM_CHUNK_BYTES):
            hear(data)
    finally:
        transport.close()


async def _drained(hearing: "asyncio.Future[None]", mark: str) -> None:
    """Waits for the last words; what the program left running would hold the pipe open for ever."""
    done, _ = await asyncio.wait({hearing}, timeout=limits.PROGRAM_DRAIN_S)
    if not done:
        await asyncio.to_thread(kill_marked, mark)
        done, _ = await asyncio.wait({hearing}, timeout=limits.PROGRAM_DRAIN_S)
    if done:
        hearing.result()


async def _end_group(process: asyncio.subprocess.Process, mark: str) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # not reaped yet: the group is still its own
        await process.wait()
        await asyncio.to_thread(kill_marked, mark)


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


def start_logged(argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> int:
    """Starts a program in a session of its own whose output goes to a file, and returns its pid; `reap` takes it in."""
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 — argv, no shell
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    process.returncode = 0  # as in start_detached
    return process.pid


def has_ended(pid: int) -> bool:
    """Whether a child of ours has ended; it stays to be reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def kill_group(pid: int, number: int) -> None:
    """Signals the group that a child of ours leads, which was not reaped: until then the number cannot be another's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


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
    stat = _stat_of(Path(f"/proc/{pid}"))
    return int(stat[19]) if stat else None


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


def used_by(leaders: Collection[int]) -> dict[int, tuple[int, int]]:
    """Session's leader → (microseconds of CPU, bytes of memory) of all its processes: of those that ended, too, once
    they were waited for. Nothing of a session that is not there."""
    tick_us, page_bytes = 1_000_000 // os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        session = _session_of(entry) if entry.name.isdigit() else None
        if session is not None and session in leaders and (stat := _stat_of(entry)):
            cpu_us, memory_bytes = found.get(session, (0, 0))
            ticks = sum(int(field) for field in stat[11:15])  # its own, and those of the children that it waited for
            found[session] = cpu_us + ticks * tick_us, memory_bytes + int(stat[21]) * page_bytes
    return found


def kill_marked(variable: str) -> int:
    """SIGKILLs every process that was started with exactly `variable` ("NAME=value") in its environment; how many."""
    return _kill_all(lambda process: _has(process, variable))


def kill_limited(resident_bytes: int) -> int:
    """SIGKILLs every process that lives and has exactly this hard limit of the resident set; how many."""
    return _kill_all(lambda process: _lives(process) and _resident_limit_of(process) == resident_bytes)


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


def _resident_limit_of(process: Path) -> int | None:
    """None of another user's, and of what is gone."""
    try:
        return resource.prlimit(int(process.name), resource.RLIMIT_RSS)[1]
    except OSError:
        return None


def _lives(process: Path) -> bool:
    """What ended and was not reaped does not."""
    stat = _stat_of(process)
    return bool(stat) and stat[0] not in "ZX"


def _session_of(process: Path) -> int | None:
    """None of what ended, reaped or not."""
    stat = _stat_of(process)
    return None if not stat or stat[0] in "ZX" else int(stat[3])


def _stat_of(process: Path) -> list[str]:
    """proc(5)'s `stat` from the state on, which is its third field; nothing where the process is gone."""
    try:
        return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether a process of that id exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
