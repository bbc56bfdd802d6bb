"""What a service's container is made of, and how Docker's answer reads: values in, values out, no call.

`create_config` is the body of `POST /containers/create`, to the exact argument. It keeps one invariant: whatever the
image or the tenant says, a container runs under gVisor, within its limits, without a writable disk of the host, and
with our labels on it.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from ahplat import limits
from ahplat.engines.engine import Identity, Image, Instance, Mount, Network, Spec, State, identity_of

RUNTIME = "runsc"
RESOLV_CONF = "/etc/resolv.conf"
TMPFS_OPTIONS = "rw,noexec,nosuid,nodev"
TMPFS_MB = {"/tmp": 64, "/run": 16, "/var/run": 16, "/var/tmp": 16}  # noqa: S108 — inside the container
VOLUME_TMPFS_MB = 64
STATES: dict[str, State] = {
    "created": "created",
    "running": "running",
    "restarting": "running",
    "paused": "paused",
    "removing": "removing",
    "exited": "exited",
    "dead": "exited",
}
RUNS = ("running", "paused", "restarting")  # Docker's own words

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")  # the name that Docker gives to a volume without one

Fit = Literal["same", "other", "stranger"]
Health = Literal["healthy", "unhealthy", "starting"]
HEALTHS: dict[str, Health] = {"healthy": "healthy", "unhealthy": "unhealthy", "starting": "starting"}


def create_config(
    spec: Spec, image: Image, resolver: Path, volumes: Iterable[str] = (), runtime: str = RUNTIME
) -> dict[str, object]:
    """The exact arguments of a service's container; `volumes` are the paths that the image declares as VOLUME.

    `resolver` is what it sees as /etc/resolv.conf, in place of Docker's, whose own server gVisor does not see.

    Labels are the router's, then what the identity says, and nothing else, so neither image nor caller overrides them.
    """
    return {
        "Image": image.pinned,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": spec.labels | spec.identity.labels(),
        "StopSignal": spec.stop_signal,
        "StopTimeout": limits.STOP_GRACE_S,
        "HostConfig": host_config(spec, volumes, runtime)
        | {"Mounts": [resolver_mount(resolver), *(mounted(mount) for mount in spec.mounts)]},
        **({"Cmd": list(spec.command)} if spec.command else {}),
        **({"NetworkingConfig": endpoint_of(spec)} if spec.address else {}),
    }


def endpoint_of(spec: Spec) -> dict[str, object]:
    """An address of its own in the tenant's network."""
    return {"EndpointsConfig": {spec.network.name: {"IPAMConfig": {"IPv4Address": spec.address}}}}


def host_config(spec: Spec, volumes: Iterable[str], runtime: str) -> dict[str, object]:
    """Limits, privileges and surroundings, as the table *Service container* of ENGINE.md has them."""
    memory = spec.memory_mb * 1024 * 1024
    return {
        "Runtime": runtime,
        "Memory": memory,
        "MemorySwap": memory,  # the sum of memory and swap: no swap
        "NanoCpus": spec.cpu_milli * 1_000_000,
        "PidsLimit": limits.CONTAINER_PIDS,
        "Ulimits": [{"Name": "nofile", "Soft": limits.CONTAINER_FILES, "Hard": limits.CONTAINER_FILES}],
        "ReadonlyRootfs": True,
        "Tmpfs": tmpfs(path for path in volumes if cleaned(path) not in {mount.path for mount in spec.mounts}),
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges=true"],
        "RestartPolicy": {"Name": "no"},
        "PublishAllPorts": False,
        "NetworkMode": spec.network.name,
        "LogConfig": {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}},
        **({"CapAdd": list(spec.capabilities)} if spec.capabilities else {}),
        **({"ExtraHosts": [f"{name}:{address}" for name, address in spec.hosts.items()]} if spec.hosts else {}),
    }


def resolver_mount(resolver: Path) -> dict[str, object]:
    """The one file of the host that a container sees, and may only read."""
    return {"Type": "bind", "Source": str(resolver), "Target": RESOLV_CONF, "ReadOnly": True}


def mounted(mount: Mount) -> dict[str, object]:
    """A volume in a container. Whoever owns the path in the image owns the volume, when it is new."""
    return {"Type": "volume", "Source": mount.volume, "Target": mount.path}


def tmpfs(volumes: Iterable[str]) -> dict[str, str]:
    """Where a container may write. A VOLUME of the image becomes one more: Docker would give it the host's disk.

    >>> tmpfs(["/data"])["/data"]
    'rw,noexec,nosuid,nodev,size=64m'
    """
    sizes = dict.fromkeys(map(cleaned, volumes), VOLUME_TMPFS_MB) | TMPFS_MB
    return {path: f"{TMPFS_OPTIONS},size={size}m" for path, size in sizes.items() if path != RESOLV_CONF}


def cleaned(path: str) -> str:
    """A VOLUME's path as Docker takes it: by its letters alone, whatever links the image has there.

    >>> cleaned("/link/../srv"), cleaned("//data/"), cleaned("data")
    ('/srv', '/data', '/data')
    """
    return posixpath.normpath("/" + path.lstrip("/"))


class _Health(Struct, rename="pascal"):
    status: str = "none"


class _State(Struct, rename="pascal"):
    status: str
    exit_code: int = 0
    oom_killed: bool = field(default=False, name="OOMKilled")
    health: _Health | None = None


class _Config(Struct, rename="pascal"):
    env: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""


class _HostConfig(Struct, rename="pascal"):
    network_mode: str = ""


