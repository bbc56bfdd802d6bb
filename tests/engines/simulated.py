"""An engine in memory: the same port, no processes, and every way in which a real engine lets one down, on demand.

Instant and deterministic unless told otherwise. What runs belongs to the `SimulatedHost`, so two engines over one host
are a server and its successor, or two installations; `host.crash`, `host.vanish`, `host.retag` are what happens there
without us. An engine's replies can be late (`lag_s`), lost after the deed (`lose_reply`), errors (`fail`) or absent
(`away`); `hint` says what the watch would say, as often and in whatever order a test wants.
"""

import asyncio
import hashlib
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from ahplat import limits
from ahplat.engines.engine import (
    Belonging,
    Bunch,
    Counters,
    EngineStatus,
    Execution,
    Image,
    Instance,
    LogLine,
    Network,
    RouterJoined,
    RouterSeen,
    Spec,
    Volume,
)
from ahplat.errors import EngineAway, Rejected, Unavailable

KILLED = 137
Thing = TypeVar("Thing", Network, Volume)


class Behaviour(Struct, frozen=True):
    """What an image does when it runs."""

    version: str = "1"  # in the digest: another version is another image under the same tag
    output: tuple[str, ...] = ()
    exit_code: int | None = None  # None: runs until it is stopped
    deaf: bool = False  # takes no notice of SIGTERM
    health: Literal["healthy", "unhealthy", "starting"] | None = None

    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(msgspec.json.encode(self)).hexdigest()}"


class Ran(Struct, frozen=True):
    """What a command does; `exit_code` None: runs until it is ended."""

    exit_code: int | None = 0
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False
    echo: bool = False  # says on stdout what it is given on stdin


LINE_NS = 1_000_000_000  # between two lines of an instance: the n-th was written n seconds after 1970


