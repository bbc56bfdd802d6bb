"""Leads the session of one embedded instance: starts its program, keeps its log, ends it, and records how it ended.

A program of its own (`python -I -S shim.py <instance folder>`), stdlib only and quick to start; nothing imports it. It
is the child of whichever server started it, and outlives that server. Invariant: whoever finds the lock held and
`started.json` naming a living process with that start time has found this shim; what it started ends before it does.

Theory of operation
-------------------
*What comes in.* The engine has taken the flock on `lock` already and hands the descriptor down, so there is no moment
in which two shims could think that they lead one instance; the lock goes when this process goes, however it goes. The
launch (argv, env, limits) comes as JSON on stdin, a file in memory only: a tenant's variables never reach the disk.

*Ready.* The program is forked into a process group of its own. A close-on-exec pipe tells whether `exec` worked. When
it did, `started.json` is written and the `ready` pipe is closed: that is what the engine waits for. When it did not,
the reason goes to the log, the exit code is 127, and `ready` closes when the shim ends.

*The loop.* One thread, one `poll` over two descriptors: the program's output, and the pipe into which signals are
written. SIGCHLD: reap. SIGTERM: read the grace from `stop.json`, pass SIGTERM on to the group, set the deadline;
another SIGTERM can only bring the deadline nearer. When the program ends unasked, the deadline is now; when it was
asked to, what it left behind has until the deadline too. After the deadline: SIGKILL to all, until nothing is left.

*Nothing gets away.* The shim is the subreaper of its descendants, so a daemon with a session of its own becomes its
child too, and is waited for and killed. Children that were not reaped keep their pid, so no signal meets a stranger;
the group is signalled only while its leader is not reaped, for the same reason. If the shim itself is killed, the
kernel kills the program (PDEATHSIG), and the engine finds what that left by the `AH_INSTANCE_ID` in its environment.

*The log.* stdout and stderr come through one pipe into `log`, each line with the time of its beginning in front; when it
is full it becomes `log.1`, and so on, the oldest going. A full disk drops output; it neither stalls nor ends the program.
"""

# ruff: noqa: PTH104, PTH105, PTH110, PTH123, PTH208
# (pathlib is slow to import, and this has to start at once)

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

CHUNK_BYTES = 64 * 1024
DEFAULT_GRACE_S = 10.0
KILL_ROUND_S = 0.01
GIVE_UP_S = 5.0  # after the deadline: what not even SIGKILL ends is left to the kernel
NOT_STARTED = 127
KILLED = 128 + signal.SIGKILL
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

prctl = ctypes.CDLL(None, use_errno=True).prctl


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third (state) on; the second may hold spaces and brackets."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def started_at(pid: int) -> int:
    """Field 22: clock ticks from boot to the start of the process."""
    return int(stat_fields(pid)[19])


def children_of(parent: int) -> list[int]:
    """Its children, zombies too."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(stat_fields(int(entry))[1]) == parent:
                found.append(int(entry))
        except (OSError, IndexError):
            continue  # ended while we looked
    return found


def write_whole(path: str, value: dict[str, int]) -> None:
    """Readers see the file whole or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.rename(path + ".new", path)


def send(kill: Callable[[int, int], None], target: int, number: int) -> None:
    """Sends a signal; what is gone needs none, and what became another user's cannot be had."""
    try:
        kill(target, number)
    except (ProcessLookupError, PermissionError):
        return


