"""Whether this machine has what a server with these settings needs, looked at part by part, without a server.

Nothing is changed: what is tried is taken back. A part that the settings do without is skipped, not a fault.
"""

import errno
import fcntl
import os
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import aiohttp
import apsw
from msgspec import Struct

from ahplat import limits
from ahplat.builders.choice import choose_builder
from ahplat.clock import Clock
from ahplat.config import Config
from ahplat.effects.disks import Disk, level_at
from ahplat.errors import Unavailable
from ahplat.routers.choice import kind_of
from ahplat.routers.traefik import TraefikApi
from ahplat.sealing import KeyFileBad, read_master_key
from events.database import open_reader
from events.log import head, read_all

_RUNSC = 'put {"runtimes":{"runsc":{"path":"…/runsc"}}} into /etc/docker/daemon.json, then send dockerd a SIGHUP'


class Finding(Struct, frozen=True):
    """What was seen of one part. `remedy` is there where it is a fault."""

    name: str
    state: Literal["ok", "fault", "skipped"]
    said: str
    remedy: str = ""


def ok(name: str, said: str) -> Finding:
    return Finding(name, "ok", said)


def fault(name: str, said: str, remedy: str) -> Finding:
    return Finding(name, "fault", said, remedy)


def skipped(name: str, said: str) -> Finding:
    return Finding(name, "skipped", said)


async def look(config: Config, clock: Clock) -> list[Finding]:
    """All parts, in the order in which a server needs them."""
    found = [folder(config.data_dir), key(config.data_dir)]
    engine, root = await _engine(config, clock)
    found += engine
    if root is not None:
        found += [await registry(config.registry), await builds(config), firewall(), names()]
    found += [await router(config), *disks(config, root or ""), clock_of(config.data_dir, clock.now_us())]
    return [*found, *ports(config)]


def folder(data_dir: Path) -> Finding:
    """Whether the data folder can be written, or made."""
    there = _nearest(data_dir)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return fault("folder", f"{there} cannot be written", "run as the user that it belongs to, or give --data-dir")
    return ok("folder", f"{data_dir}" if there == data_dir else f"{data_dir} will be made")


def _nearest(data_dir: Path) -> Path:
    """The folder, or what it will be made in."""
    return next(path for path in (data_dir, *data_dir.parents) if path.exists())


def key(data_dir: Path) -> Finding:
    """Whether the master key is there, whole, and nobody else's to read."""
    path = data_dir / "master.key"
    try:
        if not path.exists() and not (data_dir / "keys.db").exists():
            return ok("key", "master.key will be made")
        read_master_key(path, may_make=False)
    except KeyFileBad as error:
        said, _, remedy = str(error).rpartition(": ")
        return fault("key", said, remedy)
    except OSError as error:
        return fault("key", f"{path} cannot be read ({error.strerror})", "run as the user that it belongs to")
    return ok("key", "master.key, mode 0600")


async def _engine(config: Config, clock: Clock) -> tuple[list[Finding], str | None]:
    """(Docker and gVisor, Docker's own folder; None where Docker is not what services run on)."""
    if config.engine == "embedded":
        return [skipped("docker", "the embedded engine is used")], None
    from ahplat.engines.docker import DockerEngine  # the SDK costs memory, so only who runs it pays

    engine = DockerEngine("", config.data_dir, base_url=config.docker_host or None)
    try:
        status = await engine.status()
    finally:
        await engine.close()
    if config.engine == "auto" and config.dev and not (status.available and status.runtime):
        return [skipped("docker", f"the embedded engine is used: {status.detail}")], None
    if not status.available:
        remedy = "install Docker Engine and start it; if it is elsewhere, say where with --docker-host"
        return [fault("docker", status.detail, remedy)], None
    docker = ok("docker", f"Docker {status.version}")
    if not status.runtime:
        return [docker, fault("runsc", status.detail or "Docker has no runtime runsc", _RUNSC)], status.root
    return [docker, await runsc(config, status.runtime, clock)], status.root


async def runsc(config: Config, version: str, clock: Clock) -> Finding:
    """Whether a container starts under gVisor."""
    from ahplat.engines import trial
    from ahplat.engines.dockerd import Dockerd

    dockerd = Dockerd(config.docker_host or None)
    began = clock.monotonic()
    try:
        image = await dockerd.call(trial.run)
    except Unavailable as error:
        return fault("runsc", f"no container starts: {error.detail}", "`runsc do true` as root says more; " + _RUNSC)
    finally:
        dockerd.close()
    if not image:
        return skipped("runsc", f"{version}; no image here to try it with: docker pull one, such as alpine")
    return ok("runsc", f"{version}, started a container of {image} in {clock.monotonic() - began:.1f} s")


