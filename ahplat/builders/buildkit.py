"""The builder of the Docker engine: Nixpacks or the repository's Dockerfile says how, a BuildKit of the tenant's own does it.

Nixpacks only plans: it reads the source and writes a Dockerfile. What is the tenant's runs in the steps of the build, and
so in `buildkitd.py`'s daemon, inside gVisor; so do git and nixpacks, which read it, each in a sandbox (`sandbox.py`). The
image comes back as an OCI layout, and we push it.
"""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ahplat import limits
from ahplat.builders import uploads
from ahplat.builders.build_logs import BuildLog
from ahplat.builders.builder import Bounds, BuilderStatus, Job
from ahplat.builders.buildkitd import PLUGINS, Daemon, Programs
from ahplat.builders.mirror import Mirror
from ahplat.builders.network import entering
from ahplat.builders.registry import Layout, Registry
from ahplat.builders.rooms import Needs, Rooms, has_memory_for_spares
from ahplat.builders.sandbox import Confinement, Room, room
from ahplat.builders.workplace import Said, Workplace, left_in, remove, size_of
from ahplat.errors import Rejected, Unavailable
from ahplat.sources import is_address

NEEDED = ("git", "nixpacks", "buildkitd", "buildctl", "ip", "iptables", "nsenter", "unshare")
_SAID_BYTES = 256 * 1024
_ERRORS = ("error:", "nixpacks was unable")  # how BuildKit and Nixpacks begin the line that says why
_FAILED = ("clone_failed", "plan_failed", "build_failed")


