"""The platform without HTTP and without processes: real log, views, writer and keys; a simulated engine; virtual time.

    world.create("web", image="web:1")       commands, as HTTP would submit them
    await world.settled()                    until no work is open that could go on by itself
    world.story()                            what happened to the service, in words of the log

`world.writer.refuse` has the writer turn a kind of command away, `world.restart` is the death of the server and its
successor over the same host. Two images: `web:1` answers, `dead:1` never listens; `world.image` makes more.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ahplat import limits
from ahplat.answers import Done
from ahplat.backups.database_files import DatabaseFiles
from ahplat.builders.build_logs import BuildLogs
from ahplat.commands.command import Command
from ahplat.commands.deployments import CancelDeployment, DeployImage, ResetService, StartService
from ahplat.commands.services import CreateService, DeleteService, StopService
from ahplat.commands.tenants import RegisterTenant
from ahplat.crashpoints import CrashPoints
from ahplat.effects import health
from ahplat.effects.follow import Follower
from ahplat.effects.metering import Meter
from ahplat.effects.reconcile import Reconciler
from ahplat.effects.runner import Runner
from ahplat.effects.task import Platform
from ahplat.engines.engine import Instance
from ahplat.errors import AhError
from ahplat.names.responders import Responders
from ahplat.names.upstream import Upstreams
from ahplat.sealing import Keyring
from ahplat.writer import Writer
from events.catalog import decode
from events.database import open_reader
from events.event import Event, Recorded, wire_name
from events.keys import KeyCreated
from events.log import EventLog, read_all
from events.services import ServiceCreated, ServiceDrained
from projections import deployments, routes, services, tenants, todo
from projections.deployments import DeploymentRow
from projections.services import ServiceRow
from projections.todo import TodoRow
from projections.views import digests, open_views
from tests.builds.simulated import SimulatedBuilder
from tests.effects.simulated_router import SimulatedRouter
from tests.effects.simulated_upstreams import SimulatedUpstreams
from tests.effects.virtual import START_US, LoopClock, VirtualLoop
from tests.engines.simulated import Behaviour, SimulatedEngine, SimulatedHost
from tests.folders import memory_folder
from tests.folds import digests_in_shares

TENANT = "a" * 32
INSTALLATION = "f" * 32
PATIENCE_S = 10_000.0  # of virtual time


class FaultyWriter(Writer):
    """A writer that the loop waits for, and that turns commands away where a test wants it."""

    refused: dict[type[Command], list[AhError]]

    def refuse(self, kind: type[Command], *errors: AhError) -> None:
        """The next commands of this kind get these errors, one each, and nothing is written."""
        self.refused.setdefault(kind, []).extend(errors)

    def submit(self, command: Command, **fields: Any) -> "asyncio.Future[Done]":  # type: ignore[override]
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        if self.refused.get(type(command)):
            refused: asyncio.Future[Done] = loop.create_future()
            refused.set_exception(self.refused[type(command)].pop(0))
            return refused
        future = super().submit(command, **fields)
        loop.count(future)
        return future


class World:
    """See the module."""

    writer_of: type[FaultyWriter] = FaultyWriter
    engine_of: type[SimulatedEngine] = SimulatedEngine
    host_of: type[SimulatedHost] = SimulatedHost
    keep_suspended_s = 2 * PATIENCE_S  # in looks, one a minute, a month would take long

    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.folder = folder
        self.clock: Any = LoopClock(loop)
        self.host = self.host_of()
        self.builder = SimulatedBuilder()
        self.router = SimulatedRouter()
        self.upstreams = SimulatedUpstreams()
        self.silent: set[str] = set()  # digests of images that never listen
        self.image("web:1")
        self.image("dead:1", listens=False, output=("starting", "no, I will not"))
        self.made = 0
        self.service_id = ""  # the one that a test is about: the last that was made
        self.drain_s = 1.0
        self.deploy_timeout_s = 60.0
        self.build_timeout_s = 300.0
        self.crash = CrashPoints()
        self._changed = asyncio.Event()
        for name, content in _new_files().items():
            (folder / name).write_bytes(content)
        self.open()

    # the server

    def open(self) -> None:
        """As a start of the server does; the loops do not run yet."""
        self.keyring = Keyring(self.folder / "keys.db", bytes(32))
        self.log = EventLog(self.folder / "events.db", INSTALLATION, START_US)
        self._write_views = open_views(self.folder / "views.db", self.log.db, INSTALLATION, lambda done, of: None)
        self.writer = self.writer_of(self.log, self._write_views, self.keyring, self.clock, self.crash, "a test")
        self.writer.refused = {}
        self.writer.on_commit.append(lambda _: self._changed.set())
        self.reader = open_reader(self.folder / "events.db")
        self.views = open_reader(self.folder / "views.db")
        self.engine = self.engine_of(INSTALLATION, self.host)
        self.platform = Platform(
            writer=self.writer,
            views=self.views,
            engine=self.engine,
            router=self.router,
            keyring=self.keyring,
            clock=self.clock,
            upstreams=self.upstreams,
            meter=Meter(self.engine, self.writer, self.views, self.clock, self.log.installation),
            names=Responders(lambda tenant_id: [], lambda tenant_id, labels: None, Upstreams(), self.clock),
            installation=self.log.installation,
            epoch=self.log.epoch,
            domain="localhost",
            drain_s=self.drain_s,
            deploy_timeout_s=self.deploy_timeout_s,
            build_timeout_s=self.build_timeout_s,
            keep_suspended_s=self.keep_suspended_s,
            builder=self.builder,
            build_logs=BuildLogs(self.folder / "buildlogs", self.keyring),
            database_files=DatabaseFiles(self.folder / "backups" / "databases", self.keyring, 101),
        )
        self.router.restarted()
        self.follower = Follower(self.platform, [])
        self.runner = Runner(self.platform, self.reader, self.crash)
        self.reconciler = Reconciler(self.platform, self.runner)

    def begin(self) -> "World":
        """Work begins."""
        self.follower.begin()
        self.runner.begin()
        self.reconciler.begin()
        freed = self.runner.on_free

        def on_free(subject: str) -> None:
            freed(subject)
            self._changed.set()

        self.runner.on_free = on_free
        return self

    async def end(self) -> None:
        """All that was at work has ended; the files are still open, to be looked at."""
        await self.reconciler.close()
        await self.follower.close()
        await self.runner.close()
        await self.writer.close()
        await self.engine.close()

    def close(self) -> None:
        for file in (self.views, self.reader, self._write_views, self.log, self.keyring):
            file.close()

    async def restart(self) -> None:
        """The server dies wherever it is, and another one starts over what it left."""
        await self.end()
        self.close()
        self.open()
        self.begin()

    def answers(self, host: str, port: int) -> bool:
        """Whether somebody listens there."""
        for instance_id, one in self.host.instances.items():
            if (one.host, one.port, one.state) == (host, port, "running"):
                return self.host.behaviours[instance_id].digest() not in self.silent
        return False

    # what is given

    def image(self, reference: str, listens: bool = True, **behaviour: Any) -> Behaviour:
        """Makes an image, or lets a tag mean another one. As many versions as names."""
        made = Behaviour(**({"version": reference} | behaviour))
        self.host.retag(reference, made)
        if not listens:
            self.silent.add(made.digest())
        return made

    async def register(self, tenant_id: str = TENANT) -> None:
        """A tenant, with its key."""
        self.keyring.create(tenant_id)
        await self.submit(
            RegisterTenant(
                tenant_id=tenant_id,
                name=b"name",
                email=b"email",
                email_index=tenant_id.encode(),
                label=f"acme-{tenant_id[0]}",
                pool="10.128.0.0/12",
                key=KeyCreated(key_id=f"k{tenant_id[0]}", name=b"name", digest=b"digest", scopes=["admin"]),
            )
        )

    # commands

    def submit(self, command: Command, **fields: Any) -> "asyncio.Future[Done]":
        """What HTTP would submit."""
        return self.writer.submit(command, **({"actor": "test"} | fields))

    def new_id(self) -> str:
        """Ids in order, the same in each run."""
        self.made += 1
        return f"{self.made:032x}"

    async def create(
        self, name: str = "web", image: str = "web:1", env: dict[str, str] | None = None, **settings: Any
    ) -> str:
        """A service with its first deployment; it is the one that the test is about from now on."""
        service_id = self.service_id = self.new_id()
        wanted: dict[str, Any] = {
            "port": 8000,
            "memory_mb": 64,
            "cpu_milli": 100,
            "health_path": "",
            "egress": "none",
            "replicas": 1,
        }
        tenant_id = settings.pop("tenant_id", TENANT)
        created = ServiceCreated(name=name, label=name, image=image, **(wanted | settings))
        seal = self.keyring.seal
        sealed = {
            key: seal(tenant_id, f"service-{service_id}", f"env.{key}", value.encode())
            for key, value in (env or {}).items()
        }
        await self.submit(
            CreateService(
                tenant_id=tenant_id, service_id=service_id, created=created, env=sealed, deployment_id=self.new_id()
            )
        )
        return service_id

    async def order(self, kind: type[Command], **fields: Any) -> Done:
        """A command about the service; one that makes a deployment gets an id for it."""
        names = kind.__struct_fields__
        if "deployment_id" in names and "deployment_id" not in fields:
            fields["deployment_id"] = self.new_id()
        mine = {"tenant_id": TENANT, "service_id": self.service_id}
        return await self.submit(kind(**({key: mine[key] for key in mine if key in names} | fields)))

    async def deploy(self, image: str = "") -> Done:
        return await self.order(DeployImage, image=image)

    async def stop(self) -> Done:
        return await self.order(StopService)

    async def start(self) -> Done:
        return await self.order(StartService)

    async def delete(self) -> Done:
        return await self.order(DeleteService)

    async def reset(self) -> Done:
        return await self.order(ResetService)

    async def cancel(self) -> Done:
        return await self.order(CancelDeployment, deployment_id=self.deployments[0].deployment_id)

    # waiting

    async def until(self, probe: Callable[[], object], every_s: float = 60.0) -> None:
        """Waits until it holds: looked at after every commit and the end of every attempt, and now and then."""

        async def waiting() -> None:
            while not probe():
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(every_s):
                        await self._changed.wait()

        async with asyncio.timeout(PATIENCE_S):
            await waiting()

    async def called(self, method: str) -> None:
        """Waits until the engine is being asked for something."""
        await self.until(lambda: any(name == method for name, _ in self.engine.calls), every_s=0.01)

    async def settled(self) -> None:
        """Waits until nothing is open but what was put off for longer than a test waits, and nothing is being done."""

        def is_settled() -> bool:
            far_us = self.clock.now_us() + int(PATIENCE_S * 1_000_000)
            return not self.runner.busy and all(work.since_us > far_us for work in self.work)

        await self.until(is_settled)

    async def later(self, seconds: float) -> None:
        """Time goes by."""
        await asyncio.sleep(seconds)

    # what is

    @property
    def work(self) -> list[TodoRow]:
        """All open work."""
        return todo.open_of_all(self.views)

    @property
    def service(self) -> ServiceRow:
        found = services.find(self.views, self.service_id)
        assert found
        return found

    @property
    def deployments(self) -> list[DeploymentRow]:
        """Newest first."""
        return deployments.list_of(self.views, self.service_id, -1, 0, 0)

    @property
    def statuses(self) -> list[str]:
        """Of the deployments, newest first."""
        return [row.status for row in self.deployments]

    @property
    def instances(self) -> list[Instance]:
        """What the host has of the service."""
        return [one for one in self.host.instances.values() if one.identity.service == self.service_id]

    @property
    def numbers(self) -> list[int]:
        """Of which deployments something is on the host."""
        return sorted(one.identity.number for one in self.instances)

    def routes(self) -> list[str]:
        """To which instances the router sends the service's requests."""
        tenant = tenants.find(self.views, self.service.tenant_id)
        assert tenant
        return [target.instance for target in routes.targets_of(self.views, self.service.label, tenant.label)]

    def recorded(self) -> list[Recorded]:
        return read_all(self.reader, 0, 100_000)

    def facts(self, kind: type[Event]) -> list[Any]:
        """All events of one type, oldest first."""
        return [decode(at.type, at.data) for at in self.recorded() if at.type == wire_name(kind)]

    def last(self, kind: type[Event]) -> Any:
        return self.facts(kind)[-1]

    def story(self) -> list[str]:
        """What happened to the service and to the work on it; without the nouns, and without the draining."""
        stream = f"service-{self.service_id}"
        own = [at for at in self.recorded() if at.stream == stream or at.data.find(stream.encode()) >= 0]
        drains = {at.position for at in own if at.type == "service.routed"}
        told = []
        for at in own:
            event = decode(at.type, at.data)
            if isinstance(event, ServiceDrained) or getattr(event, "intent", 0) in drains:
                continue
            told.append(at.type.partition(".")[2])
        return told

    def unsealed(self, field: str, sealed: bytes) -> str:
        """A sealed field of the service's stream."""
        return self.keyring.unseal(TENANT, f"service-{self.service_id}", field, sealed).decode()

    def check(self) -> None:
        """What holds when nothing is being written: views are what the log gives, attempts are numbered, no outcome twice."""
        again = self.folder / "again.db"
        again.unlink(missing_ok=True)
        fresh = open_views(again, self.reader, INSTALLATION, lambda done, of: None)
        try:
            assert digests(fresh.db) == digests(self.views) == digests_in_shares(self.reader, self.folder)
        finally:
            fresh.close()
        ended: set[int] = set()
        for at in self.recorded():
            event = decode(at.type, at.data)
            if at.stream.startswith("effect-"):
                assert event.intent not in ended, f"{at.type} at {at.position} after the outcome of {event.intent}"
            elif (intent := getattr(event, "intent", None)) is not None:
                assert intent not in ended, f"a second outcome of {intent} at {at.position}"
                ended.add(intent)