class _Endpoint(Struct):
    address: str = field(default="", name="IPAddress")


class _NetworkSettings(Struct, rename="pascal"):
    networks: dict[str, _Endpoint] | None = None


class _Mount(Struct, rename="pascal"):
    type: str = ""
    name: str = ""
    destination: str = ""


class Inspected(Struct, rename="pascal"):
    """The part of Docker's `GET /containers/{id}/json` that is read."""

    id: str
    name: str
    state: _State
    config: _Config
    host_config: _HostConfig
    network_settings: _NetworkSettings
    mounts: list[_Mount] | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, those of the image among them."""
        return self.config.labels or {}

    @property
    def stop_signal(self) -> str:
        """What asks it to end."""
        return self.config.stop_signal or "SIGTERM"

    @property
    def status(self) -> str:
        """Docker's own word for its state."""
        return self.state.status


class Summary(Struct, rename="pascal"):
    """The part of Docker's `GET /containers/json` that is read, of one container."""

    id: str
    created: int = 0
    names: list[str] = []  # with a slash before them; none of one that is being removed
    labels: dict[str, str] | None = None


def summaries(answer: object) -> list[Summary]:
    """Reads Docker's list of containers. Raises msgspec.ValidationError when it is none."""
    return msgspec.convert(answer, list[Summary])


def copies(found: Iterable[Summary]) -> set[str]:
    """The ids of those that somebody made with another one's labels: what has a name of ours is ours, or was made first.

    Docker's list has whole seconds, so two may have been made at once.

    >>> of = {"ah.service": "s", "ah.attempt": "1"}
    >>> copies([Summary("a", 20, ["/a"], of), Summary("b", 20, ["/ah-b"], of), Summary("c", 30, ["/c"], {"ah.service": "t"})])
    {'a'}
    """

    def rank(one: Summary) -> tuple[bool, int, str]:
        return not any(name.startswith("/ah-") for name in one.names), one.created, one.id

    first: dict[frozenset[tuple[str, str]], str] = {}
    later = set()
    for one in sorted(found, key=rank):
        ours = frozenset((key, value) for key, value in (one.labels or {}).items() if key.startswith("ah."))
        if first.setdefault(ours, one.id) != one.id:
            later.add(one.id)
    return later


def inspected(answer: object) -> Inspected:
    """Reads an answer of Docker's. Raises msgspec.ValidationError when it is not one."""
    return msgspec.convert(answer, Inspected)


def fit(found: Inspected, identity: Identity) -> Fit:
    """Whether what holds the name is what we want, something else of this installation, or not ours at all."""
    if found.labels.get("ah.instance") != identity.instance:
        return "stranger"
    theirs = identity_of(found.labels)
    return "same" if theirs is not None and identity.same_as(theirs) else "other"


def instance_of(found: Inspected) -> Instance | None:
    """The instance as the port has it; None when its labels are not whole."""
    identity = identity_of(found.labels)
    if identity is None:
        return None
    state = STATES.get(found.status, "exited")
    host, port = address_of(found)
    return Instance(
        id=found.id,
        name=found.name.removeprefix("/"),
        identity=identity,
        state=state,
        host=host,
        port=port,
        exit_code=found.state.exit_code if state == "exited" else None,
        oom_killed=found.state.oom_killed,
        health=HEALTHS.get(found.state.health.status) if found.state.health else None,
    )


def anonymous_volumes(found: Inspected) -> list[str]:
    """Where the image got a writable disk of the host that nobody asked for: there is to be none."""
    mounts = found.mounts or []
    return [one.destination for one in mounts if one.type == "volume" and _ANONYMOUS.fullmatch(one.name)]


def off_its_network(found: Inspected) -> bool:
    """Whether it runs where nobody reaches it: somebody took it off its network. What does not run has no address."""
    endpoint = (found.network_settings.networks or {}).get(found.host_config.network_mode)
    return found.status in RUNS and (endpoint is None or not endpoint.address)


def joined(found: Inspected, network: Network) -> bool:
    """Whether it is, or will be once it starts, on a network besides the one that it was made for."""
    return network.name in (found.network_settings.networks or {})


def address_in(found: Inspected, network: Network) -> str:
    """Its address in one network; "" where it is not in it, or does not run."""
    endpoint = (found.network_settings.networks or {}).get(network.name)
    return endpoint.address if endpoint else ""


def address_of(found: Inspected) -> tuple[str, int]:
    """Its address on the network that it was made for, and its PORT; ("", 0) where it cannot be reached."""
    endpoint = (found.network_settings.networks or {}).get(found.host_config.network_mode)
    port = next((value for name, _, value in _pairs(found.config.env) if name == "PORT"), "")
    if endpoint is None or not endpoint.address or not port.isdecimal() or port == "0":
        return "", 0
    return endpoint.address, int(port)


def _pairs(env: list[str] | None) -> Iterable[tuple[str, str, str]]:
    return (entry.partition("=") for entry in env or ())


def end_of(pieces: Iterable[bytes], lines: int, size: int) -> str:
    """The last `lines` lines of what comes in pieces, in at most `size` bytes of UTF-8, held in twice that.

    >>> end_of([b"one\\ntwo\\n", b"thr", b"ee"], 2, 100)
    'two\\nthree'
    """
    last = bytearray()
    for piece in pieces:
        last += piece
        if len(last) > 2 * size:
            del last[:-size]
    text = b"".join(last.splitlines(keepends=True)[-lines:] if lines > 0 else []).decode(errors="replace")
    return text.encode()[-size:].decode(errors="ignore")
