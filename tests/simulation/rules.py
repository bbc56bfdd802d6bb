"""What holds of a simulated platform: some of it after each step, the rest once it has come to rest.

Each rule is counted here anew from the log or from the machine, by no code of the platform's that it judges.
"""

from collections import Counter, defaultdict
from typing import Any

from ahplat import limits
from ahplat.effects.specs import deployment_up
from events.catalog import decode
from events.event import Intent, Outcome, Recorded, wire_name
from events.services import (
    ServiceCircuitOpened,
    ServiceCircuitReset,
    ServiceCrashed,
    ServiceDeleteRequested,
    ServiceDeployRequested,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRouted,
    ServiceStopRequested,
)
from events.usage import UsageMeasured
from projections import databases, instances, routes, services, tenants
from projections.metering import Figures
from tests.simulation.clients import Clients
from tests.simulation.faults import CRAWL_S
from tests.simulation.machine import EFFECT_OF, Broke
from tests.simulation.server import ACTOR, Server

CRASHES, CRASH_WINDOW_US = limits.CRASHES, limits.CRASH_WINDOW_S * 1_000_000  # read before any mutation
DEPLOY = wire_name(ServiceDeployRequested)
ENDS = (ServiceStopRequested, ServiceDeleteRequested, ServiceCircuitOpened)
AMOUNTS = ("cpu_us", "rx_bytes", "tx_bytes")
AT_REST = ("running", "failed", "stopped", "crashed", "superseded", "cancelled")
LATE_US = int(CRAWL_S + 300) * 1_000_000  # that an outcome may be late: a call may be under way when the faults end


def hold(is_so: object, rule: str, detail: Any = "") -> None:
    """Raises Broke where a rule is broken."""
    if not is_so:
        raise Broke(rule, str(detail))


