"""Constructs everything, in order, and takes it down in the other. Nothing else makes parts.

Start: lock the folder, open keys and log, listen, bring the views in step (health answers meanwhile), then the writer,
the engine's loops, and ready. Stop: no new requests, what is in flight ends within SHUTDOWN_S, the writer empties its
queue, the files close. Instances go on running: the next start adopts them.
"""

import asyncio
import fcntl
import logging
import platform
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import apsw
from aiohttp import web

from ahplat import limits
from ahplat.api.application import Application
from ahplat.api.auth import Gate
from ahplat.api.connection import Server
from ahplat.api.documents import Documents
from ahplat.api.forward import Forwarder
from ahplat.api.rates import Rates
from ahplat.api.routes import ROUTES
from ahplat.api.server import Edge
from ahplat.api.stream import Hub
from ahplat.backups import known
from ahplat.backups.database_files import DatabaseFiles
from ahplat.backups.restore import RESTORING
from ahplat.backups.schedule import Schedule
from ahplat.builders.build_logs import BuildLogs
from ahplat.builders.builder import Builder
from ahplat.builders.choice import choose_builder
from ahplat.checkpoints import Checkpoints, contradiction
from ahplat.clock import Clock, SystemClock, new_id
from ahplat.config import DATABASE_BACKUPS, Config
from ahplat.crashpoints import CrashPoints
from ahplat.effects.disks import DiskWatch
from ahplat.effects.follow import Follower
from ahplat.effects.garbage import Collector
from ahplat.effects.metering import Meter
from ahplat.effects.networks import sites
from ahplat.effects.reconcile import Reconciler
from ahplat.effects.runner import Runner
from ahplat.effects.task import Platform
from ahplat.engines.choice import choose_engine
from ahplat.engines.engine import Engine
from ahplat.errors import CannotStart
from ahplat.mcp.toolbox import Toolbox
from ahplat.metering import Metering
from ahplat.metrics import exposition
from ahplat.names import zone
from ahplat.names.responders import Responders
from ahplat.names.upstream import Upstreams
from ahplat.rebuilding import views_in_step
from ahplat.reserve import Reserve
from ahplat.rotation import finish_rotation
from ahplat.routers.choice import choose_router
from ahplat.routers.router import Route
from ahplat.sealing import KeyFileBad, Keyring, read_master_key
from ahplat.version import VERSION
from ahplat.writer import Writer
from events.catalog import UnknownEvent
from events.database import open_reader
from events.log import EventLog, LogDamaged, has_events
from projections import builds, tenants
from projections.views import DAMAGE, Views, check_known, condemn, is_whole

logger = logging.getLogger("ahplat")

BUILD = f"ahplat {VERSION}, python {platform.python_version()}"
BuilderOf = Callable[[Config, str, str], Awaitable[Builder]]  # (settings, engine, installation) → what makes images
EngineOf = Callable[[Config, str], Awaitable[Engine]]  # (settings, installation) → where services run
SOCKET_PATH_BYTES = 107  # of a Unix socket, on Linux


class Running:
    """A server that serves. `ended` is set when it cannot go on; `failure` says why."""

    def __init__(self, app: Application, stack: AsyncExitStack) -> None:
        self.app = app
        self.ended = asyncio.Event()
        self.failure: Exception | None = None
        self._stack = stack

    def read_damage(self, error: Exception) -> None:
        """A read met a damaged page. Of the views: end, the next start builds them anew. Of the log: go on with the rest."""
        if is_whole(self.app.config.data_dir / "views.db"):
            logger.critical("a page of the log is damaged, restore it from a backup: %s", error)
        else:
            self.broken(error)

    def broken(self, error: Exception) -> None:
        """An invariant broke: end, and let the next start recover; damaged views it builds anew."""
        logger.critical("stopping: %s", error)
        views = self.app.config.data_dir / "views.db"
        if isinstance(error, DAMAGE) and not is_whole(views):
            condemn(views)
        self.failure = error
        self.ended.set()

    async def close(self) -> None:
        """Takes everything down, in the other order."""
        self.app.closing = True
        await self._stack.aclose()