@cache
def _new_files() -> dict[str, bytes]:
    """A new log with its keys and views, made once."""
    with memory_folder() as made:
        log = EventLog(made / "events.db", INSTALLATION, START_US)
        for file in (
            open_views(made / "views.db", log.db, INSTALLATION, lambda done, of: None),
            Keyring(made / "keys.db", bytes(32)),
            log,
        ):
            file.close()
        return {path.name: path.read_bytes() for path in made.iterdir()}


def listen_by(world: World, monkeypatch: Any) -> None:
    """Health checks ask the world instead of the network, and no network is there on which names could be asked."""

    async def tcp(host: str, port: int) -> str:
        await asyncio.sleep(0)
        return "" if world.answers(host, port) else "nobody listens"

    async def http(host: str, port: int, path: str) -> str:
        return await tcp(host, port) or ("" if path == "/health" else f"GET {path} answers 404")

    monkeypatch.setattr("ahplat.names.responders.socket.if_nameindex", list)  # no devices
    monkeypatch.setattr(health, "_tcp", tcp)
    monkeypatch.setattr(health, "_http", http)


def do_harm(host: SimulatedHost, instance_id: str, how: str, dice: random.Random) -> None:
    """What nobody asked for happens to an instance: crash, vanish, rename, or pause or move where it runs."""
    if how == "crash":
        host.crash(instance_id, dice.choice((0, 1, 137)), dice.random() < 0.2)
    elif how == "vanish":
        host.vanish(instance_id)
    elif how == "rename":
        host.rename(instance_id, f"renamed-{instance_id}")
    elif host.instances[instance_id].state == "running":
        host._change(instance_id, **({"state": "paused"} if how == "pause" else {"host": "10.128.0.3"}))


def crash_backoff_s(crashes: int) -> int:
    """The wait before the repair that follows the n-th crash."""
    return limits.CRASH_BACKOFF_S[min(crashes, len(limits.CRASH_BACKOFF_S)) - 1]
