"""The platform itself: whether it is well, and what it counts."""

from msgspec import UNSET, Struct, UnsetType

from ahplat import limits
from ahplat.api.application import Application
from ahplat.api.auth import Token
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.route import Route
from ahplat.commands.effects import Unpark
from ahplat.effects import disks
from ahplat.effects.garbage import Garbage
from ahplat.errors import Rejected, Unavailable
from ahplat.metrics import exposition
from events.log import head
from events.selection import position_in
from projections import todo


class Health(Struct, frozen=True):
    """The least that can be said."""

    status: str


async def health(call: Call) -> Reply:
    """The process answers. Nothing else is looked at."""
    return json_reply(Health("ok"))


class Ready(Struct, frozen=True):
    """Which parts are there: "ok", or what is the matter."""

    status: str
    log: str
    views: str
    engine: str
    router: str  # which one, and whether it answers; services go on without


class NotReady(Unavailable):
    """Something that commands or reads need is not there."""

    def __init__(self, **parts: str) -> None:
        wrong = [f"{name}: {text}" for name, text in parts.items() if text != "ok"]
        super().__init__("not_ready", "; ".join(wrong), 2)
        self.parts = parts


async def ready(call: Call) -> Reply:
    """Whether commands are decided, reads are in step and the engine answers; if not, 503 says which part it is."""
    app = call.app
    if not app.ready.is_set():
        done, total = app.progress
        raise NotReady(log="ok", views=f"building: {done} of {total} events", engine="unknown")
    engine = await app.engine.status()
    parts = {"log": "stopping" if app.closing else "ok", "views": "ok"}
    parts["engine"] = "ok" if engine.available else engine.detail or "away"
    if set(parts.values()) != {"ok"}:
        raise NotReady(**parts)
    router = await app.router.status()
    told = router.name if router.available else f"{router.name}, away: {router.detail}"
    return json_reply(Ready(status="ok", router=told, **parts))


class Part(Struct, frozen=True):
    """A part of the machine. `version` is absent where it is not known."""

    available: bool
    version: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Disk(Struct, frozen=True):
    """A file system. `level`: ok, low (warned of), full (nothing is begun that grows)."""

    total_gb: float
    free_gb: float
    used_percent: float
    level: str


class LogPart(Struct, frozen=True):
    """How far the log goes, which life of it this is, and when it was last signed, in unix seconds."""

    position: int
    epoch: int
    checkpoint_at: int | UnsetType = UNSET


class EffectsPart(Struct, frozen=True):
    """Work without an outcome: how much, how long the oldest has been waiting, how much waits for an operator."""

    open: int
    oldest_s: int
    parked: int


class EnginePart(Struct, frozen=True):
    """Where services run. `isolated` is false where they share the host's kernel with the platform."""

    name: str
    available: bool
    isolated: bool


class BuildsPart(Struct, frozen=True):
    """Whether builds can run. `isolated` is false where their steps share the host's kernel with the platform."""

    name: str
    available: bool
    isolated: bool
    detail: str | UnsetType = UNSET


class RouterPart(Part, frozen=True):
    """What brings requests to services: builtin, files or labels."""

    name: str = ""


class ClockPart(Struct, frozen=True):
    """Whether the machine's clock is followed; `off_s` is by how much it is away from the log's time where it is not.

    Below 0 the log is ahead: the clock was set back while the server ran, or had been ahead before it started.
    """

    followed: bool
    off_s: int | UnsetType = UNSET


class Detailed(Struct, frozen=True, kw_only=True):
    """Everything that a status tool shows."""

    status: str
    docker: Part
    gvisor: Part
    disk: Disk  # which the log is on
    docker_disk: Disk | UnsetType = UNSET  # which the engine has for its own
    engine: EnginePart
    router: RouterPart
    names: Part
    builds: BuildsPart
    clock: ClockPart
    log: LogPart
    effects: EffectsPart
    unknown: int  # things in the engine that say they are ours and that the log does not know, at the last look


async def detailed(call: Call) -> Reply:
    """How each part of the platform is: engine, router, builds, disks, log and the work that is open."""
    return json_reply(await look(call.app))


async def look(app: Application) -> Detailed:
    """Asks every part how it is."""
    engine, router = await app.engine.status(), await app.router.status()
    unjoined = app.reconciler.memberships.problem
    is_routed = router.available and not unjoined
    builder = await app.builder.status()
    await app.disks.look()
    seen = {name: _disk(disk) for name, disk in app.disks.seen.items()}
    is_full = any(disk.level == "full" for disk in seen.values())
    open_work = todo.open_of_all(app.views)
    now_us = app.clock.now_us()
    is_docker = engine.name == "docker"
    return Detailed(
        status="ok" if engine.available and is_routed and not is_full else "degraded",
        docker=Part(is_docker and engine.available, (is_docker and engine.version) or UNSET, engine.detail or UNSET),
        gvisor=Part(bool(engine.runtime), engine.runtime or UNSET),
        disk=seen["log"],
        docker_disk=seen.get("engine", UNSET),
        engine=EnginePart(engine.name, engine.available, engine.isolated),
        router=RouterPart(is_routed, router.version or UNSET, unjoined or router.detail or UNSET, router.name),
        names=_names(app),
        builds=BuildsPart(builder.name, builder.available, builder.isolated, builder.detail or UNSET),
        clock=ClockPart(not app.clock.off_s, int(app.clock.off_s) or UNSET),
        log=_log(app),
        effects=EffectsPart(
            open=len(open_work),
            oldest_s=max([0, *(now_us - work.since_us for work in open_work)]) // 1_000_000,
            parked=sum(work.parked for work in open_work),
        ),
        unknown=len(app.collector.strangers),
    )