async def start(
    config: Config,
    engine_of: EngineOf = choose_engine,
    clock: Clock | None = None,
    builder_of: BuilderOf = choose_builder,
) -> Running:
    """Constructs a server and begins to serve; returns once it is ready. Raises CannotStart.

    Tests bring an engine, a builder and a clock of their own.
    """
    with _usable(config.data_dir):
        return await _start(config, engine_of, builder_of, clock or SystemClock())


async def _start(config: Config, engine_of: EngineOf, builder_of: BuilderOf, clock: Clock) -> Running:
    async with AsyncExitStack() as stack:
        stack.callback(lock_folder(config.data_dir).close)
        reserve = Reserve(config.data_dir)
        reserve.begin()
        app, log = _open(config, clock, stack)
        app.engine = await engine_of(config, app.installation)
        stack.push_async_callback(app.engine.close)
        app.builder = await builder_of(config, app.engine.name, app.installation)
        stack.push_async_callback(app.builder.close)
        app.router = choose_router(config)
        stack.push_async_callback(app.router.close)
        log_reader = open_reader(log.path)
        stack.callback(log_reader.close)
        app.log = log_reader
        running = Running(app, stack)
        files = await stack.enter_async_context(AsyncExitStack())  # closed last,
        parts = await stack.enter_async_context(AsyncExitStack())  # after the parts that use them,
        await _listen(app, stack)  # which end after those who may still ask them
        views = await _open_views(app, files)
        open_builds = [row.build_id for row in builds.list_open(app.views)]
        await app.builder.sweep(open_builds, lambda tenant_id: tenants.status_of(app.views, tenant_id) == "erased")
        crash = CrashPoints(config.crash_at)
        app.writer = Writer(log, views, app.keyring, clock, crash, BUILD, reserve)
        _begin(app, running, crash, parts)
        stack.callback(app.hub.close)  # first of all, streams let go
        running._stack = stack.pop_all()
    return running


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Says in one line that the files cannot be read or written, whatever it is about them. Raises CannotStart."""
    try:
        yield
    except UnknownEvent as error:
        raise CannotStart(
            f"the log is of a newer release than this one ({BUILD}): {error}; nothing was changed. Start that release"
            " again, or go back to the backup from before it (README, Rolling back)"
        ) from error
    except DAMAGE as error:
        raise CannotStart(
            f"a file in {folder} is damaged ({error}): restore events.db and keys.db from a backup"
        ) from error
    except (OSError, apsw.IOError, apsw.FullError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise CannotStart(
            f"{folder} cannot be used ({error}): make room on its disk, and see that its files are this user's"
        ) from error


def lock_folder(folder: Path) -> IO[str]:
    """One server a folder: holds a lock on it until closed. Raises CannotStart."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise CannotStart(f"{folder} cannot be written ({error.strerror}): choose another with --data-dir") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise CannotStart(f"another server uses {folder}: stop it, or choose another --data-dir") from error
    return file