class BuildKitBuilder:
    """See the module."""

    kinds = frozenset({"nixpacks", "dockerfile"})

    def __init__(self, data_dir: Path, installation: str, registry: Registry, isolated: bool, bounds: Bounds) -> None:
        self._builds = data_dir.absolute() / "builds"
        self._daemons_folder = data_dir.absolute() / "buildkit"
        self._installation = installation
        self._address = registry.address
        self._registry = registry
        self._mirror = Mirror(registry.address)
        self._isolated = isolated
        self._bounds = bounds
        self._daemons: dict[str, Daemon] = {}
        self._idle: dict[str, asyncio.TimerHandle] = {}
        self._begun: set[str] = set()  # builds that this process has begun: nothing of another's runs of them
        self._rooms: dict[str, Rooms] = {}  # by build, while it fetches and plans
        self._doing: set[asyncio.Task[None]] = set()

    async def status(self) -> BuilderStatus:
        missing = self._missing()
        detail = f"not on the PATH: {', '.join(missing)}" if missing else ""
        if not self._isolated and not missing:
            detail = "steps of builds are not isolated: --build-isolation none"
        return BuilderStatus("buildkit", available=not missing, isolated=self._isolated, detail=detail)

    def _missing(self) -> list[str]:
        runtime = "runsc" if self._isolated else "runc"
        missing = [name for name in (*NEEDED, runtime) if shutil.which(name) is None]
        if self._isolated and not Path(shutil.which("git") or "/usr").resolve().is_relative_to("/usr"):
            missing.append("git below /usr, which is what its sandbox shows")
        return missing if self._plugins() else [*missing, "the CNI plugins"]

    def _plugins(self) -> str:
        return next((folder for folder in PLUGINS if Path(folder, "bridge").exists()), "")

    def image_name(self, tenant_id: str, service_id: str, build_id: str) -> str:
        return f"{self._address}/{_repository(tenant_id, service_id)}:{build_id}"

    async def clone(self, job: Job, log: BuildLog) -> str:
        place = await self._begin(job, log)
        async with self._awake(job.tenant_id) as daemon:
            with self._within_memory(daemon):
                return await self._source(place, job, log, daemon)

    async def plan(self, job: Job, log: BuildLog) -> str:
        place = await self._begin(job, log)
        async with self._awake(job.tenant_id) as daemon:
            warming = asyncio.ensure_future(daemon.start())  # it is needed next
            try:
                with self._within_memory(daemon):
                    dockerfile = await self._dockerfile(place, job, log, daemon)
                await warming
            except (Rejected, Unavailable):
                await warming  # where it failed it ended what runs beside it: then that is why
                raise
            finally:
                warming.cancel()
                await asyncio.gather(warming, return_exceptions=True)
        return hashlib.sha256(dockerfile.read_bytes()).hexdigest()

    async def build(self, job: Job, log: BuildLog) -> str:
        place = await self._begin(job, log)
        return (await self._layout(place, job, log)).manifest().digest

    async def push(self, job: Job, log: BuildLog) -> str:
        place = await self._begin(job, log)
        layout = await self._layout(place, job, log)
        digest = await self._registry.push(layout, _repository(job.tenant_id, job.service_id), job.build_id)
        log.say(f"pushed {job.image} {digest}")
        if not uploads.is_upload(job):  # git has no part in its next one either
            asyncio.get_running_loop().call_later(limits.SPARE_ROOMS_AFTER_S, self._expect_another, job)
        return digest

    async def discard(self, build_id: str) -> None:
        self._begun.discard(build_id)
        await self._leave(build_id)
        await Workplace(self._builds, build_id).discard()

    async def sweep(self, keep: Sequence[str], is_gone: Callable[[str], bool]) -> None:
        """Also ends the daemons of an earlier server: what they were at is done again."""
        await self._registry.blobs.end()
        for folder in sorted(self._daemons_folder.iterdir()) if self._daemons_folder.exists() else []:
            if not self._missing():
                await self._daemon(folder.name).stop()
            if is_gone(folder.name):
                await asyncio.to_thread(remove, folder)
        for build_id in left_in(self._builds, keep):
            await self.discard(build_id)

    async def forget(self, tenant_id: str, service_id: str) -> None:
        await self._registry.forget(_repository(tenant_id, service_id))

    async def drop(self, pinned: str) -> None:
        name, _, digest = pinned.partition("@")
        if name.startswith(f"{self._address}/ah/"):
            await self._registry.drop(name.removeprefix(f"{self._address}/"), digest)

    async def wasted(self) -> int:
        return await self._registry.blobs.wasted()

    async def free(self) -> int:
        return await self._registry.blobs.free()

    async def forget_tenant(self, tenant_id: str) -> None:
        if (self._daemons_folder / tenant_id).exists():
            await self._daemon(tenant_id).remove()
        self._daemons.pop(tenant_id, None)

    async def close(self) -> None:
        for timer in self._idle.values():
            timer.cancel()
        for build_id in list(self._rooms):
            await self._leave(build_id)
        await asyncio.gather(*self._doing, return_exceptions=True)
        for daemon in self._daemons.values():
            await daemon.stop()
        await self._mirror.close()

    # how it is built

    async def _begin(self, job: Job, log: BuildLog) -> Workplace:
        nixpacks = shutil.which("nixpacks")
        place = Workplace(self._builds, job.build_id, [Path(nixpacks).parent] if nixpacks else [])
        await place.begin(is_first=job.build_id not in self._begun)
        self._begun.add(job.build_id)
        log.hide(str(place.folder))
        return place

    async def _source(self, place: Workplace, job: Job, log: BuildLog, daemon: Daemon) -> str:
        """Has the source there, as it was left or fetched again; its commit. The room to plan in is on its way then."""
        try:
            return await uploads.fetch(place, job, log, partial(self._fetching, job, daemon))
        except BaseException:
            await asyncio.shield(self._leave(job.build_id))
            raise

    @asynccontextmanager
    async def _fetching(self, job: Job, daemon: Daemon, place: Workplace, folder: Path) -> AsyncIterator[Room]:
        await self._leave(job.build_id)
        needs = self._needs(job, daemon)
        rooms = self._rooms[job.build_id] = await daemon.spare(needs) or Rooms(self._builds, needs)
        async with rooms.fetching(place, folder) as inside:
            yield inside

    async def _leave(self, build_id: str) -> None:
        """Ends the rooms of a build."""
        if rooms := self._rooms.pop(build_id, None):
            await rooms.close()

    async def _dockerfile(self, place: Workplace, job: Job, log: BuildLog, daemon: Daemon) -> Path:
        """The Dockerfile to follow."""
        try:
            await self._source(place, job, log, daemon)
            return await self._planned(place, job, log, daemon)
        finally:
            await asyncio.shield(self._leave(job.build_id))

    async def _planned(self, place: Workplace, job: Job, log: BuildLog, daemon: Daemon) -> Path:
        if job.builder == "dockerfile":
            own = place.source / "Dockerfile"
            if not own.is_file():
                raise Rejected("dockerfile_missing", "the repository has no Dockerfile at its root")
            return own
        planned = place.source / ".nixpacks" / "Dockerfile"
        done = place.folder / "planned"
        if not done.exists():
            await self._plan_with_nixpacks(place, job, log, daemon)
            done.touch()
        return planned

    async def _plan_with_nixpacks(self, place: Workplace, job: Job, log: BuildLog, daemon: Daemon) -> None:
        """Has it write `.nixpacks` into the source, which is what its Dockerfile copies from; one that came is no use."""
        plan = place.source / ".nixpacks"
        if plan.is_symlink() or plan.is_file():
            plan.unlink()
        await asyncio.to_thread(shutil.rmtree, plan, ignore_errors=True)
        said = Said(_SAID_BYTES, log)
        rooms = self._rooms.get(job.build_id)
        made = partial(room, file_bytes=limits.PLAN_FILE_BYTES, how=self._confinement(daemon))
        async with (rooms.planning if rooms else made)(place, place.source) as inside:
            argv = ["nixpacks", "build", str(inside.root), "--name", "app", "--out", str(inside.root)]
            code = await inside.run(argv, said.hear, min(limits.PLAN_S, job.left_s))
        if code != 0 or not _is_plain(plan / "Dockerfile"):
            raise Rejected("plan_failed", f"nixpacks knows no way to build this: {cause(said.text)}")

    async def _layout(self, place: Workplace, job: Job, log: BuildLog) -> Layout:
        """The image as an OCI layout: as it was left, or made (again, from the cache where it can)."""
        made = place.folder / "layout"
        if not made.exists():
            half = place.folder / "building"
            await asyncio.to_thread(shutil.rmtree, half, ignore_errors=True)
            async with self._at_work(job.tenant_id) as daemon:
                dockerfile = await self._dockerfile(place, job, log, daemon)
                await asyncio.to_thread(daemon.lend, half)
                await self._solve(place, job, log, daemon, dockerfile, half)
            half.rename(made)
        return Layout(made)

    async def _solve(
        self, place: Workplace, job: Job, log: BuildLog, daemon: Daemon, dockerfile: Path, into: Path
    ) -> None:
        argv = build_argv(daemon.buildctl, daemon.address, daemon.policy, place.source, dockerfile.parent, into)
        said = Said(_SAID_BYTES, log)
        watching = asyncio.ensure_future(_too_large(daemon.cache))
        solving = asyncio.ensure_future(place.run(argv, said.hear, job.left_s))
        try:
            await asyncio.wait({watching, solving}, return_when=asyncio.FIRST_COMPLETED)
            if not solving.done():
                watching.result()
            code = await solving
        finally:
            for one in (watching, solving):
                one.cancel()
            await asyncio.gather(watching, solving, return_exceptions=True)
        if code != 0:
            raise Rejected("build_failed", cause(said.text))

    # the tenant's daemon

    def _daemon(self, tenant_id: str) -> Daemon:
        if tenant_id not in self._daemons:
            runtime = shutil.which("runsc" if self._isolated else "runc")
            buildkitd, buildctl = shutil.which("buildkitd"), shutil.which("buildctl")
            if not (runtime and buildkitd and buildctl):
                raise Unavailable("builds_unavailable", f"not on the PATH: {', '.join(self._missing())}")
            programs = Programs(buildkitd, buildctl, runtime, self._plugins(), self._isolated)
            folder = self._daemons_folder / tenant_id
            self._daemons[tenant_id] = Daemon(
                tenant_id, folder, self._installation[:12], programs, self._mirror, self._bounds
            )
        return self._daemons[tenant_id]

    @asynccontextmanager
    async def _awake(self, tenant_id: str) -> AsyncIterator[Daemon]:
        """The tenant's daemon, with its cgroup and network there, which do not go before the block ends."""
        daemon = self._daemon(tenant_id)
        if timer := self._idle.pop(tenant_id, None):
            timer.cancel()
        try:
            await daemon.prepare()
            yield daemon
        finally:
            self._rest(tenant_id)

    @asynccontextmanager
    async def _at_work(self, tenant_id: str) -> AsyncIterator[Daemon]:
        """The tenant's daemon; what does not end well may have left something running in it, so it is ended."""
        async with self._awake(tenant_id) as daemon:
            try:
                with self._within_memory(daemon):
                    await daemon.start()
                    yield daemon
            except Rejected as rejected:
                if rejected.code != "build_failed":
                    await daemon.stop()
                raise
            except BaseException:
                await asyncio.shield(daemon.stop())
                raise

    @contextmanager
    def _within_memory(self, daemon: Daemon) -> Iterator[None]:
        """Says of what fails because the kernel ended something for want of memory that this is why."""
        before = daemon.cgroup.memory_kills()
        try:
            yield
        except Rejected as rejected:
            if rejected.code in _FAILED and daemon.cgroup.memory_kills() > before:
                text = f"the build took more than {self._bounds.memory_mb} MB of memory"
                raise Rejected("out_of_memory", text) from rejected
            raise

    def _needs(self, job: Job, daemon: Daemon) -> Needs:
        planning = self._confinement(daemon) if job.builder == "nixpacks" else None
        return self._confinement(daemon, job.url), planning

    def _expect_another(self, job: Job) -> None:
        """Has rooms wait for the tenant's next build, if that has not begun; it will probably be like this one."""
        daemon = self._daemons.get(job.tenant_id)
        spares = sum(one.has_spare for one in self._daemons.values())
        is_wanted = self._isolated and job.tenant_id in self._idle and spares < limits.SPARE_ROOMS
        if daemon and is_wanted and has_memory_for_spares():
            self._later(daemon.expect(partial(Rooms, self._builds, self._needs(job, daemon))))

    def _later(self, what: Coroutine[Any, Any, None]) -> None:
        doing = asyncio.ensure_future(what)
        self._doing.add(doing)
        doing.add_done_callback(self._doing.discard)

    def _confinement(self, daemon: Daemon, url: str = "") -> Confinement:
        """What holds in a program of the tenant's build: one that fetches `url`, or one without a network."""
        if not url:
            way = ["unshare", "--mount", "--net"]
        elif is_address(url):
            way = ["unshare", "--mount"]
        else:
            way = entering(daemon.namespace)
        runtime = shutil.which("runsc") or "" if self._isolated else ""
        nixpacks = shutil.which("nixpacks")
        shown = (nixpacks,) if nixpacks else ()
        return Confinement((daemon.enter, *way), runtime, bool(url), self._bounds.nameservers, shown)

    def _rest(self, tenant_id: str) -> None:
        """It ends if nobody needs it for a while."""

        def end() -> None:
            self._later(self._daemon(tenant_id).stop())

        if timer := self._idle.pop(tenant_id, None):
            timer.cancel()
        self._idle[tenant_id] = asyncio.get_running_loop().call_later(limits.BUILDER_IDLE_S, end)


