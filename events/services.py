"""What happened to services: what was asked for, what became of it, and what was found."""

from msgspec import Struct, field

from events.event import Event, Intent, Outcome


class ServiceCreated(Event, frozen=True, tag="service.created"):
    """A service exists, by name and label. Nothing runs yet."""

    name: str
    label: str
    image: str  # "" while it waits for its first build
    port: int
    memory_mb: int
    cpu_milli: int
    health_path: str
    egress: str
    replicas: int
    volumes: dict[str, str] = field(default_factory=dict)  # of the tenant, by name → where it is mounted
    drain_s: int | None = None  # None: what the platform has


class ServiceConfigured(Event, frozen=True, tag="service.configured"):
    """Settings were changed; they hold from the next deployment on. None is "as it was"."""

    name: str | None = None
    label: str | None = None
    image: str | None = None
    port: int | None = None
    memory_mb: int | None = None
    cpu_milli: int | None = None
    health_path: str | None = None
    egress: str | None = None
    replicas: int | None = None
    volumes: dict[str, str] | None = None
    drain_s: int | None = None


class ServiceEnvSet(Event, frozen=True, tag="service.env_set"):
    """Variables were set or replaced. Values are sealed for the tenant before they become a fact."""

    sealed: dict[str, bytes]


class ServiceEnvUnset(Event, frozen=True, tag="service.env_unset"):
    """A variable was taken away."""

    key: str


class ServiceEnvRestored(Event, frozen=True, tag="service.env_restored"):
    """The variables are again what they were at `env_version`, a version of this stream."""

    env_version: int


class ServiceDeployRequested(Intent, frozen=True, tag="service.deploy_requested"):
    """A deployment is to take the place of what serves now, with exactly these settings.

    `env_version` is the version of this stream whose variables it gets. `image` is a tag, or pinned to a digest.
    """

    deployment_id: str
    number: int
    trigger: str
    image: str
    port: int
    memory_mb: int
    cpu_milli: int
    health_path: str
    egress: str
    replicas: int
    env_version: int
    volumes: dict[str, str] = field(default_factory=dict)


class Target(Struct, frozen=True):
    """One healthy instance and where the platform reaches it."""

    replica: int
    instance: str
    host: str
    port: int


class ServiceInstanceHealthy(Outcome, Intent, frozen=True, tag="service.instance_healthy"):
    """All instances of the deployment passed their health check: the route is to move to them. What serves still serves."""

    deployment_id: str
    digest: str
    pinned: str
    targets: list[Target]


class ServiceRouteFailed(Outcome, frozen=True, tag="service.route_failed"):
    """The router never came to answer with the deployment: it is gone, and what served before still does."""

    deployment_id: str
    code: str
    detail: bytes = b""  # sealed
    tail: bytes = b""  # sealed


class ServiceRouted(Outcome, Intent, frozen=True, tag="service.routed"):
    """The router answers with the deployment: what served before is to be drained and removed."""

    deployment_id: str


class ServiceDrained(Outcome, frozen=True, tag="service.drained"):
    """Only the deployment that serves is left; `removed` are the instances that went."""

    deployment_id: str
    removed: list[str]


class ServiceDeployFailed(Outcome, frozen=True, tag="service.deploy_failed"):
    """The deployment did not come to serve; what served before still does. `tail` is the last of its log."""

    deployment_id: str
    code: str
    detail: bytes = b""  # sealed
    tail: bytes = b""  # sealed


class ServiceDeploySuperseded(Outcome, frozen=True, tag="service.deploy_superseded"):
    """Something newer was accepted before this deployment came to serve: nobody waits for it any longer."""

    deployment_id: str


class ServiceDeployCancelled(Outcome, frozen=True, tag="service.deploy_cancelled"):
    """The tenant called the deployment off before it came to serve."""

    deployment_id: str


class ServiceStopRequested(Intent, frozen=True, tag="service.stop_requested"):
    """Nothing of the service is to run."""


class ServiceStopped(Outcome, frozen=True, tag="service.stopped"):
    """Nothing of the service runs; its settings, variables and history stay."""

    removed: list[str]