class SimulatedHost:
    """What is there, whichever engine looks: images by reference, instances by id, networks by name."""

    def __init__(self) -> None:
        self.images: dict[str, Behaviour] = {}
        self.kept: dict[str, Behaviour] = {}  # by digest: what was pulled once
        self.instances: dict[str, Instance] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.output: dict[str, list[str]] = defaultdict(list)
        self.env: dict[str, dict[str, str]] = {}
        self.networks: dict[str, Network] = {}
        self.router: str | None = None  # the id of its container, "" while it is away; None: nobody told of one
        self.router_in: dict[str, str] = {}  # network's name → its address there
        self.volumes: dict[str, Volume] = {}
        self.counters: dict[str, Counters] = {}  # by instance, where a test has it use something
        self.specs: dict[str, Spec] = {}  # by instance, as it was last started
        self.engines: list[SimulatedEngine] = []
        self.commands: dict[tuple[str, ...], Ran] = {}  # what there is to be executed in any instance
        self.does_else: Callable[[str, tuple[str, ...], bytes], Ran | None] = lambda instance_id, argv, given: None
        self.on_volume_gone: Callable[[str], object] = lambda name: None
        self.executing: dict[str, str] = {}  # mark → instance, of what runs
        self._listening: set[asyncio.Event] = set()  # who follows a log, or waits for a command
        self._made = 0

    def does(self, instance_id: str, argv: tuple[str, ...], given: bytes) -> Ran:
        """What a command does that is given this on its stdin."""
        return self.does_else(instance_id, argv, given) or self.commands.get(argv, Ran(127, stderr=b"not found\n"))

    def named(self, name: str) -> Instance | None:
        return next((one for one in self.instances.values() if one.name == name), None)

    def retag(self, reference: str, behaviour: Behaviour) -> None:
        """What a tag means from now on."""
        self.images[reference] = behaviour

    def create(self, spec: Spec, behaviour: Behaviour) -> str:
        self._made += 1
        made = Instance(f"{spec.name}.{self._made}", spec.name, spec.identity, "created")
        self.instances[made.id] = made
        self.behaviours[made.id] = behaviour
        return made.id

    def start(self, instance_id: str, spec: Spec) -> None:
        behaviour = self.behaviours[instance_id]
        self.env[instance_id] = dict(spec.env)
        self.specs[instance_id] = spec
        self.output[instance_id] += behaviour.output
        address = spec.address or (f"10.128.0.{int(instance_id.rpartition('.')[2]) % 250 + 4}" if spec.port else "")
        self._change(
            instance_id, state="running", host=address, port=spec.port, exit_code=None, health=behaviour.health
        )
        if behaviour.exit_code is not None:
            self.crash(instance_id, behaviour.exit_code)

    def crash(self, instance_id: str, exit_code: int = 1, oom_killed: bool = False) -> None:
        """Its program ends."""
        self._change(
            instance_id, state="exited", host="", port=0, exit_code=exit_code, oom_killed=oom_killed, health=None
        )

    def say(self, instance_id: str, *lines: str) -> None:
        """It writes to its log."""
        self.output[instance_id] += lines
        self._wake()

    async def changed(self) -> None:
        """Returns once something was written, or any instance changed."""
        listening = asyncio.Event()
        self._listening.add(listening)
        try:
            await listening.wait()
        finally:
            self._listening.discard(listening)

    def _wake(self) -> None:
        for listening in self._listening:
            listening.set()

    def be(self, instance_id: str, health: Literal["healthy", "unhealthy", "starting"] | None) -> None:
        """What the image's own health check says from now on."""
        self._change(instance_id, health=health)

    def vanish(self, instance_id: str) -> None:
        """Somebody removes it behind our back."""
        gone = self.instances.pop(instance_id)
        for kept in (self.behaviours, self.output, self.env, self.specs):
            kept.pop(instance_id, None)
        self._tell(gone)

    def rename(self, instance_id: str, name: str) -> None:
        """Somebody gives it another name."""
        self._change(instance_id, name=name)

    def _change(self, instance_id: str, **changes: object) -> None:
        self.instances[instance_id] = msgspec.structs.replace(self.instances[instance_id], **changes)
        self._tell(self.instances[instance_id])

    def _tell(self, instance: Instance) -> None:
        self._wake()
        for engine in self.engines:
            if engine.installation == instance.identity.instance and not engine.silent:
                engine.hint(instance.identity.subject)