def _log(app: Application) -> LogPart:
    signed = app.checkpoints.last
    return LogPart(head(app.log), app.epoch, signed.checkpoint.at_s if signed else UNSET)


def _disk(disk: disks.Disk) -> Disk:
    return Disk(round(disk.total / 1e9, 1), round(disk.free / 1e9, 1), round(disk.used_percent, 1), disk.level)


def _names(app: Application) -> Part:
    """Whether services' names are answered wherever there is a network of ours."""
    if app.engine.name == "embedded":
        return Part(False, detail="the embedded engine has no networks: services reach each other by their URLs")
    failures = sorted(app.names.failures.values())
    return Part(not failures, detail="; ".join(failures)[: limits.DETAIL_CHARS] or UNSET)


class TokenBody(Token):
    """A bootstrap token in a body, by either name."""

    token: str = ""


class Valid(Struct, frozen=True):
    """Whether the token is one of the operator's."""

    valid: bool


async def validate_token(call: Call) -> Reply:
    """Says whether a bootstrap token is one of the operator's; wrong ones are limited like failed keys."""
    body = call.body(TokenBody)
    token = call.request.headers.get("X-Bootstrap-Token") or body.token or body.bootstrap_token
    return json_reply(Valid(call.app.gate.bootstrap(token, call.address)))


async def metrics(call: Call) -> Reply:
    """Prometheus' text format."""
    return Reply(200, exposition(call.app), "text/plain; version=0.0.4; charset=utf-8")


class Unparked(Struct, frozen=True):
    """The work that is tried again."""

    intent: int


async def unpark(call: Call) -> Reply:
    """Has work that was parked after many failures tried again."""
    call.body(Token)
    text = call.path_id()
    work = todo.find(call.views, position_in(text) or 0)
    if work is None:
        raise Rejected("effect_not_found", f"no open work has the position {text[:20]}")
    command = Unpark(tenant_id=work.tenant_id, intent=work.intent)
    return await call.order(command, lambda _: Unparked(work.intent))


class GarbageItem(Struct, frozen=True):
    """`kind`: image, network, volume, registry (blobs). `due_at` is when it may go; layers that are shared count in each."""

    kind: str
    name: str
    bytes: int
    due_at: int


class StrangerItem(Struct, frozen=True):
    """Something that carries this installation's label, and that the log does not know: it is left alone."""

    kind: str
    name: str
    tenant_id: str


class GarbageFound(Struct, frozen=True):
    """What is garbage, or was removed, and what is only told of."""

    garbage: list[GarbageItem]
    unknown: list[StrangerItem]


async def garbage(call: Call) -> Reply:
    """What would be removed, and when; and what is not known."""
    return _garbage(call, await call.app.collector.look())


async def collect(call: Call) -> Reply:
    """Removes what may be removed by now, and says what that was. A dry run says what there is, and when it may go."""
    call.body(Token)
    if call.is_dry:
        return await garbage(call)
    return _garbage(call, await call.app.collector.sweep())


def _garbage(call: Call, found: list[Garbage]) -> Reply:
    unknown = [StrangerItem(one.kind, one.name, one.tenant) for one in call.app.collector.strangers]
    items = [GarbageItem(one.kind, one.name, one.bytes, one.due_us // 1_000_000) for one in found]
    return json_reply(GarbageFound(items, unknown))


ROUTES = [
    Route("GET", "/v1/system/health", health, "get_health", auth="none", answer=Health, early=True),
    Route("GET", "/v1/system/ready", ready, "get_ready", auth="none", answer=Ready, codes=("not_ready",), early=True),
    Route("GET", "/v1/system/health/detailed", detailed, "get_health_details", answer=Detailed),
    Route(
        "POST",
        "/v1/system/bootstrap-token/validate",
        validate_token,
        "validate_bootstrap_token",
        auth="none",
        body=TokenBody,
        answer=Valid,
        asks=True,
        codes=("auth_rate_limited",),
    ),
    Route(
        "POST",
        "/v1/system/effects/{position}/unpark",
        unpark,
        "unpark_effect",
        auth="operator",
        body=Token,
        answer=Unparked,
        codes=("not_parked",),
    ),
    Route("GET", "/v1/system/garbage", garbage, "list_garbage", auth="operator", answer=GarbageFound),
    Route(
        "POST",
        "/v1/system/garbage/collect",
        collect,
        "collect_garbage",
        auth="operator",
        body=Token,
        answer=GarbageFound,
        asks=True,
        destroys=True,
    ),
    Route("GET", "/metrics", metrics, "read_metrics", auth="metrics", text=True),
]
