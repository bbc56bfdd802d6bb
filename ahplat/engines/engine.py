"""The port that every engine implements: docker, embedded, the simulated one of the tests, later swarm.

An engine knows images, networks and instances; it knows no tenant's plan, no event and no HTTP. Every call is safe to
repeat: names are deterministic, and what is there already is adopted when all its identity labels say that it is the
same thing. Calls that fail because the engine is not there raise `EngineAway`; what the caller asked for and cannot
have raises `Rejected` with a stable code; what the engine or a registry fails at for now raises `Unavailable`; nothing
else is expected to escape.
"""

import ipaddress
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

State = Literal["created", "running", "paused", "exited", "removing"]  # the last: somebody is taking it away


class Identity(Struct, frozen=True):
    """Who an instance is, as its labels say. Labels identify; they are never the source that state is repaired from."""

    instance: str  # this installation
    epoch: int  # which life of the log
    tenant: str
    service: str
    deployment: str
    number: int  # of the deployment, counted per service from 1
    replica: int  # from 1
    position: int  # of the intent that asked for it
    spec: str  # keyed hash of what was asked for
    attempt: int  # to be read only: labels cannot change, so an adopted instance keeps its first
    database: str = ""  # of a database's server, which is no service's (of a scratch server the backup's id): then
    # service and deployment are ""

    def labels(self) -> dict[str, str]:
        """The `ah.*` labels; all values are strings. A service's and a database's are told apart by which is there."""
        absent = ("service", "deployment") if self.database else ("database",)
        return {f"ah.{field}": str(getattr(self, field)) for field in self.__struct_fields__ if field not in absent}

    @property
    def subject(self) -> str:
        """The id of the service or the database."""
        return self.service or self.database

    def same_as(self, other: "Identity") -> bool:
        """Whether an instance with the identity `other` may be adopted as this one."""
        mine, theirs = self.labels(), other.labels()
        return mine | {"ah.attempt": ""} == theirs | {"ah.attempt": ""}


def identity_of(labels: dict[str, str]) -> Identity | None:
    """Reads labels back; None when they are not ours or not whole.

    >>> identity_of({"ah.instance": "x"}) is None
    True
    """
    try:
        return Identity(
            instance=labels["ah.instance"],
            epoch=int(labels["ah.epoch"]),
            tenant=labels["ah.tenant"],
            service="" if labels.get("ah.database") else labels["ah.service"],
            deployment="" if labels.get("ah.database") else labels["ah.deployment"],
            number=int(labels["ah.number"]),
            replica=int(labels["ah.replica"]),
            position=int(labels["ah.position"]),
            spec=labels["ah.spec"],
            attempt=int(labels["ah.attempt"]),
            database=labels.get("ah.database", ""),
        )
    except (KeyError, ValueError):
        return None