class ServiceDeleteRequested(Intent, frozen=True, tag="service.delete_requested"):
    """The service is gone for its tenant; its name is free. What it left in the engine is to be removed."""


class ServiceDeleted(Outcome, frozen=True, tag="service.deleted"):
    """Nothing of the service is left in the engine."""

    removed: list[str]


class ServiceBuildFailed(Outcome, frozen=True, tag="service.build_failed"):
    """A build for the service came to nothing; what serves, if anything does, goes on."""

    build_id: str
    code: str
    detail: bytes = b""  # sealed


class ServiceDrifted(Event, frozen=True, tag="service.drifted"):
    """What runs is not what should run: `finding` says how (missing, exited, paused, stray, moved, renamed, foreign_epoch)."""

    deployment_id: str
    finding: str
    replica: int = 0
    instance: str = ""


class ServiceCrashed(Event, frozen=True, tag="service.crashed"):
    """An instance that should run ended by itself. `crash_count` counts the crashes of the breaker's window."""

    deployment_id: str
    replica: int
    instance: str
    crash_count: int
    exit_code: int | None = None
    oom_killed: bool = False
    tail: bytes = b""  # sealed
    memory_mb: int = 0  # that it might use, where it was killed for using more


class ServiceRepairRequested(Intent, frozen=True, tag="service.repair_requested"):
    """What should run is to run again, and what should not is to go; not before `due_us`."""

    deployment_id: str
    due_us: int = 0


class ServiceRepaired(Outcome, frozen=True, tag="service.repaired"):
    """What runs is what should run. `targets` is where it answers now."""

    deployment_id: str
    targets: list[Target]
    removed: list[str]


class ServiceRepairFailed(Outcome, frozen=True, tag="service.repair_failed"):
    """What should run could not be brought to answer. It counts as a crash; the next attempt is a new intent."""

    deployment_id: str
    code: str
    detail: bytes = b""  # sealed
    tail: bytes = b""  # sealed


class ServiceWorkSuperseded(Outcome, frozen=True, tag="service.work_superseded"):
    """Something newer was accepted: this repair or this draining is no longer wanted."""


class ServiceRouteRepaired(Event, frozen=True, tag="service.route_repaired"):
    """The router had been told something else than where the service answers: `finding` says what (missing, changed)."""

    finding: str


class ServiceCircuitOpened(Event, frozen=True, tag="service.circuit_opened"):
    """It crashed too often in too short a time, or in a try: it is stopped until somebody looks, or it is tried again."""

    crash_count: int
    try_at_us: int = 0


class ServiceCircuitHalfOpened(Event, frozen=True, tag="service.circuit_half_opened"):
    """The service is tried once more, the `trial`-th time since its circuit was closed; after that not before `try_at_us`."""

    trial: int
    try_at_us: int


class ServiceCircuitClosed(Event, frozen=True, tag="service.circuit_closed"):
    """It was healthy for an hour: the crashes are forgotten."""


class ServiceCircuitReset(Event, frozen=True, tag="service.circuit_reset"):
    """Somebody looked: the crashes are forgotten."""


EVENTS = (
    ServiceCreated,
    ServiceConfigured,
    ServiceEnvSet,
    ServiceEnvUnset,
    ServiceEnvRestored,
    ServiceDeployRequested,
    ServiceInstanceHealthy,
    ServiceRouteFailed,
    ServiceRouted,
    ServiceDrained,
    ServiceDeployFailed,
    ServiceDeploySuperseded,
    ServiceDeployCancelled,
    ServiceStopRequested,
    ServiceStopped,
    ServiceDeleteRequested,
    ServiceDeleted,
    ServiceBuildFailed,
    ServiceDrifted,
    ServiceCrashed,
    ServiceRepairRequested,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceWorkSuperseded,
    ServiceRouteRepaired,
    ServiceCircuitOpened,
    ServiceCircuitHalfOpened,
    ServiceCircuitClosed,
    ServiceCircuitReset,
)