def build_argv(buildctl: str, address: str, policy: Path, context: Path, dockerfile: Path, into: Path) -> list[str]:
    """The build as BuildKit's client is asked for it. No secret, no argument and no entitlement goes in.

    >>> build_argv("buildctl", "unix:///s", Path("/p"), Path("/c"), Path("/d"), Path("/o"))[-2:]
    ['--output', 'type=oci,dest=/o,tar=false']
    """
    return [
        *(buildctl, "--addr", address, "build", "--progress=plain", "--frontend", "dockerfile.v0"),
        *("--local", f"context={context}", "--local", f"dockerfile={dockerfile}", "--opt", "filename=Dockerfile"),
        f"--source-policy-file={policy}",
        *("--output", f"type=oci,dest={into},tar=false"),
    ]


async def _too_large(cache: Path) -> None:
    """Raises Rejected once the build has taken more of the disk than it may; else does not return.

    The disk's free space is cheap to ask; only where that fell is the cache measured. What it has before is measured
    once the build is not over at the first look: that costs 80 ms of this process, which a short build would wait for.
    """
    free = shutil.disk_usage(cache).free
    await asyncio.sleep(limits.BUILD_DISK_POLL_S)
    before = (await asyncio.to_thread(size_of, cache))[0]
    while True:
        await asyncio.sleep(limits.BUILD_DISK_POLL_S)
        if free - shutil.disk_usage(cache).free < limits.BUILD_DISK_BYTES:
            continue
        if (await asyncio.to_thread(size_of, cache))[0] - before >= limits.BUILD_DISK_BYTES:
            raise Rejected("build_too_large", f"the build wrote more than {limits.BUILD_DISK_BYTES} bytes")


def _is_plain(path: Path) -> bool:
    """Whether it is a file, and no link to one elsewhere."""
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def _repository(tenant_id: str, service_id: str) -> str:
    return f"ah/{tenant_id}-{service_id}"


def cause(said: str) -> str:
    """The line that says why a program failed: the last that calls itself an error, else the last of all.

    >>> cause("Error: no provider\\n\\nCaused by:\\n  2: No such file"), cause("#5 1\\nerror: exit code: 7\\n"), cause("")
    ('Error: no provider', 'error: exit code: 7', 'it said nothing')
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    return next((line for line in reversed(lines) if line.lower().startswith(_ERRORS)), last)[:400]