class SimulatedEngine:
    """See the module. `sleep` is for a virtual clock; it is called only where there is lag."""

    name = "simulated"
    grants_egress = True
    mounts_volumes = True

    def __init__(
        self,
        installation: str,
        host: SimulatedHost | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.installation = installation
        self.host = host or SimulatedHost()
        self.host.engines.append(self)
        self.away = False
        self.root = ""  # its own folder, where it has one
        self.silent = False  # the watch says nothing by itself
        self.closed = False
        self.pace = 1.0  # of a command's time
        self.following = 0  # logs that are open
        self.executed: list[tuple[str, ...]] = []  # commands, in their order
        self.missing_guards: list[str] = []  # what the next `guard` finds and repairs
        self.lag_s: dict[str, float] = {}  # by method
        self.calls: list[tuple[str, str]] = []  # method and subject, as they came in
        self._sleep = sleep
        self._errors: dict[str, deque[Exception]] = defaultdict(deque)
        self._lost: dict[str, int] = defaultdict(int)
        self._watchers: list[asyncio.Queue[str | None]] = []

    # ── what a test does to it ──

    def fail(self, method: str, *errors: Exception) -> None:
        """The next calls of `method` raise these, one each, and do nothing."""
        self._errors[method].extend(errors)

    def lose_reply(self, method: str, times: int = 1) -> None:
        """The next calls of `method` do what they should, and then say that the engine is away."""
        self._lost[method] += times

    def hint(self, service: str) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(service)

    def cut_watches(self) -> None:
        """Every watch that is open ends, as when Docker restarts."""
        for watcher in self._watchers:
            watcher.put_nowait(None)

    # ── the port ──

    async def status(self) -> EngineStatus:
        detail = "away, as the test wants it" if self.away else "in memory"
        return EngineStatus(
            self.name, available=not self.away, isolated=True, version="1", runtime="1", detail=detail, root=self.root
        )

    async def fetch(self, reference: str, cancelled: Callable[[], bool]) -> Image:
        await self._arrive("fetch", reference)
        if cancelled():
            raise Rejected("cancelled", f"fetching {reference} was cancelled")
        name, _, digest = reference.partition("@")
        behaviour = self.host.kept.get(digest) if digest else self.host.images.get(reference)
        if behaviour is None:
            raise Rejected("image_not_found", f"expected one of {sorted(self.host.images)}, got {reference!r}")
        self.host.kept[behaviour.digest()] = behaviour
        self._leave("fetch")
        return Image(reference, behaviour.digest(), f"{name}@{behaviour.digest()}")

    async def image_sizes(self, pinned: Sequence[str]) -> dict[str, int]:
        await self._arrive("image_sizes", "")
        self._leave("image_sizes")
        return {one: 1_000 for one in pinned if one.partition("@")[2] in self.host.kept}

    async def remove_image(self, pinned: str, names: Sequence[str]) -> bool:
        await self._arrive("remove_image", pinned)
        digest = pinned.partition("@")[2]
        is_used = any(behaviour.digest() == digest for behaviour in self.host.behaviours.values())
        if not is_used:
            self.host.kept.pop(digest, None)
        self._leave("remove_image")
        return not is_used

    async def ensure_network(self, network: Network) -> None:
        await self._arrive("ensure_network", network.name)
        if network.name not in self.host.networks and network.internal and self.host.router:
            self.host.router_in[network.name] = network.router
        self.host.networks[network.name] = network
        self._leave("ensure_network")

    async def remove_network(self, network: Network) -> None:
        await self._arrive("remove_network", network.name)
        self.host.networks.pop(network.name, None)
        self.host.router_in.pop(network.name, None)
        self._leave("remove_network")

    async def join_router(self, networks: Sequence[Network]) -> RouterSeen:
        await self._arrive("join_router", "")
        host = self.host
        if not host.router:
            self._leave("join_router")
            return RouterSeen(
                problem=""
                if host.router is None
                else "the container router is not there: no service is reached through it"
            )
        there = [one for one in networks if one.name in host.networks]
        wrong = [one for one in there if host.router_in.get(one.name, "") != one.router]
        joined = [RouterJoined(one.tenant, host.router, host.router_in.get(one.name, "")) for one in wrong]
        host.router_in |= {one.name: one.router for one in wrong}
        self._leave("join_router")
        return RouterSeen(joined)

    async def guard(self) -> list[str]:
        await self._arrive("guard", "")
        found, self.missing_guards = self.missing_guards, []
        self._leave("guard")
        return found

    async def find_or_start(self, spec: Spec, image: Image) -> Instance:
        await self._arrive("find_or_start", spec.name)
        assert all(mount.volume in self.host.volumes for mount in spec.mounts), spec.mounts
        instance_id = self._place(spec, image)
        if self.host.instances[instance_id].state != "running":
            self.host.start(instance_id, spec)
        self._leave("find_or_start")
        return self.host.instances[instance_id]

    def _place(self, spec: Spec, image: Image) -> str:
        found = self.host.named(spec.name) or self._renamed(spec)
        if found is not None:
            if found.identity.instance != self.installation:
                raise Rejected("name_taken", f"{spec.name} is of installation {found.identity.instance}")
            if found.identity.same_as(spec.identity):
                return found.id
            self.host.vanish(found.id)
        return self.host.create(spec, self.host.kept[image.digest])

    def _renamed(self, spec: Spec) -> Instance | None:
        for one in self.host.instances.values():
            if one.identity.same_as(spec.identity):
                self.host.rename(one.id, spec.name)
                return self.host.instances[one.id]
        return None

    async def inspect(self, instance_id: str) -> Instance | None:
        await self._arrive("inspect", instance_id)
        self._leave("inspect")
        return self._ours(instance_id)

    def _ours(self, instance_id: str) -> Instance | None:
        found = self.host.instances.get(instance_id)
        return found if found is not None and found.identity.instance == self.installation else None

    async def stop(self, instance_id: str, grace_s: int) -> None:
        await self._arrive("stop", instance_id)
        found = self._ours(instance_id)
        if found is not None and found.state == "running":
            self.host.crash(instance_id, KILLED if self.host.behaviours[instance_id].deaf else 0)
        self._leave("stop")

    async def remove(self, instance_id: str) -> None:
        await self._arrive("remove", instance_id)
        if self._ours(instance_id) is not None:
            self.host.vanish(instance_id)
        self._leave("remove")

    async def tail(self, instance_id: str, lines: int) -> str:
        await self._arrive("tail", instance_id)
        self._leave("tail")
        kept = self.host.output[instance_id][-lines:] if self._ours(instance_id) and lines > 0 else []
        return "".join(f"{line}\n" for line in kept)[-limits.TAIL_BYTES :]

    async def logs(
        self, instance_id: str, tail: int | None = None, since_ns: int = 0, follow: bool = False
    ) -> AsyncGenerator[Bunch, None]:
        await self._arrive("logs", instance_id)
        self._leave("logs")
        self.following += 1
        try:
            told = 0 if tail is None else max(0, len(self.host.output[instance_id]) - tail)
            while (found := self._ours(instance_id)) is not None:
                output = self.host.output[instance_id]
                lines = [LogLine(n * LINE_NS, line.encode()) for n, line in enumerate(output[told:], told + 1)]
                told = len(output)
                if wanted := [line for line in lines if line.at_ns >= since_ns]:
                    yield wanted
                elif not follow or found.state != "running" or self.closed:
                    return
                else:
                    await self.host.changed()
        finally:
            self.following -= 1

    async def execute(self, instance_id: str, argv: Sequence[str], mark: str, timeout_s: float) -> Execution:
        await self._arrive("execute", instance_id)
        if not self._runs(instance_id):
            raise Rejected("not_running", "the instance does not run")
        self.executed.append(tuple(argv))
        ran = self.host.does(instance_id, tuple(argv), b"")
        self.host.executing[mark] = instance_id
        timed_out = False
        try:
            async with asyncio.timeout(timeout_s * self.pace):
                while ran.exit_code is None and self._runs(instance_id):
                    await self.host.changed()
        except TimeoutError:
            timed_out = True
        finally:
            del self.host.executing[mark]
        self._leave("execute")
        code = KILLED if ran.exit_code is None else ran.exit_code
        return Execution(code, ran.stdout, ran.stderr, ran.truncated, timed_out)

    async def pipe(
        self, instance_id: str, argv: Sequence[str], mark: str, stdin: AsyncIterator[bytes] | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self._arrive("pipe", instance_id)
        if not self._runs(instance_id):
            raise Rejected("not_running", "the instance does not run")
        self.executed.append(tuple(argv))
        self.host.executing[mark] = instance_id
        try:
            given = b"".join([piece async for piece in stdin]) if stdin else b""
            ran = self.host.does(instance_id, tuple(argv), given)
            yield given if ran.echo else ran.stdout
            while ran.exit_code is None and self._runs(instance_id):
                await self.host.changed()
        finally:
            self.host.executing.pop(mark, None)
        self._leave("pipe")
        if not self._runs(instance_id):
            raise Rejected("not_running", "the instance ended, and the command with it")
        if ran.exit_code:
            raise Rejected("command_failed", f"it ended with exit code {ran.exit_code}: {ran.stderr.decode()}")

    def _runs(self, instance_id: str) -> bool:
        found = self._ours(instance_id)
        return found is not None and found.state == "running"

    async def end_execution(self, instance_id: str, mark: str) -> None:
        await self._arrive("end_execution", mark)
        self.host.executing.pop(mark, None)
        self._leave("end_execution")

    async def watch(self) -> AsyncIterator[str]:
        watcher: asyncio.Queue[str | None] = asyncio.Queue()
        self._watchers.append(watcher)
        try:
            while (service := await watcher.get()) is not None:
                yield service
            raise EngineAway("the watch was cut off")
        finally:
            self._watchers.remove(watcher)

    async def close(self) -> None:
        self.closed = True
        self.host.engines = [one for one in self.host.engines if one is not self]
        self.cut_watches()

    async def counters(self, instance_ids: Sequence[str]) -> dict[str, Counters]:
        await self._arrive("counters", "")
        self._leave("counters")
        running = [one for one in self._all_ours() if one.state == "running" and one.id in instance_ids]
        return {one.id: self.host.counters.get(one.id, Counters(1, 1)) for one in running}

    async def list_databases(self, database: str | None = None) -> list[Instance]:
        await self._arrive("list_databases", database or "")
        self._leave("list_databases")
        return [one for one in self._all_ours() if one.identity.database and database in (None, one.identity.database)]

    def _all_ours(self) -> list[Instance]:
        return [one for one in self.host.instances.values() if one.identity.instance == self.installation]

    async def ensure_volume(self, volume: Volume) -> None:
        await self._arrive("ensure_volume", volume.name)
        if self.host.volumes.setdefault(volume.name, volume).instance != volume.instance:
            raise Rejected("name_taken", f"volume {volume.name} is another installation's")
        self._leave("ensure_volume")

    async def remove_volume(self, volume: Volume) -> None:
        await self._arrive("remove_volume", volume.name)
        mounted = [mount.volume for spec in self.host.specs.values() for mount in spec.mounts]
        if volume.name in mounted:
            raise Unavailable("volume_in_use", f"volume {volume.name} is in use")
        if self.host.volumes.get(volume.name) == volume:
            del self.host.volumes[volume.name]
            self.host.on_volume_gone(volume.name)
        self._leave("remove_volume")

    async def volume_bytes(self) -> dict[str, int]:
        await self._arrive("volume_bytes", "")
        self._leave("volume_bytes")
        return {one.name: 4096 for one in self.host.volumes.values() if one.instance == self.installation}

    async def belongings(self) -> list[Belonging]:
        await self._arrive("belongings", "")
        self._leave("belongings")
        found = [
            Belonging("container", one.name, one.identity.tenant, one.identity.subject) for one in self._all_ours()
        ]
        found += [Belonging("network", one.name, one.tenant) for one in self._ours_of(self.host.networks)]
        return found + [Belonging("volume", one.name, one.tenant) for one in self._ours_of(self.host.volumes)]

    def _ours_of(self, there: dict[str, Thing]) -> list[Thing]:
        return [one for one in there.values() if one.instance == self.installation]

    async def list(self, service: str | None = None) -> list[Instance]:
        await self._arrive("list", service or "")
        self._leave("list")
        return [one for one in self._all_ours() if one.identity.service and service in (None, one.identity.service)]

    # ── how a call goes ──

    async def _arrive(self, method: str, subject: str) -> None:
        """Every call: noted, late if it has to be, and refused if it has to be. Others run in between."""
        self.calls.append((method, subject))
        await (self._sleep(self.lag_s[method]) if method in self.lag_s else asyncio.sleep(0))
        if self.away:
            raise EngineAway("the engine is away, as the test wants it")
        if self._errors[method]:
            raise self._errors[method].popleft()

    def _leave(self, method: str) -> None:
        """After the deed: the reply may get lost on its way."""
        if self._lost[method]:
            self._lost[method] -= 1
            raise EngineAway(f"the reply of {method} was lost, as the test wants it")