def _open(config: Config, clock: Clock, stack: AsyncExitStack) -> tuple[Application, EventLog]:
    """The keys, the log, and what handlers work with."""
    folder = config.data_dir
    if (folder / RESTORING).exists():
        raise CannotStart(f"a restore into {folder} did not come to its end: run the same `ah restore` again")
    try:
        finish_rotation(folder)
        log_path = folder / "events.db"
        has_log = has_events(log_path)
        master = read_master_key(folder / "master.key", may_make=not (has_log or (folder / "keys.db").exists()))
        keyring = Keyring(folder / "keys.db", master, may_make=not has_log)
        stack.callback(keyring.close)
        if keyring.holds_tenants() and not has_log:
            raise LogDamaged(
                f"{log_path} is missing or empty, but there are keys of its tenants: restore it from a backup"
            )
        log = EventLog(log_path, new_id(clock.now_us()), clock.now_us())
        check_known(folder / "views.db", log.db)
        key = keyring.checkpoint_key(log.installation)
        if why := known.missing(folder, log.db) or contradiction(folder, key, log.epoch, log.db):
            log.close()
            raise LogDamaged(
                f"{log_path}: {why}: its end was cut off, or another log was put in its place. Restore it from a backup"
                " (`ah restore`)"
            )
    except (KeyFileBad, LogDamaged) as error:
        raise CannotStart(str(error)) from error
    stack.callback(log.close)
    if not config.accept_clock:
        _check_clock(clock.now_us(), log.last_us)
    clock.go_on_from(log.last_us)
    app = Application(config, keyring, clock)
    app.build_logs = BuildLogs(folder / "buildlogs", keyring)
    app.epoch, app.installation = log.epoch, log.installation
    app.gate = Gate(app)
    app.rates = Rates(app)
    stack.callback(app.gate.close)
    return app, log


def _check_clock(now_us: int, last_us: int) -> None:
    """By a clock that is wrong what is kept for a while would be removed. Raises CannotStart."""
    if now_us - last_us > limits.CLOCK_GAP_S * 1_000_000:
        now, last = (f"{datetime.fromtimestamp(at / 1e6, UTC):%F %T}Z" for at in (now_us, last_us))
        raise CannotStart(
            f"the clock says {now}, the log ends at {last}: set the clock, or start once with --accept-clock if it is"
            " right (then what was to be kept for less than that is removed)"
        )
    if last_us - now_us > limits.CLOCK_JUMP_S * 1_000_000:
        logger.warning(
            "the clock is %d s behind the log's last event: time goes on from there, slower until the clock has caught up",
            (last_us - now_us) // 10**6,
        )


async def _listen(app: Application, stack: AsyncExitStack) -> None:
    """The API's port, the operator's socket, and the metrics' own port."""
    config = app.config
    forwarder = await stack.enter_async_context(Forwarder())
    app.tools = Toolbox(ROUTES)
    app.documents = Documents(ROUTES)
    app.edge = Edge(app, ROUTES, app.gate, app.rates, forwarder)
    server = Server(app.edge)
    runner = web.ServerRunner(server, shutdown_timeout=limits.SHUTDOWN_CUT_S)
    await runner.setup()
    stack.push_async_callback(_hang_up, app, runner)
    stack.callback(asyncio.create_task(server.sweep(), name="connections").cancel)
    listener = _bind(config.host, config.port, "--port")
    app.port = listener.getsockname()[1]
    await web.SockSite(runner, listener, backlog=1024).start()
    await web.SockSite(runner, _bind_operator(config.data_dir / "operator.sock")).start()
    if config.metrics_port and not config.dev:
        await _listen_metrics(app, stack)


async def _hang_up(app: Application, runner: web.ServerRunner) -> None:
    """No new connections, and those that there are end with what is being answered on them."""
    for site in list(runner.sites):
        await site.stop()
    await app.edge.idle(limits.SHUTDOWN_S)
    await runner.cleanup()


def _bind_operator(path: Path) -> socket.socket:
    """The operator's socket: whoever may open the file is the operator."""
    if len(str(path).encode()) > SOCKET_PATH_BYTES:
        raise CannotStart(f"{path} is too long for a socket ({SOCKET_PATH_BYTES} bytes): choose a shorter --data-dir")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


async def _listen_metrics(app: Application, stack: AsyncExitStack) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path != "/metrics" or not app.ready.is_set():
            return web.Response(status=404 if app.ready.is_set() else 503)
        return web.Response(body=exposition(app), headers={"Content-Type": "text/plain; version=0.0.4"})

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=limits.SHUTDOWN_CUT_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    listener = _bind(app.config.metrics_host, app.config.metrics_port, "--metrics-listen")
    await web.SockSite(runner, listener).start()


