"""The limits of one tenant's builder, and of all that it starts: memory, CPU and processes, in a cgroup of its own.

Nothing leaves a cgroup by forking or daemonising, so that it also is how everything in it is ended. Both versions of the
kernel's interface are spoken: one tree for each controller (v1), or one for all (v2, cgroup-v2.rst).
"""

import contextlib
import os
import shlex
import signal
import time
from pathlib import Path

from msgspec import Struct

from ahplat import limits

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "cpu", "pids")
PARENT = "ah-build"


class Cgroup(Struct, frozen=True):
    """`name` may have slashes: one for the installation, one for the tenant."""

    name: str
    memory_mb: int
    cpu_milli: int

    def folders(self) -> list[Path]:
        """One for each tree."""
        if is_v2():
            return [ROOT / PARENT / self.name]
        return [ROOT / controller / PARENT / self.name for controller in CONTROLLERS]

    @property
    def path(self) -> str:
        """From the root of a tree."""
        return f"/{PARENT}/{self.name}"

    def make(self) -> None:
        """Makes it with its limits. Raises OSError where this machine has no such cgroups, or they may not be written."""
        for folder in self.folders():
            folder.mkdir(parents=True, exist_ok=True)
            if is_v2():
                _delegate(folder)
        for path, value in self._settings():
            path.write_text(value)
        if not is_v2():
            with contextlib.suppress(OSError):  # there only where the kernel counts swap
                swap = ROOT / "memory" / PARENT / self.name / "memory.memsw.limit_in_bytes"
                swap.write_text(str(self.memory_mb * 1024**2))

    def entering(self) -> str:
        """A script that moves itself in, and becomes the program that it is given: nothing of that was ever outside.

        What that writes ends up in images, where other users read it: the server's own umask is not for it.
        """
        moves = [f"echo $$ > {shlex.quote(str(folder / 'cgroup.procs'))} || exit 125" for folder in self.folders()]
        return "\n".join(["#!/bin/sh", "umask 022", *moves, 'exec "$@"', ""])

    def kill(self) -> None:
        """Ends everything in it, and returns when nothing is left. Blocks."""
        for _ in range(limits.BUILDER_KILL_ROUNDS):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(limits.BUILDER_KILL_S)

    def pids(self) -> list[int]:
        """What is in it, and in those that a runtime made in it."""
        found: list[int] = []
        for path in self.folders()[-1].rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found += map(int, path.read_text().split())
        return found

    def remove(self) -> None:
        """Takes it away, once nothing is in it; its parents too, once nothing is in them."""
        trees = [ROOT] if is_v2() else sorted(ROOT.iterdir())  # a runtime makes its own in each
        for folder in (tree / PARENT / self.name for tree in trees):
            with contextlib.suppress(OSError):
                for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                    inner.rmdir()
                folder.rmdir()
                folder.parent.rmdir()

    def memory_kills(self) -> int:
        """How often the kernel ended something in it for want of memory, since it was made."""
        memory = self.folders()[0]
        for name, word in (("memory.events", "oom_kill"), ("memory.oom_control", "oom_kill")):
            with contextlib.suppress(OSError, ValueError):
                counts = dict(line.split() for line in (memory / name).read_text().splitlines())
                return int(counts.get(word, 0))
        return 0

    def _settings(self) -> list[tuple[Path, str]]:
        """Which file gets which value."""
        memory, pids, quota = str(self.memory_mb * 1024**2), str(limits.BUILD_PIDS), self.cpu_milli * 100
        if is_v2():
            (folder,) = self.folders()
            return [
                (folder / "memory.max", memory),
                (folder / "memory.swap.max", "0"),
                (folder / "cpu.max", f"{quota} 100000"),
                (folder / "pids.max", pids),
            ]
        memory_folder, cpu_folder, pids_folder = self.folders()
        return [
            (memory_folder / "memory.limit_in_bytes", memory),
            (cpu_folder / "cpu.cfs_period_us", "100000"),
            (cpu_folder / "cpu.cfs_quota_us", str(quota)),
            (pids_folder / "pids.max", pids),
        ]


def is_v2() -> bool:
    """Whether one tree has all controllers."""
    return (ROOT / "cgroup.controllers").exists()


def _delegate(folder: Path) -> None:
    """Has the controllers reach down to it."""
    for parent in (*reversed(folder.relative_to(ROOT).parents),):
        (ROOT / parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
