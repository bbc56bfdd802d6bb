"""A tenant's own BuildKit daemon: its own cache, cgroup and network; every step of a build it runs inside gVisor.

Theory of operation. BuildKit runs each RUN step as a container of an OCI runtime, and fetches base images, `ADD http://…`
and frontends itself. So the steps get runsc for a runtime, by a wrapper that speaks BuildKit's words to it, and the
daemon itself is locked in: a network namespace from which only the internet and our mirror of base images are to be
seen (`network.py`, `mirror.py`), a cgroup that bounds it with all that it starts (`cgroup.py`), and none of the host's
programs, which it would start outside gVisor on what a tenant sent. It serves one tenant, whose builds run one at a time;
a foreign cache can therefore not even be named. It goes on after a build, for the next one, and ends after BUILDER_IDLE_S,
or when a build is called off: ending the cgroup ends whatever ran.
"""

import asyncio
import json
import shlex
import shutil
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from ahplat import limits, processes
from ahplat.builders import mirror
from ahplat.builders.builder import Bounds
from ahplat.builders.cgroup import Cgroup
from ahplat.builders.mirror import Mirror
from ahplat.builders.network import BRIDGE, HOST_SIDE, STEPS, Network, entering
from ahplat.builders.rooms import Needs, Rooms
from ahplat.errors import Unavailable

SOCKETS = Path("/run/ah-build")  # a socket's path is short
MARK = "AH_BUILDER"
PLUGINS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
FOUND = ("iptables", "ip6tables")
"""All that the daemon and its plugins find of the host's programs: it would start git, xz, unpigz on what a tenant sent."""

MIRRORED = ("docker.io", "ghcr.io")
BLOBS = "runc-*/content/blobs/sha256/*"  # below its root; the folder has its snapshotter's name
_ENVIRON = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "BUILDKIT_STEP_LOG_MAX_SIZE": str(limits.BUILD_STEP_SAID_BYTES),
    "BUILDKIT_STEP_LOG_MAX_SPEED": "-1",  # however fast it says it
}
_POLICY = {"rules": [{"action": "DENY", "selector": {"identifier": "git://*"}}]}
"""What a Dockerfile may name: anything but repositories (BuildKit's source policy)."""


class Programs(Struct, frozen=True):
    """Where the programs are. `runtime` runs the steps: runsc, or runc where the operator wants no isolation."""

    buildkitd: str
    buildctl: str
    runtime: str
    plugins: str
    isolated: bool


def config(folder: Path, address: str, plugins: str, nameservers: Sequence[str], cgroup: str = "") -> str:
    """The daemon's configuration (TOML). Strings are written as JSON, which TOML reads alike.

    `cgroup` is in which a runtime makes those of steps; runsc makes none, its steps stay in the daemon's.
    """
    quoted = {name: json.dumps(str(folder / name)) for name in ("root", "worker", "cni.conflist")}
    mirrors = [f'[registry."{host}"]\nmirrors = ["127.0.0.1:{mirror.PORT}"]' for host in MIRRORED]
    return "\n".join(
        [
            f"root = {quoted['root']}",
            "[grpc]",
            f"address = [{json.dumps(address)}]",
            "[dns]",
            f"nameservers = {json.dumps(list(nameservers))}",
            "[worker.containerd]",
            "enabled = false",
            "[worker.oci]",
            "enabled = true",
            f"binary = {quoted['worker']}",
            'networkMode = "cni"',
            f"cniConfigPath = {quoted['cni.conflist']}",
            f"cniBinaryPath = {json.dumps(plugins)}",
            f"defaultCgroupParent = {json.dumps(cgroup)}",
            "gc = true",
            f'maxUsedSpace = "{limits.BUILD_CACHE_MB}MB"',
            *mirrors,
            f'[registry."127.0.0.1:{mirror.PORT}"]',
            "http = true",
            "",
        ]
    )