class Network(Struct, frozen=True):
    """A network of one tenant: `subnet` is a /26 in CIDR form, `bridge` at most 15 characters and starting with "ah".

    From one that is not `internal` the internet is reached, and nothing else; its bridge starts with "aho".
    """

    name: str
    bridge: str
    subnet: str
    instance: str  # this installation
    tenant: str
    internal: bool = True

    @property
    def gateway(self) -> str:
        """The host's own address in it, where names are answered.

        >>> Network("n", "ah0", "10.128.0.64/26", "i", "t").gateway
        '10.128.0.65'
        """
        return str(ipaddress.ip_network(self.subnet)[1])

    @property
    def router(self) -> str:
        """The address that is kept for the router's container: services get lower ones, databases higher ones.

        >>> Network("n", "ah0", "10.128.0.64/26", "i", "t").router
        '10.128.0.96'
        """
        whole = ipaddress.ip_network(self.subnet)
        return str(whole[whole.num_addresses // 2])


class RouterJoined(Struct, frozen=True):
    """The router's container, by its id, was put to its address in a tenant's network.

    `found` is the address that it had there before, "" where it was not in it.
    """

    tenant: str
    container: str
    found: str


class RouterSeen(Struct, frozen=True):
    """Where the router's container was put, and why it cannot be in all networks: "" where it is in all of them."""

    joined: list[RouterJoined] = []
    problem: str = ""


ROUTER = "router"  # what a watch says when something of the router's container may have changed


class Image(Struct, frozen=True):
    """What was fetched. `digest` is the content's own (`sha256:…`), and fetching it again is a no-op.

    `pinned` is the form to run and to keep: `name@sha256:…` for docker, the folder image's own for embedded.
    """

    reference: str
    digest: str
    pinned: str


class Volume(Struct, frozen=True):
    """What outlives instances: a named place to write that is the tenant's, mounted where a spec says."""

    name: str
    instance: str  # this installation
    tenant: str


class Mount(Struct, frozen=True):
    """A volume, by name, and the path under which an instance sees it."""

    volume: str
    path: str


class Belonging(Struct, frozen=True):
    """Something that says of itself that it is this installation's, whoever made it. `tenant` is "" where it names none."""

    kind: Literal["container", "network", "volume"]
    name: str
    tenant: str = ""
    subject: str = ""  # of a container the id of the service or database; "" where its labels are not whole, or copied


class Spec(Struct, frozen=True):
    """One instance to run, in the engine's terms but no engine's in particular."""

    name: str  # deterministic, at most 63 characters
    identity: Identity
    env: dict[str, str]
    port: int  # that the service listens on, 0 for a worker without one
    memory_mb: int
    cpu_milli: int  # thousandths of a core
    network: Network
    egress: Network | None = None  # through which it reaches the internet; None: it does not
    address: str = ""  # its own in the upper half of the network, "" for any of the lower; where there are networks
    hosts: dict[str, str] = {}  # names that it knows besides → addresses
    mounts: tuple[Mount, ...] = ()  # of volumes that are there
    command: tuple[str, ...] = ()  # in place of the image's own, for the image's entrypoint; never a secret
    capabilities: tuple[str, ...] = ()  # that its entrypoint needs to drop root; none for a service
    stop_signal: str = "SIGTERM"
    labels: dict[str, str] = {}  # for the router


class Instance(Struct, frozen=True):
    """One instance as seen now. `host` and `port` are where the platform itself reaches it, "" and 0 when it cannot."""

    id: str
    name: str
    identity: Identity
    state: State
    host: str = ""
    port: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    health: Literal["healthy", "unhealthy", "starting"] | None = None  # of the image's own HEALTHCHECK, if it has one


class LogLine(Struct, frozen=True):
    """One line of what an instance wrote, without its end. `at_ns` is unix time, 0 where nobody noted it."""

    at_ns: int
    text: bytes  # at most `limits.LOG_LINE_BYTES`, and a note where it was cut


Bunch = list[LogLine]  # some lines, oldest first: what there is at a time


class Execution(Struct, frozen=True):
    """How a command in an instance ended. Of each output at most `limits.EXEC_OUTPUT_BYTES` are kept.

    `exit_code` as a shell has it: 126 what cannot be executed, 127 what is not there, 128 + n killed by signal n; None
    when nobody can tell it, because the instance ended with it.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool  # more was written, and dropped
    timed_out: bool  # it was killed after its time


class Counters(Struct, frozen=True):
    """How far an instance's counters have come since it was started, and how much memory it holds now."""

    cpu_us: int
    memory_bytes: int
    rx_bytes: int = 0  # 0 where there are no networks
    tx_bytes: int = 0


class EngineStatus(Struct, frozen=True):
    """Whether the engine answers, and in which versions. `isolated` is False where services share the host's kernel."""

    name: str
    available: bool
    isolated: bool
    version: str = ""
    runtime: str = ""  # version of runsc, "" when it is not there
    detail: str = ""
    root: str = ""  # the folder in which it keeps images and containers, "" where it is not its own


class Engine(Protocol):
    """See the module. All methods may be called at the same time, for different instances."""

    name: str
    grants_egress: bool  # whether a service can be let out to the internet
    mounts_volumes: bool  # whether a service can be given a volume at a path

    async def status(self) -> EngineStatus:
        """Never raises: an engine that is away says so in the answer."""

    async def fetch(self, reference: str, cancelled: Callable[[], bool]) -> Image:
        """Pulls what a tag names now; a digest that is there already is not pulled again.

        `cancelled` is asked between chunks; when it says so the pull ends early with `Rejected("cancelled", …)`.
        Raises: Rejected `image_not_found`, `image_forbidden` (it carries `ah.*` or `traefik.*` labels of its own),
        `image_unusable`; EngineAway.
        """

    async def image_sizes(self, pinned: Sequence[str]) -> dict[str, int]:
        """Of those images the ones that are kept here by themselves, with their bytes. Raises EngineAway."""

    async def remove_image(self, pinned: str, names: Sequence[str]) -> bool:
        """Removes the image, with those of `names` by which it was fetched; false, and nothing done, where it is in use."""

    async def ensure_network(self, network: Network) -> None:
        """Makes the network where it is missing, found by name and label, never twice; repairs what guards it.

        The router's container, where the engine was told of one and it is there, joins an internal one that is made.
        """

    async def remove_network(self, network: Network) -> None:
        """Removes it where it is, once the router's container left it. Raises Rejected `network_in_use`."""

    async def join_router(self, networks: Sequence[Network]) -> RouterSeen:
        """Has the router's container be in those of the internal networks that are there, at the address kept for it.

        Nothing happens where the engine was told of none. Raises EngineAway; that the container is away is in the answer.
        """

    async def guard(self) -> list[str]:
        """Repairs what protects the host; one line for each thing that was found missing, none when all stood."""

    async def find_or_start(self, spec: Spec, image: Image) -> Instance:
        """Makes `spec` run and returns it, running or just exited.

        Probes first: an instance of that name with the same identity is adopted when it runs and started when it does
        not; one of this installation with another identity is removed and replaced; a stranger's is never touched
        (Rejected `name_taken`).
        """

    async def ensure_volume(self, volume: Volume) -> None:
        """Makes the volume where it is missing. Raises Rejected `name_taken` where it is a stranger's."""

    async def remove_volume(self, volume: Volume) -> None:
        """Removes it with all that is in it, where it is. Raises Unavailable `volume_in_use`."""

    async def volume_bytes(self) -> dict[str, int]:
        """How much each volume of this installation holds, by name. Reads every file of every volume: not for often."""

    async def belongings(self) -> list[Belonging]:
        """All that carries this installation's mark, by kind and name, also what no other method would show."""

    async def inspect(self, instance_id: str) -> Instance | None:
        """None when it does not exist (any more)."""

    async def counters(self, instance_ids: Sequence[str]) -> dict[str, Counters]:
        """Of those of them that run and whose counters can be read. Raises EngineAway."""

    async def list_databases(self, database: str | None = None) -> list[Instance]:
        """Every database's server of this installation, and every scratch server, in any state and of any epoch; of one
        database, or one backup, where it is named."""

    async def list(self, service: str | None = None) -> list[Instance]:
        """Every service's instance of this installation, in any state and of any epoch; of one where it is named."""

    async def stop(self, instance_id: str, grace_s: int) -> None:
        """Its stop signal, then SIGKILL after `grace_s`. Nothing happens where it does not run or does not exist."""

    async def remove(self, instance_id: str) -> None:
        """Removes it with its logs, by force. Nothing happens where it does not exist."""

    async def tail(self, instance_id: str, lines: int) -> str:
        """The last `lines` of what it wrote to stdout and stderr; "" where there is nothing or it is gone.

        Decoded as UTF-8 with replacement, never more than `limits.TAIL_BYTES`.
        """

    def logs(
        self, instance_id: str, tail: int | None = None, since_ns: int = 0, follow: bool = False
    ) -> AsyncGenerator[Bunch, None]:
        """What it wrote to stdout and stderr, oldest first, in bunches: the last `tail` lines (None: all that is kept)
        that are not older than `since_ns`; with `follow` also what it writes from now on, until it ends.

        Holds at most `limits.LOG_AHEAD_BYTES` that the caller did not take yet, and reads no further until it does.
        Nothing where it does not exist. Close it to let go of what it reads. Raises EngineAway.
        """

    async def execute(self, instance_id: str, argv: Sequence[str], mark: str, timeout_s: float) -> Execution:
        """Runs a command in it, without stdin, and waits for its end, at most `timeout_s`.

        `mark` (an id) stands in the command's environment as `limits.EXEC_MARK`, which is how its processes are known:
        all that it started is killed when its time is over, when this call is cancelled, and when the command ends.
        Raises Rejected `not_running`; EngineAway.
        """

    def pipe(
        self, instance_id: str, argv: Sequence[str], mark: str, stdin: AsyncIterator[bytes] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Runs a command in it, gives it `stdin`, and yields what it writes to stdout, as it comes, to its end.

        What is held is bounded: the command waits while nobody takes what it writes, and `stdin` is asked for no more than
        the command takes. `mark` is as for `execute`: nothing of the command is left when this has ended, for whatever
        reason. Close it to end it before. What `stdin` raises ends it, too, and the command never sees an end of its stdin.
        Raises Rejected `command_failed` (with the last of its stderr) where it ends with anything but 0, `not_running`;
        EngineAway.
        """

    async def end_execution(self, instance_id: str, mark: str) -> None:
        """Kills what a command left in it, whoever started that. Nothing happens where it does not run."""

    def watch(self) -> AsyncIterator[str]:
        """Yields the id of a service or a database whenever something of it may have changed, until closed, and ROUTER.

        A hint only: level, not edge.
        """

    async def close(self) -> None:
        """Lets go of connections and threads. Instances go on running."""
