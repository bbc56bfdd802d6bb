"""Where git and nixpacks read what a tenant sent: in gVisor, with one folder to write and the host's programs to read.

Theory of operation. A sandbox is an OCI bundle in the build's folder that `runsc run` keeps up while it is wanted. A
shell in it, the only one, runs one program after the other, every word of them quoted: `runsc exec` for each would start
100 MB of program to do so, and took 20 ms more. Seen in it are /usr and the
host's certificates, both read-only, a little of /etc that we write, and as `/build` the folder to work in: neither the
bundle itself nor anything of another build. It runs without a capability, in the cgroup of the tenant's builder, and in
its network namespace, whose firewall knows what no build reaches (`network.py`), or without any network. What is to be
cloned from an address that the operator allowed as an address is fetched by the host's network: he named it himself.

Without isolation (`--build-isolation none`) the same programs run on this machine's kernel, still in that cgroup and
that network.
"""

import asyncio
import json
import os
import re
import secrets
import shlex
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ahplat import limits
from ahplat.builders.workplace import Said, Workplace
from ahplat.errors import Rejected, Unavailable

INSIDE = Path("/build")
PROGRAMS = "/programs"
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
SHOWN = ("/usr", "/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust")
_PATH = f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENV = {"PATH": _PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 — the sandbox's own
_ID = "build"


class Room(Protocol):
    """Where programs of a build run."""

    @property
    def root(self) -> Path:
        """The folder to work in, as they see it."""

    @property
    def is_up(self) -> bool:
        """Whether programs can be run in it, as far as is known."""

    def given_to(self, place: Workplace, folder: Path) -> "Room":
        """The same, for the programs of this build, which has its folder there."""

    async def run(
        self, argv: Sequence[str], hear: Callable[[bytes], None], timeout_s: float, env: Mapping[str, str] | None = None
    ) -> int:
        """The exit code; 128 + n for one that signal n ended, or -n. Raises Rejected `build_timeout`."""


class Confinement(Struct, frozen=True):
    """What holds programs in. `enter` is an argv that puts what follows it into the builder's cgroup, and network.

    `runtime` is runsc, "" for none; `network` says whether anything is to be reached; `shown` are further programs
    that are to be found by their names.
    """

    enter: tuple[str, ...]
    runtime: str
    network: bool
    nameservers: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


class Plain(Struct, frozen=True):
    """A room that is none: programs run as they are, in a folder, after what `enter` says."""

    place: Workplace
    root: Path
    file_bytes: int
    enter: tuple[str, ...] = ()

    @property
    def is_up(self) -> bool:
        return True

    def given_to(self, place: Workplace, folder: Path) -> Room:
        return replace(self, place=place, root=folder)

    async def run(
        self, argv: Sequence[str], hear: Callable[[bytes], None], timeout_s: float, env: Mapping[str, str] | None = None
    ) -> int:
        return await self.place.run(
            [*self.enter, *argv], hear, timeout_s, cwd=self.root, env=env, file_bytes=self.file_bytes
        )


class Reply:
    """What a program says until the line that ends it, which nobody knows before.

    >>> reply = Reply("0f", print)
    >>> reply.feed(b"12 ca"), reply.feed(b"ts\\n0f 0"), reply.feed(b"\\n"), reply.code
    b''
    b'12 ca'
    b'ts'
    (False, False, True, 0)
    """

    def __init__(self, end: str, hear: Callable[[bytes], None]) -> None:
        self._end = re.compile(rb"\n%s (\d{1,3})\n" % end.encode())
        self._held_bytes = len(end) + 5
        self._held = b""
        self._hear = hear
        self.code = -1

    def feed(self, data: bytes) -> bool:
        """Takes a piece; whether it was the last."""
        self._held += data
        if found := self._end.search(self._held):
            self._hear(self._held[: found.start()])
            self.code = int(found[1])
            return True
        self._hear(self._held[: -self._held_bytes])
        self._held = self._held[-self._held_bytes :]
        return False

    def cut_off(self) -> None:
        """It will not end: what is held is what it said."""
        self._hear(self._held)


class Sandbox:
    """A room in gVisor, while it is up: a shell there runs what it is told, one program after the other.

    It ends when nobody is there any more to tell it anything: its input is a pipe that we hold.
    """

    root = INSIDE

    def __init__(self) -> None:
        self.commands, self._tell = os.pipe()
        self._running: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reply: Reply | None = None
        self._replied = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return not self._running.done()

    def given_to(self, place: Workplace, folder: Path) -> Room:
        return self

    def hear(self, data: bytes) -> None:
        """Takes what comes out of it."""
        if self._reply and self._reply.feed(data):
            self._reply = None
            self._replied.set()

    async def begin(self, running: asyncio.Future[int]) -> str:
        """Returns once it is up what is in the way, "" for nothing. `running` is the program that keeps it up."""
        self._running = running
        said = Said(limits.SANDBOX_SAID_BYTES)
        code = await self._run(":", said.hear, limits.SANDBOX_START_S)
        return "" if code == 0 and self.is_up else said.text.strip()[-400:] or f"it ended with {code}"

    async def run(
        self, argv: Sequence[str], hear: Callable[[bytes], None], timeout_s: float, env: Mapping[str, str] | None = None
    ) -> int:
        given = "".join(f"export {name}={shlex.quote(value)}; " for name, value in (env or {}).items())
        return await self._run(f"({given}exec {shlex.join(argv)})", hear, timeout_s)

    async def _run(self, command: str, hear: Callable[[bytes], None], timeout_s: float) -> int:
        end = secrets.token_hex(16)
        reply = self._reply = Reply(end, hear)
        self._replied.clear()
        os.write(self._tell, f"{command} </dev/null 2>&1; printf '\\n%s %d\\n' {end} $?\n".encode())
        replied: asyncio.Future[Any] = asyncio.ensure_future(self._replied.wait())
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait({self._running, replied}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise Rejected("build_timeout", f"a program of the build did not end within {timeout_s:.0f} s") from error
        finally:
            replied.cancel()
        if self._replied.is_set():
            return reply.code
        reply.cut_off()
        return self._running.result()

    def close(self) -> None:
        """Lets go of its input."""
        os.close(self.commands)
        os.close(self._tell)


RoomOf = Callable[[Workplace, Path], AbstractAsyncContextManager[Room]]  # over a folder of a build


@asynccontextmanager
async def room(place: Workplace, folder: Path, file_bytes: int, how: Confinement | None = None) -> AsyncIterator[Room]:
    """A room to work in `folder`, in which no file gets larger than `file_bytes`, until the end of the block.

    At the end nothing that ran in it is left. Raises Unavailable `builder_unavailable` where it does not come up.
    """
    if how is None or not how.runtime:
        yield Plain(place, folder, file_bytes, how.enter if how else ())
        return
    bundle = place.folder / "sandbox"
    await asyncio.to_thread(shutil.rmtree, bundle, ignore_errors=True)
    _write(bundle, folder, file_bytes, how)
    command = (how.runtime, f"--root={bundle / 'state'}", "--overlay2=none", "--ignore-cgroups")
    network = "--network=host" if how.network else "--network=none"
    argv = [*how.enter, *command, network, "run", "--bundle", str(bundle), _ID]
    made = Sandbox()
    running = asyncio.ensure_future(place.run(argv, made.hear, limits.BUILD_DEADLINE_AT_MOST_S, stdin=made.commands))
    try:
        if why := await made.begin(running):
            raise Unavailable("builder_unavailable", f"a sandbox could not be started: {why}")
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        made.close()
        await place.end()
        await asyncio.to_thread(shutil.rmtree, bundle, ignore_errors=True)


def specification(folder: Path, file_bytes: int, how: Confinement, shown: Sequence[str]) -> dict[str, Any]:
    """The container (OCI runtime specification 1.0.2). Its first program is a shell that reads its input.

    `shown` are folders of the host to be seen at their own places.
    """
    read_only = ["rbind", "ro", "nosuid", "nodev"]
    binds = [(path, path) for path in shown] + [(f"{PROGRAMS}/{Path(path).name}", path) for path in how.shown]
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},  # noqa: S108
        *({"destination": at, "type": "bind", "source": path, "options": read_only} for at, path in binds),
        {"destination": str(INSIDE), "type": "bind", "source": str(folder), "options": ["rbind", "rw"]},
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"{name}={value}" for name, value in _ENV.items()],
            "cwd": str(INSIDE),
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_FSIZE", "hard": file_bytes, "soft": file_bytes}],
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": _ID,
        "mounts": mounts,
        "linux": {"namespaces": [{"type": name} for name in ("pid", "mount", "ipc", "uts")]},
    }


def _write(bundle: Path, folder: Path, file_bytes: int, how: Confinement) -> None:
    """The bundle: its root holds places to mount at, the host's links into /usr, and what programs look for in /etc."""
    root = bundle / "rootfs"
    shown = [path for path in (*SHOWN, *(f"/{name}" for name in SYSTEM)) if Path(path).is_dir()]
    links = [path for path in shown if Path(path).is_symlink()]
    shown = [path for path in shown if path not in links]
    for path in (*shown, "/proc", "/tmp", "/etc", "/dev", PROGRAMS, str(INSIDE)):  # noqa: S108
        (root / path[1:]).mkdir(parents=True, exist_ok=True)
    for path in links:
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).symlink_to(Path(path).readlink())
    for program in how.shown:
        (root / PROGRAMS[1:] / Path(program).name).touch()
    files = {
        "hostname": f"{_ID}\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "passwd": "root:x:0:0::/tmp:/usr/sbin/nologin\n",
        "group": "root:x:0:\n",
        "resolv.conf": "".join(f"nameserver {address}\n" for address in how.nameservers),
    }
    for name, text in files.items():
        (root / "etc" / name).write_text(text)
    (bundle / "config.json").write_text(json.dumps(specification(folder, file_bytes, how, shown)))