def conflist(data: Path) -> str:
    """How a step gets its network: a bridge in the builder's own namespace (CNI 1.0.0)."""
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(data),
            "ranges": [[{"subnet": STEPS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": "ah-build", "plugins": [bridge]})


def worker(runtime: str, root: Path, isolated: bool) -> str:
    """The runtime as BuildKit calls it. runsc knows no `--keep`, forgets a step's files with an overlay of its own, and
    deletes what still runs only when it has to."""
    if not isolated:
        return f'#!/bin/sh\nexec {shlex.quote(runtime)} "$@"\n'
    flags = shlex.join([f"--root={root}", "--overlay2=none", "--network=sandbox", "--ignore-cgroups"])
    return f"""#!/bin/sh
for argument do
  shift
  case "$argument" in
    --keep) ;;
    delete) set -- "$@" delete --force ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {shlex.quote(runtime)} {flags} "$@"
"""


class Daemon:
    """See the module. `folder` is the tenant's, and is all that there is of it on the disk."""

    def __init__(
        self, tenant_id: str, folder: Path, installation: str, programs: Programs, mirror_: Mirror, bounds: Bounds
    ) -> None:
        self._folder = folder
        self._programs = programs
        self._mirror = mirror_
        self._mark = f"{MARK}={folder}"
        self._network = Network(f"{HOST_SIDE}{tenant_id[-12:]}", folder)
        self._bounds = bounds
        self._cgroup = Cgroup(f"{installation}/{tenant_id}", bounds.memory_mb, bounds.cpu_milli)
        self._socket = SOCKETS / tenant_id
        self._site: web.SockSite | None = None
        self._pid = 0
        self._turn = asyncio.Lock()
        self._spare: Rooms | None = None

    @property
    def address(self) -> str:
        """Where buildctl finds it."""
        return f"unix://{self._socket}"

    @property
    def buildctl(self) -> str:
        """The client that speaks to it."""
        return self._programs.buildctl

    @property
    def policy(self) -> Path:
        """What a build may fetch, as buildctl is told it."""
        return self._folder / "policy.json"

    @property
    def cache(self) -> Path:
        """What it keeps."""
        return self._folder / "root"

    @property
    def cgroup(self) -> Cgroup:
        """What it and its builds run in."""
        return self._cgroup

    @property
    def enter(self) -> str:
        """A program that runs, in the cgroup, what it is given."""
        return str(self._folder / "enter")

    @property
    def namespace(self) -> str:
        """The name of its network namespace."""
        return self._network.name

    def lend(self, layout: Path) -> None:
        """Puts all blobs that it has into a layout that it is to write, as further names of the same files. Blocks.

        It sends none that are there, and most of an image is its base. A blob never changes; it goes with its last name.
        """
        lent = layout / "blobs" / "sha256"
        lent.mkdir(parents=True)
        for blob in self.cache.glob(BLOBS):
            if blob.is_file() and not blob.is_symlink():
                with suppress(OSError):  # what cannot be lent is sent
                    (lent / blob.name).hardlink_to(blob)

    async def prepare(self) -> None:
        """Has cgroup and network there, for what runs before a build does. Raises Unavailable."""
        async with self._turn:
            await self._prepare()

    async def start(self) -> None:
        """Has it run and answer. What runs in cgroup and network since `prepare` goes on. Raises Unavailable."""
        async with self._turn:
            await self._prepare()
            if not self._pid:
                await self._attempt(self._run)

    @property
    def has_spare(self) -> bool:
        """Whether rooms wait in it."""
        return self._spare is not None

    async def expect(self, rooms_of: Callable[[], Rooms]) -> None:
        """Has rooms wait for the next build, where none do; nothing happens where cgroup and network are not there."""
        async with self._turn:
            if self._site is not None and self._spare is None:
                self._spare = rooms_of()

    async def spare(self, needs: Needs) -> Rooms | None:
        """What waits, where it is of this kind; it is the caller's from now on."""
        rooms, self._spare = self._spare, None
        if rooms and not (rooms.needs == needs and rooms.are_fit):
            await rooms.close()
            return None
        return rooms

    async def stop(self) -> None:
        """Ends it with everything that it runs; its cache stays."""
        async with self._turn:
            await self._end()

    async def remove(self) -> None:
        """Ends it, and its cache goes."""
        await self.stop()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _prepare(self) -> None:
        if self._site is not None and not (self._pid and processes.has_ended(self._pid)):
            return
        await self._end()
        await self._attempt(self._begin)

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except asyncio.CancelledError:  # half started it would be taken for one that answers
            await asyncio.shield(self._end())
            raise
        except OSError as error:
            await self._end()
            raise Unavailable("builder_unavailable", f"the builder could not be started: {error}") from error

    async def _begin(self) -> None:
        for folder in (self._folder, SOCKETS):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write()
        await self._network.ensure()
        self._cgroup.make()
        self._site = await self._mirror.serve(await asyncio.to_thread(mirror.listen_in, self._network.name))

    async def _run(self) -> None:
        way = [self.enter, *entering(self._network.name), "env", f"PATH={self._folder / 'programs'}"]
        argv = [*way, self._programs.buildkitd]
        name, _, value = self._mark.partition("=")
        env = {**_ENVIRON, name: value}
        self._pid = processes.start_logged(
            [*argv, "--config", str(self._folder / "buildkitd.toml")], env, self._folder, self._folder / "buildkitd.log"
        )
        await self._until_it_answers()

    def _write(self) -> None:
        """Its configuration, and what that names."""
        cgroup = "" if self._programs.isolated else self._cgroup.path
        files = {
            "buildkitd.toml": config(
                self._folder, self.address, self._programs.plugins, self._bounds.nameservers, cgroup
            ),
            "policy.json": json.dumps(_POLICY),
            "cni.conflist": conflist(self._folder / "addresses"),
            "worker": worker(self._programs.runtime, self._folder / "runsc", self._programs.isolated),
            "enter": self._cgroup.entering(),
        }
        for name, text in files.items():
            (self._folder / name).write_text(text)
        for program in ("worker", "enter"):
            (self._folder / program).chmod(0o700)
        programs = self._folder / "programs"
        programs.mkdir(exist_ok=True)
        for name in FOUND:
            (programs / name).unlink(missing_ok=True)
            if there := shutil.which(name, path=_ENVIRON["PATH"]):
                (programs / name).symlink_to(there)

    async def _until_it_answers(self) -> None:
        argv = [self._programs.buildctl, "--addr", self.address, "debug", "workers"]
        try:
            async with asyncio.timeout(limits.BUILDER_START_S):
                while True:
                    if self._socket.exists() and (await processes.run(argv, limits.BUILDER_START_S)).code == 0:
                        return
                    if processes.has_ended(self._pid):
                        raise OSError(f"buildkitd ended at once: {_last_words(self._folder / 'buildkitd.log')}")
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise OSError(f"buildkitd does not answer within {limits.BUILDER_START_S} s") from error

    async def _end(self) -> None:
        """What an earlier server left is ended too: it has the same cgroup, namespace and mark."""
        if self._spare:
            await self._spare.close()
            self._spare = None
        if self._pid:
            processes.kill_group(self._pid, signal.SIGKILL)
        await asyncio.to_thread(self._cgroup.kill)
        await asyncio.to_thread(processes.kill_marked, self._mark)
        if self._pid:
            processes.reap(self._pid)
            self._pid = 0
        self._cgroup.remove()
        if self._site is not None:
            await self._site.stop()
            self._site = None
        await self._network.remove()
        self._socket.unlink(missing_ok=True)
        for stale in ("runsc", "addresses"):
            await asyncio.to_thread(shutil.rmtree, self._folder / stale, ignore_errors=True)


def _last_words(log: Path) -> str:
    """Why it ended: where it crashed the reason comes before all its traces, else at the end."""
    lines: Sequence[str] = log.read_text(errors="replace").splitlines() if log.exists() else ["it said nothing"]
    crashed = (line for line in lines if line.startswith(("panic:", "fatal error:", "runtime:")))
    return next(crashed, lines[-1] if lines else "it said nothing")[:400]