async def registry(address: str) -> Finding:
    """Whether the registry that builds push to answers."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limits.ROUTER_REQUEST_S)) as session,
            session.get(f"http://{address}/v2/") as response,
        ):
            if response.status == 200:
                return ok("registry", address)
            said = f"{address} answers {response.status}"
    except (aiohttp.ClientError, TimeoutError, OSError):
        said = f"nothing answers on {address}"
    return fault(
        "registry", said, "run a registry there, which listens on loopback only; builds need it, images do not"
    )


async def builds(config: Config) -> Finding:
    """Whether what builds need is on the PATH."""
    status = await (await choose_builder(config, "docker", "")).status()
    if status.available:
        return ok("builds", f"{status.name}{f', {status.detail}' if status.detail else ''}")
    return fault("builds", status.detail, "install it where the server's PATH finds it, CNI plugins in /usr/lib/cni")


def firewall() -> Finding:
    """Whether the host's own addresses can be shut to tenants."""
    if shutil.which("iptables") is None:
        return fault("firewall", "no iptables on the PATH", "install iptables: without it no service starts")
    return ok("firewall", "iptables")


def names() -> Finding:
    """Whether port 53 of tenants' gateways will be free: who listens on all addresses has those too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.83.83.83", 53))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                remedy = "have it listen on its own addresses: port 53 of tenants' gateways is the platform's"
                return fault("names", "a DNS server listens on 0.0.0.0:53", remedy)
            return fault("names", f"port 53 cannot be listened on ({error.strerror})", "run the server as root")
    return ok("names", "port 53 is free")


async def router(config: Config) -> Finding:
    """Whether Traefik answers, where requests go through it."""
    if kind_of(config) == "builtin":
        return ok("router", "built in: the API's port forwards to services")
    api = TraefikApi(config.traefik_api)
    try:
        version = await api.version()
    except Unavailable as error:
        return fault("router", error.detail, "start Traefik with deploy/traefik, its API where --traefik-api says")
    finally:
        await api.close()
    return ok("router", f"Traefik {version}")


def disks(config: Config, engine_root: str) -> list[Finding]:
    """How full the disks of the log and of Docker are."""
    places = [("disk", _nearest(config.data_dir))]
    if Path(engine_root or "/-").exists():
        places.append(("docker disk", Path(engine_root)))
    found = []
    for name, place in places:
        disk = Disk(*shutil.disk_usage(place))
        said = f"{disk.used_percent:.0f} % of {disk.total / 1e9:.0f} GB used"
        level = level_at(disk.used_percent, "ok", config.disk_warn_percent, config.disk_full_percent)
        remedy = "make room: from --disk-full on deployments, builds and databases are refused"
        found.append(ok(name, said) if level == "ok" else fault(name, said, remedy))
    return found


def clock_of(data_dir: Path, now_us: int) -> Finding:
    """Whether the clock goes with the log, where there is one: by a wrong one what is kept for a while is removed."""
    now = f"{datetime.fromtimestamp(now_us / 1e6, UTC):%F %T}Z"
    path = data_dir / "events.db"
    if not path.exists():
        return ok("clock", now)
    try:
        with open_reader(path) as log:
            last = read_all(log, head(log) - 1, 1)
    except apsw.Error as error:
        return fault("log", f"{path} cannot be read ({error})", "`ah verify` says more; restore it from a backup")
    off_s = (now_us - last[0].at_us) / 1e6 if last else 0.0
    if off_s > limits.CLOCK_GAP_S:
        return fault("clock", f"{now}, {off_s / 86_400:.0f} days after the log's end", "set it, or --accept-clock once")
    if off_s < -limits.CLOCK_JUMP_S:
        return fault(
            "clock", f"{now}, {-off_s / 60:.0f} minutes before the log's end", "set it: an NTP client keeps it"
        )
    return ok("clock", now)


def ports(config: Config) -> list[Finding]:
    """Whether what the server listens on is free, or its own already."""
    wanted = [("--port", config.host, config.port)]
    if config.metrics_port and not config.dev:
        wanted.append(("--metrics-listen", config.metrics_host, config.metrics_port))
    if is_served(config.data_dir):
        return [ok("ports", "the server that runs over this folder has them")]
    return [_port(*one) for one in wanted]


def _port(option: str, host: str, port: int) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            said = f"{host}:{port} cannot be listened on ({error.strerror})"
            return fault("ports", said, f"end what has it (`ss -ltnp` says what that is), or choose another {option}")
    return ok("ports", f"{host}:{port} is free")


def is_served(data_dir: Path) -> bool:
    """Whether a server holds the folder."""
    try:
        with (data_dir / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