class Log:
    """An append-only file that is turned over when it is full, keeping `files` of them."""

    def __init__(self, path: str, limit_bytes: int, files: int) -> None:
        self.path, self.limit_bytes, self.files = path, limit_bytes, files
        self.begins = True  # what is written next begins a line
        self.open()
        self.end_last_line()

    def open(self) -> None:
        self.file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self.size = os.fstat(self.file).st_size

    def end_last_line(self) -> None:
        """What an earlier start left without an end gets one."""
        if self.size and os.pread(self.file, 1, self.size - 1) != b"\n":
            self.size += os.write(self.file, b"\n")

    def stamped(self, chunk: bytes) -> bytes:
        """With the time in front of each line that begins in it; whether the next one begins a line is kept."""
        stamp = b"%d " % time.time_ns()
        text = (stamp if self.begins else b"") + chunk.replace(b"\n", b"\n" + stamp)
        self.begins = chunk.endswith(b"\n")
        return text[: -len(stamp)] if self.begins else text

    def write(self, written: bytes) -> None:
        chunk = self.stamped(written)
        try:
            if self.size and self.size + len(chunk) > self.limit_bytes:
                self.turn_over()
            self.size += os.write(self.file, chunk)
        except OSError:
            return  # a full disk: the output is lost, the program goes on

    def turn_over(self) -> None:
        os.close(self.file)
        names = [self.path, *(f"{self.path}.{number}" for number in range(1, self.files))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if os.path.exists(newer):
                os.replace(newer, older)
        self.open()


class Shim:
    """See the theory of operation above."""

    def __init__(self, folder: str, launch: dict[str, Any]) -> None:
        self.folder = folder
        self.launch = launch
        self.pid = os.getpid()
        self.child = 0
        self.exit_code: int | None = None
        self.deadline: float | None = None  # monotonic; after it everything is killed
        self.log = Log(f"{folder}/log", launch["log_bytes"], launch["log_files"])
        self.poller = select.poll()
        self.output = -1
        self.signals = -1

    def run(self) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.listen_for_signals()
        if self.start():
            self.announce()
        while self.reap() and not self.gave_up():
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.kill_all()
            self.wait()
        self.drain()
        write_whole(f"{self.folder}/exit.json", {"code": KILLED if self.exit_code is None else self.exit_code})

    def listen_for_signals(self) -> None:
        self.signals, into = os.pipe()
        os.set_blocking(self.signals, False)
        os.set_blocking(into, False)
        signal.set_wakeup_fd(into, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self.poller.register(self.signals, select.POLLIN)

    def start(self) -> bool:
        """Forks the program; False when it could not be executed."""
        self.output, into = os.pipe()
        failed, tell_failed = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            self.become_program(into, tell_failed)
        os.close(into)
        os.close(tell_failed)
        os.set_blocking(self.output, False)
        self.poller.register(self.output, select.POLLIN)
        return os.read(failed, 1) == b""  # closed by exec

    def become_program(self, output: int, tell_failed: int) -> NoReturn:
        """In the forked child: never returns, whatever happens."""
        try:
            os.setpgid(0, 0)
            prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != self.pid:  # the shim was gone before the kernel knew
                os._exit(KILLED)
            for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(ignored_by_python, signal.SIG_DFL)
            self.limit_files()
            os.dup2(output, 1)
            os.dup2(output, 2)
            self.execute()
        except (OSError, ValueError) as error:
            os.write(tell_failed, b"!")
            os.write(2, f"{self.launch['argv'][0]} could not be started: {error}\n".encode())
        finally:
            os._exit(NOT_STARTED)

    def limit_files(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = self.launch["open_files"]
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))

    def execute(self) -> None:
        argv, env = self.launch["argv"], self.launch["env"]
        os.chdir(self.launch["cwd"])
        os.execvpe(argv[0], argv, {key.encode(): value.encode() for key, value in env.items()})  # noqa: S606

    def announce(self) -> None:
        started = {"pid": self.pid, "started_at": started_at(self.pid), "child": self.child}
        write_whole(f"{self.folder}/started.json", started)
        os.close(self.launch["ready_fd"])

    def reap(self) -> bool:
        """Takes in what ended; False when nothing of ours is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.child:
                code = os.waitstatus_to_exitcode(status)
                self.exit_code = code if code >= 0 else 128 - code
                self.end_by(time.monotonic() if self.deadline is None else self.deadline)

    def end_by(self, deadline: float) -> None:
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)

    def gave_up(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline + GIVE_UP_S

    def wait(self) -> None:
        """Until there is output, a signal, or the deadline."""
        for descriptor, _ in self.poller.poll(self.patience_ms()):
            if descriptor == self.output:
                self.pump()
            else:
                self.take_signals()

    def patience_ms(self) -> float | None:
        if self.deadline is None:
            return None
        return max(self.deadline - time.monotonic(), KILL_ROUND_S) * 1000

    def pump(self) -> bool:
        """Moves one chunk of output to the log; False when there is none now, or none any more."""
        try:
            chunk = os.read(self.output, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self.poller.unregister(self.output)
            self.output = -1
            return False
        self.log.write(chunk)
        return True

    def drain(self) -> None:
        """What the pipe still holds when everybody is gone: a pipe is bounded, and so is this."""
        for _ in range(64):
            if self.output < 0 or not self.pump():
                return

    def take_signals(self) -> None:
        if signal.SIGTERM in os.read(self.signals, CHUNK_BYTES):
            self.end_by(time.monotonic() + self.grace_s())
            self.signal_program(signal.SIGTERM)

    def grace_s(self) -> float:
        try:
            with open(f"{self.folder}/stop.json", encoding="utf-8") as file:
                return float(json.load(file)["grace_s"])
        except (OSError, ValueError, KeyError, TypeError):
            return DEFAULT_GRACE_S  # a SIGTERM that did not come from the engine

    def kill_all(self) -> None:
        self.signal_program(signal.SIGKILL)
        for pid in children_of(self.pid):
            send(os.kill, pid, signal.SIGKILL)

    def signal_program(self, number: int) -> None:
        """To its group, and to itself in case that it went to another group."""
        if self.exit_code is None:
            send(os.killpg, self.child, number)
            if os.getpgid(self.child) != self.child:
                send(os.kill, self.child, number)


def main(folder: str) -> None:
    """Takes the launch from stdin and leads the instance to its end."""
    with open(0, "rb") as launched:
        launch = json.load(launched)
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # becomes 0: the program reads nothing
    for descriptor in (launch["lock_fd"], launch["ready_fd"]):
        os.set_inheritable(descriptor, False)
    Shim(folder, launch).run()


if __name__ == "__main__":
    main(sys.argv[1])
