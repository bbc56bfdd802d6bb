"""The engine without containers: services are child processes of this machine, with no isolation at all; `--dev` only.

Each instance is led by a shim (`shim.py`) in a folder (`run_folder.py`); images are folders (`folder_image.py`). The
engine keeps nothing of its own in memory but what it watches: a server that comes back reads the folders and goes on.
Invariant: what runs is told from lock, pid and start time together, and nothing else is ever signalled or adopted.

What differs from containers: memory, CPU and network limits are not enforced (RLIMIT_AS would count what is only
reserved), `egress` is always there, and each instance listens on a free loopback port of our choice: `PORT` says which,
and a tenant's own `PORT` is overruled. The environment is the tenant's, PATH, HOME and LANG, nothing of the server's.
"""

import asyncio
import contextlib
import os
import platform
import re
import secrets
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from ahplat import limits, processes
from ahplat.engines import (
    descriptors,
    folder_image,
    loopback_ports,
    process_exec,
    program_image,
    run_logs,
    volume_folders,
)
from ahplat.engines.changes import Changes
from ahplat.engines.engine import (
    Belonging,
    Bunch,
    Counters,
    EngineStatus,
    Execution,
    Image,
    Instance,
    Network,
    RouterSeen,
    Spec,
    Volume,
)
from ahplat.engines.run_folder import Record, RunFolder, Started
from ahplat.errors import EngineAway, Rejected

SHIM = Path(__file__).with_name("shim.py")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Program = tuple[Sequence[str], Path]  # its argv, and the folder that it is executed in