class Rules:
    """See the module."""

    def __init__(self, server: Server, clients: Clients) -> None:
        self.server, self.clients = server, clients
        host = server.host
        self.strangers = dict(host.strangers)
        self.networks = dict(host.networks)
        self.volumes = dict(host.volumes)
        self._read = 0  # how far the log was read
        self._crashes: defaultdict[str, list[int]] = defaultdict(
            list
        )  # service → when it crashed since it was forgiven
        self._intents: dict[int, tuple[Recorded, int]] = {}  # open work, and when it was first attempted
        self._outcomes: set[int] = set()
        self._counters: dict[str, tuple[int, int, int]] = {}  # container → as it was last told
        self._used: defaultdict[str, Counter[str]] = defaultdict(Counter)  # tenant → what the log says that it used
        self._up_since: dict[str, tuple[str, int]] = {}  # service that runs → its tenant, and since when
        self._ran: Counter[str] = Counter()  # tenant → seconds that its services ran, of what does not any more
        self._by_client: dict[str, list[Recorded]] = defaultdict(list)
        self.faults_end_us = 2**63  # from when on deadlines are kept without excuse

    # after each step

    def step(self) -> None:
        """What costs little."""
        server = self.server
        if server.host.said:
            raise server.host.said[0]
        self._read_on()
        for kept, there in ((self.strangers, server.host.instances), (self.networks, server.host.networks)):
            hold(all(there.get(id_) == one for id_, one in kept.items()), "strangers are left alone", kept)
        hold(all(server.host.volumes.get(id_) == one for id_, one in self.volumes.items()), "strangers are left alone")
        if not server.died.is_set():
            self._lists()
            self._one_deploy()

    def _lists(self) -> None:
        """What each tenant is shown is what it was told that it has."""
        views = self.server.views
        for tenant in self.clients.tenants:
            if tenant.standing == "erased" or self.server.is_leaving(tenant.tenant_id):
                continue
            shown = {row.service_id for row in services.list_of(views, tenant.tenant_id)}
            hold(shown == tenant.services, "a list has one tenant's", f"{shown} of {tenant.services}")
            shown = {row.database_id for row in databases.list_of(views, tenant.tenant_id)}
            hold(shown == tenant.databases, "a list has one tenant's", f"{shown} of {tenant.databases}")

    def _one_deploy(self) -> None:
        """Nobody waits behind a deployment that is known to be dead."""
        waiting = Counter(at.stream for at, _ in self._intents.values() if at.type == DEPLOY)
        hold(all(count == 1 for count in waiting.values()), "the newer supersedes", waiting)

    def _read_on(self) -> None:
        for at in self.server.recorded_after(self._read):
            self._read = at.position
            self._fold(at, decode(at.type, at.data))

    def _fold(self, at: Recorded, event: Any) -> None:
        if isinstance(event, Outcome):
            hold(event.intent not in self._outcomes, "one outcome", f"a second of {event.intent} at {at.position}")
            self._outcomes.add(event.intent)
            self._check_deadline(at, event.intent)
        if isinstance(event, Intent):
            self._intents[at.position] = (at, 0)
        if at.type == "effect.attempted" and event.intent in self._intents:
            opened, first_us = self._intents[event.intent]
            self._intents[event.intent] = (opened, first_us or at.at_us)
        if isinstance(event, ServiceCrashed | ServiceRepairFailed):
            self._crash(at)
        elif isinstance(event, ServiceCircuitReset | ServiceDeployRequested):
            self._crashes[at.stream].clear()
        elif isinstance(event, UsageMeasured):
            self._measure(at, event)
        self._run(at, event)
        meta = at.decoded_meta()
        if meta.actor == ACTOR:
            self._by_client[meta.correlation].append(at)

    def _crash(self, at: Recorded) -> None:
        """So many crashes within the window, and the service is left alone until somebody looks."""
        times = [one for one in self._crashes[at.stream] if one > at.at_us - CRASH_WINDOW_US]
        self._crashes[at.stream] = [*times, at.at_us]
        hold(len(times) < CRASHES, "the breaker opens", f"{at.stream} crashed {len(times) + 1} times in the window")

    def _check_deadline(self, at: Recorded, intent: int) -> None:
        opened, first_us = self._intents.pop(intent)
        deadline_s = EFFECT_OF[opened.type].deadline_s
        if first_us and deadline_s != float("inf"):
            last_us = max(first_us, self.faults_end_us) + int(deadline_s * 1e6) + LATE_US
            hold(at.at_us <= last_us, "deadlines hold", f"{opened.type} of {intent} ended at {at.position}")

    def _measure(self, at: Recorded, event: UsageMeasured) -> None:
        for one in event.readings:
            now = (one.cpu_us, one.rx_bytes, one.tx_bytes)
            before = self._counters.get(one.instance, (0, 0, 0))
            is_anew = any(late < early for late, early in zip(now, before, strict=True))
            for name, late, early in zip(AMOUNTS, now, before, strict=True):
                self._used[at.tenant][name] += late if is_anew else late - early
            self._used[at.tenant]["memory_mb_s"] += one.memory_mb_s
            self._counters[one.instance] = now

    def _run(self, at: Recorded, event: Any) -> None:
        """A service runs from the moment when it is routed to, or repaired, until nothing of it is wanted to run."""
        if isinstance(event, ServiceRouted) or (isinstance(event, ServiceRepaired) and event.targets):
            self._up_since.setdefault(at.stream, (at.tenant, at.at_s))
        elif isinstance(event, ENDS) and at.stream in self._up_since:
            tenant_id, since_s = self._up_since.pop(at.stream)
            self._ran[tenant_id] += at.at_s - since_s

    def _ran_s(self, tenant_id: str, until: int) -> int:
        return self._ran[tenant_id] + sum(until - since for of, since in self._up_since.values() if of == tenant_id)

    # at rest

    async def rest(self) -> None:
        """All of it. No fault is at work, and time was given."""
        self.step()
        self._everything_ended()
        for (service_id,) in list(self.server.views.execute("SELECT service_id FROM service")):
            self._service(service_id)
        self._databases()
        self._nothing_else()
        self._acknowledged()
        await self._metered()

    def _everything_ended(self) -> None:
        server = self.server
        now_us = server.clock.now_us()
        late = [work for work in server.work if work.since_us <= now_us]
        hold(not late, "everything reaches an outcome", late)

    def _service(self, service_id: str) -> None:
        """What runs is what should run."""
        server = self.server
        server.service_id = service_id
        service, up = server.service, deployment_up(server.views, server.service)
        rule = "what runs is what should run"
        hold(set(server.statuses) <= set(AT_REST), rule, server.statuses)
        hold(server.statuses.count("running") == (1 if up else 0), rule, server.statuses)
        placed = {row.instance for row in instances.list_of(server.views, service_id)}
        hold({one.id for one in server.instances} == placed, rule, f"{service_id}: {server.instances}, {placed}")
        wanted = ["running"] * (up.replicas if up else 0)
        hold([one.state for one in server.instances] == wanted, rule, server.instances)
        hold((service.status == "running") == (up is not None), rule, service)
        tenant = tenants.find(server.views, service.tenant_id)
        shown = routes.targets_of(server.views, service.label, tenant.label) if tenant and up else []
        hold({one.instance for one in shown} == placed, "routes go to what serves", shown)

    def _databases(self) -> None:
        server = self.server
        for row in databases.list_all(server.views):
            found = [one for one in server.host.instances.values() if one.identity.database == row.database_id]
            wanted = ["running"] if row.desired == "running" else []
            hold(row.status == "running" or not wanted, "what runs is what should run", row)
            hold([one.state for one in found] == wanted, "what runs is what should run", f"{row}: {found}")

    def _nothing_else(self) -> None:
        """No container but of what is there, and none of a tenant that is not active."""
        server = self.server
        active = {row.tenant_id for row in tenants.list_ever(server.views) if row.status == "active"}
        for one in server.host.instances.values():
            if one.id not in self.strangers:
                hold(one.identity.tenant in active, "what runs is what should run", one)

    def _acknowledged(self) -> None:
        """Each command that was accepted is in the log once, as was told; of one that was refused nothing is."""
        told = {ack.key: ack for ack in self.server.acks}
        for key, ack in told.items():
            found = self._by_client.get(key, [])
            positions = [at.position for at in found]
            is_nothing = ack.first == ack.last and not found  # it changed nothing, and was told where the log stood
            wanted = [] if is_nothing else list(range(ack.first, ack.last + 1))
            hold(positions == wanted, "each accepted command once", f"{ack}: {positions}")
            hold(all(at.tenant == ack.tenant_id for at in found), "each accepted command once", ack)
        for key in self._by_client:
            hold(key in told, "each accepted command once", f"{key} was refused, and is in the log")
        links = {at.position: at.link for at in self.server.recorded()}
        lost = [position for position, link in self.server.told.items() if links.get(position) != link]
        hold(not lost, "what was acknowledged is there", lost)

    async def _metered(self) -> None:
        """Sums hold: of the parts, of what the log says, and never more than was used."""
        server = self.server
        used: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for id_, tenant_id in server.host.tenant_of.items():
            used[tenant_id].update(server.host.used_by(id_))
        until = server.clock.now_us() // 1_000_000
        since = until - until % 3_600 - 400 * 3_600
        for tenant in self.clients.tenants:
            whole = total(await server.figures(tenant.tenant_id, since, until, 0))
            parts = total(await server.figures(tenant.tenant_id, since, until, 3_600))
            hold(whole == parts, "sums of metering hold", f"{whole}, in parts {parts}")
            for name in (*AMOUNTS, "memory_mb_s"):
                counted = self._used[tenant.tenant_id][name]
                hold(whole[name] == counted, "sums of metering hold", f"{name}: {whole[name]}, the log says {counted}")
            ran_s = self._ran_s(tenant.tenant_id, until)
            hold(whole["service running_s"] == ran_s, "sums of metering hold", f"ran {whole}, the log says {ran_s} s")
            for name in AMOUNTS:
                most = used[tenant.tenant_id][name]
                hold(whole[name] <= most, "sums of metering hold", f"{name}: {whole[name]}, at most {most} were used")


def total(figures: list[Figures]) -> Counter[str]:
    """Amounts by name."""
    sums: Counter[str] = Counter()
    for one in figures:
        for name in (*AMOUNTS, "memory_mb_s", "running_s", "reserved_mb_s", "reserved_milli_s", "build_s"):
            sums[name] += getattr(one, name)
        sums[f"{one.kind} running_s"] += one.running_s
        sums.update({f"stored {kind}": held for kind, held in one.stored_byte_s.items()})
    return sums
