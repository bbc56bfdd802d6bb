"""A whole Debian in a folder, to install into: its own files, this machine's kernel and network, and no services.

What apt and pip need to reach this machine's package index comes from this machine. Nothing mounted here is seen outside:
each program runs in a mount namespace and a process namespace of its own, and what it leaves running ends with it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import images

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CA = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
ENTER = """\
set -e
root=$1 tree=$2 ca=$3; shift 3
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --bind -o ro "$tree" "$root/tree"
mount --bind "$ca" "$root/ca.crt"
exec chroot "$root" "$@"
"""
QUICK = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
"""
LOOKED_AT = ("etc", "opt", "usr/local", "usr/bin", "var/lib/ah", "var/lib/dpkg/info")


@contextmanager
def in_memory(folder: Path) -> Iterator[Path]:
    """The folder with its files in memory: there are tens of thousands, and on a disk taking them away takes half a minute."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class Root:
    """One of them. `tree` is what is seen in it as /tree."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.folder = folder
        self.tree = tree
        folder.mkdir()
        subprocess.run(["tar", "-C", folder, "-xf", images.tarball()], check=True)
        shutil.rmtree(folder / "etc/apt")
        shutil.copytree("/etc/apt", folder / "etc/apt", symlinks=True)
        shutil.copytree("/usr/share/keyrings", folder / "usr/share/keyrings", dirs_exist_ok=True)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", folder / "etc" / name)
        (folder / "etc/dpkg/dpkg.cfg.d/quick").write_text(QUICK)  # no fsync for each file, and nothing to read
        (folder / "tree").mkdir()
        (folder / "ca.crt").touch()

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a program in it to its end; what it says is one text."""
        index = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and "URL" in name}
        env = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "PIP_CERT": "/ca.crt", **index}
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", ENTER, "enter"]
        return subprocess.run(
            [*enter, str(self.folder), str(self.tree), CA, *argv],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )

    def set_up(self, daemon_json: dict[str, object]) -> None:
        """As a server is found: systemd, a Docker that somebody has set, and a folder for /programs."""
        done = self.run("sh", "-c", "apt-get -q update && apt-get -q install -y --no-install-recommends systemd")
        assert done.returncode == 0, done.stdout
        (self.folder / "etc/docker").mkdir()
        (self.folder / "etc/docker/daemon.json").write_text(json.dumps(daemon_json))
        (self.folder / "programs").mkdir()

    def install(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs deploy/install.sh in it."""
        return self.run("/tree/deploy/install.sh", *options)

    def files(self) -> dict[str, tuple[int, int]]:
        """What there is, of what an installation changes: size and time of each file."""
        found = {}
        for name in LOOKED_AT:
            for path in (self.folder / name).rglob("*"):
                at = path.lstat()
                found[str(path.relative_to(self.folder))] = (at.st_size, at.st_mtime_ns)
        return found
