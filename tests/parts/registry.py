"""The image registry on the loopback, which Docker also takes for its mirror of Docker Hub.

So `docker pull hello:1` is a real pull, digest and all, although nothing outside this machine is reached.
"""

import json
import socket
import urllib.error
import urllib.request

from tests.parts import packages, versions
from tests.parts.cache import folder, write
from tests.parts.programs import Daemon, PartFailed

HOST, PORT = "127.0.0.1", 5000  # the port is part of image names, in the platform's own too
ADDRESS = f"{HOST}:{PORT}"


def start() -> bool:
    """False when it ran already. Raises PartFailed, also when its port belongs to a stranger."""
    daemon = _daemon()
    if daemon.pid() is None and _port_taken():
        raise PartFailed(f"{ADDRESS} is taken by a process that bin/parts did not start: stop that one first")
    return daemon.start()


def stop() -> bool:
    """False when it did not run."""
    return _daemon().stop()


def running() -> bool:
    """Whether the one that we started answers."""
    return _daemon().pid() is not None and answers()


def answers() -> bool:
    """Whether a registry speaks on the port."""
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}/v2/", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def holds(image: str) -> bool:
    """Whether `name:tag` is in its storage; it need not run for that."""
    name, _, tag = image.partition(":")
    tags = folder("registry", "data") / "docker/registry/v2/repositories/library" / name / "_manifests/tags"
    return (tags / tag / "current/link").exists()


def _daemon() -> Daemon:
    config = folder("registry") / "config.json"
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder("registry", "data"))}, "delete": {"enabled": True}},
        "http": {"addr": ADDRESS},
    }
    write(config, json.dumps(settings, indent=2) + "\n")  # JSON is YAML
    return Daemon(
        "registry", (packages.unpacked(versions.REGISTRY) or versions.REGISTRY, "serve", str(config)), answers
    )


def _port_taken() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, PORT)) == 0
