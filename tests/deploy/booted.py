"""A Debian in a folder, started: systemd is its first process, with namespaces and cgroups of its own and no network out."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.deploy.rootfs import PATH, Root
from tests.real.platform.server import eventually

CGROUPS = Path("/sys/fs/cgroup")
NAME = "ah-booted"
BOOT = """\
set -e
root=$1 tree=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if [ $# -eq 0 ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  for tree_of in "$@"; do
    mkdir "$root/sys/fs/cgroup/$tree_of"
    [ "$tree_of" = systemd ] && kind=none,name=systemd || kind=$tree_of
    mount -t cgroup -o "$kind" cgroup "$root/sys/fs/cgroup/$tree_of"
  done
fi
mount -t tmpfs tmpfs "$root/dev"
for name in null zero full random urandom tty; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for name in dev/shm run tmp; do mount -t tmpfs tmpfs "$root/$name"; done
mount --bind -o ro "$tree" "$root/tree"
ip link set lo up
cd "$root"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
exec env -i container=ahplat-tests PATH="$PATH" /lib/systemd/systemd --log-target=console
"""


class Booted:
    """It runs; `init` is its first process, as this machine counts."""

    def __init__(self, init: int, said: Path) -> None:
        self.init = init
        self.said = said

    def ask(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a program in it to its end; what it says is one text."""
        enter = ["nsenter", f"--target={self.init}", "-m", "-n", "-p", "-u", "-i", "-C", "-r", "-w"]
        return subprocess.run(
            [*enter, "env", "-i", f"PATH={PATH}", "HOME=/root", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def run(self, *argv: str) -> str:
        """The same, of a program that is to succeed."""
        done = self.ask(*argv)
        assert done.returncode == 0, f"{argv}: {done.stdout}"
        return done.stdout


@contextmanager
def booted(root: Root) -> Iterator[Booted]:
    """Starts it, and ends all that ran in it."""
    trees = [] if (CGROUPS / "cgroup.controllers").exists() else sorted(path.name for path in _trees())
    said = root.folder.with_name("boot.log")
    enter = [
        "unshare",
        *["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"],
        "bash",
        "-c",
        BOOT,
        "boot",
    ]
    with said.open("w") as log:
        outer = subprocess.Popen(
            [*enter, str(root.folder), str(root.tree), *trees],
            env={"PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_move_in,
        )
    try:
        yield Booted(eventually(lambda: _systemd(outer)), said)
    finally:
        os.kill(outer.pid, signal.SIGKILL)
        outer.wait()
        for folder in _folders():
            eventually(lambda folder=folder: _removed(folder))  # type: ignore[misc]


def _trees() -> list[Path]:
    """Of cgroups v1 those that systemd mounts."""
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink() and path.name != "unified"]


def _folders() -> list[Path]:
    v2 = (CGROUPS / "cgroup.controllers").exists()
    return [(CGROUPS if v2 else tree) / f"{NAME}-{os.getpid()}" for tree in ([CGROUPS] if v2 else _trees())]


def _move_in() -> None:
    """Into cgroups of its own, which are then the roots of what it sees."""
    parent = os.getppid()
    for folder in _folders():
        folder = folder.with_name(f"{NAME}-{parent}")
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # a new one has none, and then takes nobody
            if (folder / name).exists() and folder.parent.name == "cpuset":
                (folder / name).write_text((folder.parent / name).read_text())
        (folder / "cgroup.procs").write_text(str(os.getpid()))


def _systemd(outer: "subprocess.Popen[bytes]") -> int:
    """The first process, once it is systemd."""
    assert outer.poll() is None, "it ended at once"
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    with suppress(OSError):
        return next((int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"), 0)
    return 0


def _removed(folder: Path) -> bool:
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            inner.rmdir()
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