class EmbeddedEngine:
    """See the module. Used from one event loop."""

    name = "embedded"
    grants_egress = True  # nothing is isolated, so nothing has to be granted
    mounts_volumes = False  # all instances see one file system

    def __init__(self, installation: str, data_dir: Path) -> None:
        self._installation = installation
        self._images = data_dir.absolute() / "images"
        self._run = data_dir.absolute() / "run"
        self._volumes = data_dir.absolute() / "volumes"
        self._run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._watched: dict[Started, int] = {}  # shim → pidfd that the loop listens to
        self._changes: set[Changes] = set()
        for half in (*self._run.glob(".new-*"), *self._run.glob(".gone-*")):  # made or removed when the server died
            shutil.rmtree(half, ignore_errors=True)

    async def status(self) -> EngineStatus:
        detail = "services run as processes of this machine, without isolation"
        return EngineStatus(self.name, available=True, isolated=False, version=platform.python_version(), detail=detail)

    async def fetch(self, reference: str, cancelled: Callable[[], bool]) -> Image:
        if program_image.name_of(reference):
            return await asyncio.to_thread(program_image.fetch, reference, PATH)
        return await asyncio.to_thread(folder_image.fetch, self._images, reference, cancelled)

    async def image_sizes(self, pinned: Sequence[str]) -> dict[str, int]:
        return {}  # its images are folders, which go with their service

    async def remove_image(self, pinned: str, names: Sequence[str]) -> bool:
        return False

    async def ensure_network(self, network: Network) -> None:
        """There are no networks here."""

    async def remove_network(self, network: Network) -> None:
        """Nor is there one to remove."""

    async def join_router(self, networks: Sequence[Network]) -> RouterSeen:
        return RouterSeen()  # nor is a router a container

    async def guard(self) -> list[str]:
        return []  # nothing protects the host here

    async def ensure_volume(self, volume: Volume) -> None:
        await asyncio.to_thread(volume_folders.ensure, self._volumes, volume)

    async def remove_volume(self, volume: Volume) -> None:
        await asyncio.to_thread(volume_folders.remove, self._volumes, volume)

    async def volume_bytes(self) -> dict[str, int]:
        return await asyncio.to_thread(volume_folders.measured, self._volumes, self._installation)

    async def belongings(self) -> list[Belonging]:
        here = [Belonging("container", one.name, one.identity.tenant, one.identity.subject) for one in self._seen()]
        return here + volume_folders.listed(self._volumes, self._installation)

    async def find_or_start(self, spec: Spec, image: Image) -> Instance:
        if not NAME.fullmatch(spec.name):
            raise Rejected("name_invalid", f"expected a name like ah-shop-web-1-1, found {spec.name!r}")
        try:
            async with self._turn(spec.name):
                return self._adoptable(spec) or await self._start(spec, image)
        except OSError as error:
            raise EngineAway(f"{spec.name} could not be started: {error}") from error

    async def list_databases(self, database: str | None = None) -> list[Instance]:
        return [one for one in self._seen() if one.identity.database and database in (None, one.identity.database)]

    async def list(self, service: str | None = None) -> list[Instance]:
        return [one for one in self._seen() if one.identity.service and service in (None, one.identity.service)]

    async def inspect(self, instance_id: str) -> Instance | None:
        folder = self._find(instance_id)
        return None if folder is None else self._look(folder)

    async def counters(self, instance_ids: Sequence[str]) -> dict[str, Counters]:
        shims = {one: folder.started() for one in instance_ids if (folder := self._find(one)) and folder.runs()}
        used = await asyncio.to_thread(processes.used_by, [started.pid for started in shims.values() if started])
        return {one: Counters(*used[started.pid]) for one, started in shims.items() if started and started.pid in used}

    async def stop(self, instance_id: str, grace_s: int) -> None:
        folder = self._find(instance_id)
        if folder is not None:
            await self._end(folder, grace_s)

    async def remove(self, instance_id: str) -> None:
        async with self._turn(_name_of(instance_id)):
            folder = self._find(instance_id)
            if folder is not None:
                await self._erase(folder)

    async def tail(self, instance_id: str, lines: int) -> str:
        folder = self._find(instance_id)
        return "" if folder is None else folder.tail(lines)

    async def logs(
        self, instance_id: str, tail: int | None = None, since_ns: int = 0, follow: bool = False
    ) -> AsyncGenerator[Bunch, None]:
        folder = self._find(instance_id)
        if folder is not None:
            lives = lambda: follow and self._find(instance_id) is not None and folder.runs()  # noqa: E731
            async for bunch in run_logs.read(folder.path, tail, since_ns, lives):
                yield bunch

    async def execute(self, instance_id: str, argv: Sequence[str], mark: str, timeout_s: float) -> Execution:
        return await process_exec.run(argv, self._surroundings(instance_id), mark, timeout_s)

    async def pipe(
        self, instance_id: str, argv: Sequence[str], mark: str, stdin: AsyncIterator[bytes] | None = None
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(process_exec.pipe(argv, self._surroundings(instance_id), mark, stdin)) as pieces:
            async for piece in pieces:
                yield piece

    def _surroundings(self, instance_id: str) -> process_exec.Surroundings:
        folder = self._find(instance_id)
        running = None if folder is None else process_exec.surroundings(folder, self._images)
        if running is None:
            raise Rejected("not_running", "the instance does not run")
        return running

    async def end_execution(self, instance_id: str, mark: str) -> None:
        if self._find(instance_id) is not None:
            await process_exec.end(mark)

    async def watch(self) -> AsyncIterator[str]:
        """See `Engine`. Hints at ends and removals; raises EngineAway when the engine is closed."""
        changes = Changes()
        self._changes.add(changes)
        try:
            await self.list()  # so that what others started is listened to as well
            while True:
                yield await changes.take()
        finally:
            self._changes.discard(changes)

    async def close(self) -> None:
        for started in [*self._watched]:
            self._unwatch(started)
        for changes in self._changes:
            changes.end("the engine was closed")

    # ── folders ──

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    def _folders(self) -> Iterator[RunFolder]:
        names = sorted(path.name for path in self._run.iterdir() if NAME.fullmatch(path.name))
        return (RunFolder(self._run / name) for name in names)

    def _seen(self) -> Iterator[Instance]:
        return (one for folder in self._folders() if (one := self._look(folder)) is not None)

    def _find(self, instance_id: str) -> RunFolder | None:
        """The folder of that very incarnation; None where it is gone, replaced or not ours."""
        name = _name_of(instance_id)
        if not NAME.fullmatch(name):
            return None
        folder = RunFolder(self._run / name)
        record = folder.record()
        return folder if record is not None and record.id == instance_id and self._is_ours(folder) else None

    def _is_ours(self, folder: RunFolder) -> bool:
        identity = folder.identity()
        return identity is not None and identity.instance == self._installation

    def _look(self, folder: RunFolder) -> Instance | None:
        """What it is now, None when it is not ours. From now on its end is listened for."""
        instance = folder.instance() if self._is_ours(folder) else None
        started = folder.started()
        if instance is not None and started is not None and instance.state == "running":
            self._watch(folder, started, instance.identity.subject)
        return instance

    def _adoptable(self, spec: Spec) -> Instance | None:
        """What runs already and is just what `spec` asks for."""
        seen = self._look(RunFolder(self._run / spec.name))
        return seen if seen is not None and seen.state == "running" and seen.identity.same_as(spec.identity) else None

    async def _folder_for(self, spec: Spec, image: Image) -> RunFolder:
        """The folder that has this identity: the one that is there, or a new one in place of another of ours."""
        folder = RunFolder(self._run / spec.name)
        if folder.path.exists():
            found = folder.identity()
            if found is None or found.instance != self._installation:
                raise Rejected("name_taken", f"{folder.path} is not of this installation and is left alone")
            if found.same_as(spec.identity):
                return folder
            await self._erase(folder)
        record = Record(f"{spec.name}.{secrets.token_hex(6)}", spec.identity.labels(), image.pinned, port=0)
        return RunFolder.create(folder.path, record)

    async def _erase(self, folder: RunFolder) -> None:
        """Ends it by force, then renames it aside, so that a crash in the middle leaves no half an instance."""
        identity = folder.identity()
        await self._end(folder, grace_s=0)
        lock = await self._lock(folder)
        if lock is None:
            raise EngineAway(f"{folder.path.name}: expected to end it by force, its lock is still held")
        gone = folder.path.with_name(f".gone-{secrets.token_hex(6)}")
        folder.path.rename(gone)
        os.close(lock)
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
        if identity is not None:
            self._tell(identity.subject)

    # ── starting and ending ──

    async def _start(self, spec: Spec, image: Image) -> Instance:
        """Puts it in its place and starts it; nothing is replaced by what could not be started anyway."""
        program = self._program(spec, image)
        folder = await self._folder_for(spec, image)
        await self._lead(folder, spec, image, program)
        seen = self._look(folder)
        if seen is None or seen.state == "created":
            raise EngineAway(f"{spec.name}: expected it to run or to have ended, found {seen and seen.state}")
        return seen

    def _program(self, spec: Spec, image: Image) -> Program:
        """What is executed where: a database's server in its volume, anything else in its image."""
        if spec.identity.database and program_image.name_of(image.pinned):
            return program_image.command(image.pinned), self._volumes / spec.mounts[0].volume
        folder = folder_image.locate(self._images, image.pinned)
        return folder_image.command(folder, spec.port), folder

    async def _lead(self, folder: RunFolder, spec: Spec, image: Image, program: Program) -> None:
        """Starts the shim and waits until the program runs, or could not be executed. Somebody else's start will do."""
        lock = await self._lock(folder)
        if lock is None:
            return
        try:
            pid, ready = self._launch(folder, spec, image, program, lock)
        finally:
            os.close(lock)  # the shim has its own hold of it
        try:
            self._watch(folder, Started(pid, processes.started_at(pid) or 0), spec.identity.subject)
            if not await descriptors.readable(ready, limits.EMBEDDED_START_S):
                processes.kill_child(pid)
                raise EngineAway(f"{spec.name}: its shim was not ready within {limits.EMBEDDED_START_S} s")
        finally:
            os.close(ready)

    def _launch(self, folder: RunFolder, spec: Spec, image: Image, program: Program, lock: int) -> tuple[int, int]:
        """Starts the shim; its pid, and a pipe that closes when it is ready."""
        record = folder.record()
        if record is None:
            raise EngineAway(f"{spec.name}: expected instance.json in {folder.path}, found none")
        given = {other.port for one in self._folders() if (other := one.record()) is not None}
        port = loopback_ports.choose(record.port, given) if spec.port else 0
        folder.begin(msgspec.structs.replace(record, image=image.pinned, port=port))
        ready, tell_ready = os.pipe()
        launch = {
            "argv": program[0],
            "env": folder.environment(record.id, port, spec.env, PATH),
            "cwd": str(program[1]),
            "lock_fd": lock,
            "ready_fd": tell_ready,
            "log_bytes": limits.EMBEDDED_LOG_BYTES,
            "log_files": limits.EMBEDDED_LOG_FILES,
            "open_files": limits.CONTAINER_FILES,
        }
        command = [sys.executable, "-I", "-S", str(SHIM), str(folder.path)]
        try:
            with descriptors.in_memory(msgspec.json.encode(launch)) as stdin:
                pid = processes.start_detached(command, {}, folder.path, stdin, pass_fds=(lock, tell_ready))
        except OSError:
            os.close(ready)
            raise
        finally:
            os.close(tell_ready)
        return pid, ready

    async def _lock(self, folder: RunFolder) -> int | None:
        """The lock, once whoever starts or ends has let go of it; None when it runs by then, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.EMBEDDED_START_S):
                while (lock := folder.try_lock()) is None and not folder.runs():  # noqa: ASYNC110 (a lock has no event)
                    await asyncio.sleep(limits.EMBEDDED_POLL_S)
                return lock
        return None

    async def _shim(self, folder: RunFolder) -> int | None:
        """A pidfd of its shim, a start that is under way waited out; None when it does not run."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.EMBEDDED_START_S):
                while folder.is_starting():  # noqa: ASYNC110 (asked first: it may become ready while we look)
                    await asyncio.sleep(limits.EMBEDDED_POLL_S)
                return folder.open_shim()
        return None

    async def _end(self, folder: RunFolder, grace_s: int) -> None:
        """Asks the shim, which goes through with it also when we are gone meanwhile. One that does not, is killed."""
        shim = await self._shim(folder)
        if shim is None:
            return
        try:
            folder.ask_to_stop(grace_s)
            processes.signal_exactly(shim, signal.SIGTERM)
            if not await descriptors.readable(shim, grace_s + limits.EMBEDDED_KILL_S):
                processes.signal_exactly(shim, signal.SIGKILL)
                await descriptors.readable(shim, limits.EMBEDDED_KILL_S)
        finally:
            os.close(shim)
        folder.bury()

    # ── noticing ──

    def _watch(self, folder: RunFolder, started: Started, service: str) -> None:
        """Listens for the end of a shim, once."""
        if started in self._watched:
            return
        descriptor = processes.open_exactly(started.pid, started.started_at)
        if descriptor is not None:
            self._watched[started] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._ended, folder, started, service)

    def _unwatch(self, started: Started) -> None:
        descriptor = self._watched.pop(started)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    def _ended(self, folder: RunFolder, started: Started, service: str) -> None:
        self._unwatch(started)
        processes.reap(started.pid)
        folder.bury()
        self._tell(service)

    def _tell(self, service: str) -> None:
        for changes in self._changes:
            changes.put(service)


def _name_of(instance_id: str) -> str:
    """The id of an instance is its name, a dot, and the incarnation."""
    return instance_id.rpartition(".")[0]
