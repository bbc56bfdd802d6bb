"""Docker Engine of our own: own socket, data, configuration and bridge, so that another Docker here is never touched.

The firewall is the one thing that two daemons of a machine would share (the second to start clears the rules of the
first), so ours does not start beside a stranger.
"""

import http.client
import json
import re
import signal
import socket
from contextlib import suppress
from pathlib import Path

from tests.parts import gvisor, registry, versions
from tests.parts.cache import folder, write
from tests.parts.programs import Daemon, PartFailed, find, lives, run

RUN = Path("/run/ahplat-parts")  # a socket's path is at most 107 characters long, and a cache folder may lie deep
SOCKET = RUN / "docker.sock"
HOST = f"unix://{SOCKET}"
BRIDGE, BRIDGE_ADDRESS = "parts0", "10.201.0.1/24"  # not "ah…": that is how the platform names its own
POOL = "10.202.0.0/16"  # apart from the platform's 10.128.0.0/12


def missing() -> list[str]:
    """One line when dockerd is here and too old."""
    program = find("dockerd")
    found = re.search(r"version (\d+)\.(\d+)", run(program, "--version")) if program else None
    if found and (int(found[1]), int(found[2])) < versions.DOCKERD:
        return [f"dockerd: {found[1]}.{found[2]} is too old; install {'.'.join(map(str, versions.DOCKERD))} or newer"]
    return []


def start() -> bool:
    """Starts dockerd, and starts it again when its configuration is another by now. False when it ran already."""
    daemon = _daemon()
    changed = write(folder("docker") / "daemon.json", json.dumps(_settings(), indent=2) + "\n")
    if changed:
        daemon.stop()
    if daemon.pid() is None:
        _refuse_beside_a_stranger()
        _forget_the_dead()
        _make_bridge()
    return daemon.start()


def stop(with_signal: signal.Signals = signal.SIGTERM) -> bool:
    """Stops dockerd, and with SIGTERM all of its containers. SIGKILL is how a test makes it crash. False: did not run."""
    return _daemon().stop(with_signal)


def pid() -> int | None:
    """The process that we started, None when it is gone."""
    return _daemon().pid()


def running() -> bool:
    """Whether the one that we started answers."""
    return _daemon().pid() is not None and answers()


def answers() -> bool:
    """Whether an engine speaks on our socket."""
    connection = http.client.HTTPConnection("localhost")
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(str(SOCKET))
        connection.request("GET", "/version")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def client(*argv: str) -> str:
    """Runs the docker client that came with dockerd on our engine, and returns what it wrote. Raises PartFailed."""
    settings = {"DOCKER_CONFIG": str(folder("docker", "client")), "DOCKER_BUILDKIT": "0"}
    return run(client_path(), "--host", HOST, *argv, env=settings)


def client_path() -> str:
    """The client of the distribution where there are several: a newer one without its plugins cannot build."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else find("docker") or "docker"


def _daemon() -> Daemon:
    config = folder("docker") / "daemon.json"
    return Daemon("dockerd", (find("dockerd") or "dockerd", "--config-file", str(config)), answers)


def _settings() -> dict[str, object]:
    return {
        "hosts": [HOST],
        "data-root": str(folder("docker", "data")),
        "exec-root": str(RUN / "exec"),
        "pidfile": str(RUN / "docker.pid"),
        "bridge": BRIDGE,
        "default-address-pools": [{"base": POOL, "size": 24}],
        "registry-mirrors": [f"http://{registry.ADDRESS}"],
        "allow-nondistributable-artifacts": ["docker.io"],  # else every pull first looks that name up: 10 s without DNS
        "runtimes": {"runsc": {"path": str(gvisor.path())}},
    }


def _refuse_beside_a_stranger() -> None:
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if comm.read_text() == "dockerd\n" and _network_of(comm.parent) == _network_of(Path("/proc/self")):
                raise PartFailed(
                    f"another dockerd (pid {comm.parent.name}) has the firewall that ours needs: stop it first"
                )


def _forget_the_dead() -> None:
    """Pid files that a killed dockerd left: the next one would take them at their word."""
    for left in (RUN / "docker.pid", RUN / "exec/containerd/containerd.pid"):
        if left.exists() and not lives(int(left.read_text())):
            left.unlink()


def _network_of(process: Path) -> Path:
    return (process / "ns/net").readlink()


def _make_bridge() -> None:
    RUN.mkdir(exist_ok=True)
    if BRIDGE not in (name for _, name in socket.if_nameindex()):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", BRIDGE_ADDRESS, "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