def _bind(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another --host or {option}"
        ) from error
    return listener


async def _open_views(app: Application, stack: AsyncExitStack) -> Views:
    """Opens, catches up or builds the views in a thread; health answers meanwhile, ready says how far it is."""
    path, log_path = app.config.data_dir / "views.db", app.config.data_dir / "events.db"

    def progressed(done: int, total: int) -> None:
        app.progress = (done, total)

    views = await views_in_step(path, log_path, app.installation, progressed)
    stack.callback(views.close)
    app.views = open_reader(path)
    stack.callback(app.views.close)
    return views


def _begin(app: Application, running: Running, crash: CrashPoints, stack: AsyncExitStack) -> None:
    """Those who listen to the writer, and the loops."""
    config = app.config
    app.writer.on_broken = running.broken
    app.checkpoints = Checkpoints(config.data_dir, app.keyring, app.clock, app.installation, app.epoch)
    app.checkpoints.begin(app.writer.log.position, app.writer.log.link)
    stack.push_async_callback(app.checkpoints.close)  # once the writer has ended
    stack.push_async_callback(app.writer.close)
    app.hub = Hub(app.log, app.writer.log.position)
    app.writer.on_commit += [app.forget, app.gate.forget, app.rates.committed, app.hub.committed]
    app.writer.on_commit.append(app.checkpoints.committed)
    app.writer.on_caught_up += [app.listed.clear, app.hub.caught_up]
    upstreams = Upstreams(config.dns_upstreams)
    app.names = _answering_names(app, upstreams)
    stack.push_async_callback(app.names.close)
    app.meter = Meter(app.engine, app.writer, app.views, app.clock, app.installation)
    platform_ = Platform(
        writer=app.writer,
        views=app.views,
        engine=app.engine,
        router=app.router,
        keyring=app.keyring,
        clock=app.clock,
        names=app.names,
        upstreams=upstreams,
        installation=app.installation,
        epoch=app.epoch,
        domain=config.domain,
        drain_s=config.drain_s,
        deploy_timeout_s=config.deploy_timeout_s,
        meter=app.meter,
        builder=app.builder,
        build_timeout_s=config.build_timeout_s,
        build_logs=app.build_logs,
        database_files=DatabaseFiles(config.data_dir / DATABASE_BACKUPS, app.keyring, config.disk_full_percent),
        keep_suspended_s=config.keep_suspended_s,
    )
    app.runner = Runner(platform_, app.log, crash)
    app.runner.on_broken = running.broken
    app.reconciler = Reconciler(platform_, app.runner, config.reconcile_s)
    app.follower = Follower(platform_, [_own_route(app)], config.reconcile_s)
    app.disks = DiskWatch(platform_, config.data_dir, config.disk_warn_percent, config.disk_full_percent)
    app.collector = Collector(platform_)
    app.metering = Metering(config.data_dir, app.installation)
    schedule = Schedule(config.data_dir, config.backup_folder, config.backup_every_s, app.clock)
    watches = (app.disks, app.collector, app.meter, app.metering)
    for loop in (*watches, app.follower, app.runner, app.reconciler, schedule):
        loop.begin()
        stack.push_async_callback(loop.close)
    app.read_damage = running.read_damage
    app.ready.set()


def _answering_names(app: Application, upstreams: Upstreams) -> Responders:
    """Who answers names in tenants' networks; it begins to with the first look."""
    return Responders(
        sites=lambda tenant_id: sites(app.views, app.installation, tenant_id),
        find=lambda tenant_id, labels: zone.find(app.views, tenant_id, labels),
        upstreams=upstreams,
        clock=app.clock,
    )


def _own_route(app: Application) -> Route:
    """The API as the router has it: `api.<domain>`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(app.config.host, app.config.host)  # noqa: S104 — nothing is bound
    server = f"[{host}]:{app.port}" if ":" in host else f"{host}:{app.port}"
    return Route("api", (f"api.{app.config.domain}",), (server,))
