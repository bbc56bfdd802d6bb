"""The folder of one embedded instance: which file says what, and what they say together.

    instance.json   who it is, from which image, on which port      written by the engine, before there is the folder
    lock            flocked by the shim for as long as it lives
    started.json    the shim's pid and start time                   written by the shim
    stop.json       the grace of a stop that is under way           written by the engine
    exit.json       how it ended                                    written by the shim; by us, when the shim was killed
    log, log.1, …   what it wrote, see `run_logs.py`                written by the shim

Invariant: an instance runs when its lock is held and `started.json` names a living process that started then; a process
that is not named so is never signalled. All files are replaced whole, and a folder is whole from its first moment.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from ahplat import limits, processes
from ahplat.engines.engine import Identity, Instance, State, identity_of
from ahplat.engines.run_logs import names, unstamped

HOST = "127.0.0.1"
KILLED = 137  # 128 + SIGKILL: the exit code where the shim could not tell one


class Record(Struct, frozen=True):
    """`id` is the name and the incarnation: what replaces an instance has another."""

    id: str
    labels: dict[str, str]
    image: str
    port: int


class Started(Struct, frozen=True):
    """The shim. `started_at` in clock ticks since boot."""

    pid: int
    started_at: int


class Led(Struct, frozen=True):
    """What the shim leads, told in `started.json` too."""

    child: int  # the program's pid


class Stop(Struct, frozen=True):
    grace_s: int


class Ended(Struct, frozen=True):
    code: int


T = TypeVar("T", Record, Started, Led, Ended)


class RunFolder:
    """See the module. Nothing here waits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, record: Record) -> "RunFolder":
        """Made aside and renamed, so that there is never half a folder under that name."""
        aside = path.with_name(f".new-{record.id}")
        aside.mkdir(mode=0o700)
        (aside / "home").mkdir()
        (aside / "lock").touch(mode=0o600)
        folder = cls(aside)
        folder._write("instance.json", record)
        aside.rename(path)
        return cls(path)

    def record(self) -> Record | None:
        return self._read("instance.json", Record)

    def started(self) -> Started | None:
        return self._read("started.json", Started)

    def program(self) -> int | None:
        """The pid of the program, while it runs."""
        led = self._read("started.json", Led) if self.runs() else None
        return None if led is None else led.child

    def environment(self, instance_id: str, port: int, given: dict[str, str], path: str) -> dict[str, str]:
        """What its program gets: the tenant's over a few defaults, under what is ours. Nothing of the server's own."""
        defaults = {
            "PATH": path,
            "HOME": str(self.path / "home"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # images stay as they are
        }
        ours = {"AH_INSTANCE_ID": instance_id} | ({"PORT": str(port)} if port else {})
        return defaults | given | ours

    def ended(self) -> Ended | None:
        return self._read("exit.json", Ended)

    def identity(self) -> Identity | None:
        record = self.record()
        return None if record is None else identity_of(record.labels)

    def instance(self) -> Instance | None:
        """What it is now; None where this is no instance's folder, or damaged."""
        record = self.record()
        identity = None if record is None else identity_of(record.labels)
        if record is None or identity is None:
            return None
        state, exit_code = self._state()
        reachable = state == "running" and record.port != 0
        return Instance(
            id=record.id,
            name=self.path.name,
            identity=identity,
            state=state,
            host=HOST if reachable else "",
            port=record.port if reachable else 0,
            exit_code=exit_code,
        )

    def _state(self) -> tuple[State, int | None]:
        """The shim goes on while we look, so the order counts: what it says first is read first, its end last."""
        started = self.started()
        if self.runs():
            return "running", None
        self.bury()
        ended = self.ended()
        if ended is not None:
            return "exited", ended.code
        return ("created", None) if started is None else ("exited", KILLED)

    def runs(self) -> bool:
        shim = self.open_shim() if self.ended() is None else None
        if shim is None:
            return False
        os.close(shim)
        return True

    def is_starting(self) -> bool:
        """Whether a shim is at work that did not yet say who it is."""
        return self.started() is None and self.ended() is None and self.held()

    def open_shim(self) -> int | None:
        """A pidfd of the shim that runs this; None when none does, or when that cannot be told for sure."""
        started = self.started()
        if started is None or not self.held():
            return None
        return processes.open_exactly(started.pid, started.started_at)

    def bury(self) -> None:
        """Where the shim was killed before it could tell: kills what the program left, and records the end."""
        if self.started() is None or self.ended() is not None:
            return
        lock = self.try_lock()
        if lock is None:
            return
        record = self.record()
        if record is not None and self.ended() is None:
            for _ in range(limits.EMBEDDED_KILL_ROUNDS):
                if processes.kill_marked(f"AH_INSTANCE_ID={record.id}") == 0:
                    break
            with contextlib.suppress(OSError):  # a full disk: it is found and told in the same way next time
                self._write("exit.json", Ended(KILLED))
        os.close(lock)

    def begin(self, record: Record) -> None:
        """Makes a new start of it: the files of the last one go, its log stays. The lock must be held."""
        self._write("instance.json", record)
        for name in ("started.json", "stop.json", "exit.json"):
            (self.path / name).unlink(missing_ok=True)

    def ask_to_stop(self, grace_s: int) -> None:
        """Says how long the shim shall be patient: it looks at SIGTERM, and takes its default where we cannot write."""
        try:
            self._write("stop.json", Stop(grace_s))
        except OSError:
            (self.path / "stop.json").unlink(missing_ok=True)

    def held(self) -> bool:
        """Whether the lock is held: asked with a shared one, so that two who ask do not mislead each other."""
        lock = self._flock(fcntl.LOCK_SH)
        if lock is None:
            return True
        os.close(lock)
        return False

    def try_lock(self) -> int | None:
        """The lock, to be closed or handed down; None when somebody has it."""
        return self._flock(fcntl.LOCK_EX)

    def _flock(self, kind: int) -> int | None:
        try:
            lock = os.open(self.path / "lock", os.O_RDWR)
        except OSError:
            return None  # damaged or gone: nothing can be started here
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def tail(self, lines: int) -> str:
        """The last lines over the turned logs, see `last_lines`."""
        output = b""
        for path in names(self.path):
            output = _last_bytes(path, limits.TAIL_BYTES - len(output)) + output
        return last_lines(unstamped(output), lines)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (OSError, msgspec.MsgspecError):
            return None  # not there, not ours or damaged: it says nothing

    def _write(self, name: str, value: Record | Stop | Ended) -> None:
        new = self.path / f"{name}.new"
        new.write_bytes(msgspec.json.encode(value))
        new.rename(self.path / name)


def _last_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - count, 0))
            return file.read(count)
    except OSError:
        return b""


def last_lines(output: bytes, lines: int) -> str:
    r"""The last `lines` as text, at most TAIL_BYTES of UTF-8.

    >>> last_lines(b"one\ntwo\nthree\n", 2)
    'two\nthree\n'
    >>> last_lines(b"one\ntwo", 1)
    'two'
    """
    whole = output.removesuffix(b"\n").split(b"\n")
    kept = b"\n".join(whole[-lines:] if lines > 0 else []) + (b"\n" if lines > 0 and output.endswith(b"\n") else b"")
    text = kept.decode("utf-8", "replace").encode()[-limits.TAIL_BYTES :]
    return text.decode("utf-8", "ignore")
