"""Whatever a tenant does, in whatever order, and however its work comes out: what has to hold, holds."""

from collections import Counter
from contextlib import ExitStack

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ahplat.commands.command import Command
from ahplat.commands.deployments import (
    CancelDeployment,
    DeployImage,
    ResetService,
    RestartService,
    RollBack,
    StartService,
)
from ahplat.commands.effects import BeginAttempt, Conclude
from ahplat.commands.instances import FailRepair, ReportCrash, ReportDrift
from ahplat.commands.services import ConfigureService, CreateService, DeleteService, SetEnv, StopService, UnsetEnv
from ahplat.errors import Rejected
from events.event import Event, wire_name
from events.log import read_all
from events.services import (
    ServiceConfigured,
    ServiceDeleted,
    ServiceDeleteRequested,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDrained,
    ServiceDrifted,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairFailed,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceStopped,
    ServiceStopRequested,
    Target,
)
from events.tenants import TenantQuotasSet
from projections import env, instances, services, todo
from projections.todo import TodoRow
from tests.commands.facts import a_service, a_tenant
from tests.commands.given import OTHER_SERVICE, SERVICE, TENANT, a_world, given, later

QUOTAS = {"max_services": 2, "max_memory_mb": 1000, "max_cpu_cores": 2, "max_env_vars_per_service": 2}
SERVICES = strategies.sampled_from([SERVICE, OTHER_SERVICE, "3" * 32, "4" * 32])
SIZES = strategies.fixed_dictionaries(
    {
        "memory_mb": strategies.sampled_from([100, 400, 1000, 1001]),
        "cpu_milli": strategies.sampled_from([100, 1000, 2000]),
        "replicas": strategies.integers(1, 3),
    }
)
KEYS = strategies.sampled_from(["A", "B", "C"])


class RandomTenant(RuleBasedStateMachine):
    """One tenant, four ids of services, and an engine that does as chance will have it."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.world = self.stack.enter_context(a_world())
        self.made = 0
        given(a_tenant(), TenantQuotasSet(QUOTAS))

    def order(self, command: Command) -> None:
        try:
            self.world.decide(command)
        except Rejected:
            assert not self.world.log.db.in_transaction

    def new_id(self) -> str:
        self.made += 1
        return f"d{self.made}"

    # what the tenant does

    @rule(service=SERVICES, size=SIZES, env=strategies.sets(KEYS), image=strategies.sampled_from(["web:1", ""]))
    def create(self, service: str, size: dict[str, int], env: set[str], image: str) -> None:
        if services.find(self.world.views.db, service) is None:
            created = a_service(f"web-{len(env)}", image=image, **size)
            sealed = dict.fromkeys(sorted(env), b"sealed")
            deployment = self.new_id()
            self.order(
                CreateService(
                    tenant_id=TENANT, service_id=service, created=created, env=sealed, deployment_id=deployment
                )
            )

    @rule(service=SERVICES, size=SIZES)
    def configure(self, service: str, size: dict[str, int]) -> None:
        self.order(ConfigureService(tenant_id=TENANT, service_id=service, changes=ServiceConfigured(**size)))

    @rule(service=SERVICES, key=KEYS)
    def set_env(self, service: str, key: str) -> None:
        self.order(SetEnv(tenant_id=TENANT, service_id=service, sealed={key: b"%d" % self.made}))

    @rule(service=SERVICES, key=KEYS)
    def unset_env(self, service: str, key: str) -> None:
        self.order(UnsetEnv(tenant_id=TENANT, service_id=service, key=key))

    @rule(service=SERVICES, image=strategies.sampled_from(["", "web:2"]))
    def deploy(self, service: str, image: str) -> None:
        self.order(DeployImage(tenant_id=TENANT, service_id=service, deployment_id=self.new_id(), image=image))

    @rule(service=SERVICES, way=strategies.sampled_from([StartService, RestartService, ResetService, RollBack]))
    def deploy_again(self, service: str, way: type[StartService]) -> None:
        self.order(way(tenant_id=TENANT, service_id=service, deployment_id=self.new_id()))

    @rule(service=SERVICES, back=strategies.integers(0, 3))
    def cancel(self, service: str, back: int) -> None:
        self.order(CancelDeployment(tenant_id=TENANT, service_id=service, deployment_id=f"d{self.made - back}"))

    @rule(service=SERVICES, end=strategies.sampled_from([StopService, StopService, DeleteService]))
    def end(self, service: str, end: type[StopService] | type[DeleteService]) -> None:
        self.order(end(tenant_id=TENANT, service_id=service))

    # what the world does

    @rule(ends_well=strategies.booleans())
    def work(self, ends_well: bool) -> None:
        """The oldest open work is carried to an outcome, also where nobody wants it any more."""
        for work in todo.open_of_all(self.world.views.db)[:1]:
            self.order(BeginAttempt(tenant_id=TENANT, intent=work.intent))
            outcome = self.outcome(work, ends_well)
            self.order(
                Conclude(tenant_id=TENANT, intent=work.intent, attempt=1, stream=work.subject, outcome=[outcome])
                if not isinstance(outcome, ServiceRepairFailed)
                else FailRepair(
                    tenant_id=TENANT,
                    service_id=work.subject.partition("-")[2],
                    intent=work.intent,
                    attempt=1,
                    seen_us=self.world.now_us,
                    failure=outcome,
                )
            )

    def outcome(self, work: TodoRow, ends_well: bool) -> Event:
        intent, deployment = work.intent, work.deployment_id
        targets = [Target(0, f"{deployment}-{intent}", "10.0.0.2", 8000)]
        well: dict[str, Event] = {
            wire_name(ServiceDeployRequested): ServiceInstanceHealthy(intent, deployment, "d", "web@d", targets),
            wire_name(ServiceInstanceHealthy): ServiceRouted(intent, deployment),
            wire_name(ServiceRouted): ServiceDrained(intent, deployment, []),
            wire_name(ServiceStopRequested): ServiceStopped(intent, []),
            wire_name(ServiceDeleteRequested): ServiceDeleted(intent, []),
            wire_name(ServiceRepairRequested): ServiceRepaired(intent, deployment, targets, []),
        }
        badly: dict[str, Event] = {
            wire_name(ServiceDeployRequested): ServiceDeployFailed(intent, deployment, "unhealthy"),
            wire_name(ServiceRepairRequested): ServiceRepairFailed(intent, deployment, "unhealthy"),
        }
        return well[work.type] if ends_well else badly.get(work.type, well[work.type])

    @rule(service=SERVICES, drifts=strategies.booleans())
    def see(self, service: str, drifts: bool) -> None:
        """An instance is found dead, or not to be what it should be."""
        for placed in instances.list_of(self.world.views.db, service):
            finding = ServiceDrifted(placed.deployment_id, "moved", placed.replica, placed.instance)
            self.order(
                ReportDrift(tenant_id=TENANT, service_id=service, seen_us=self.world.now_us, findings=[finding])
                if drifts
                else ReportCrash(
                    tenant_id=TENANT,
                    service_id=service,
                    instance=placed.instance,
                    seen_us=self.world.now_us,
                    exit_code=1,
                    oom_killed=False,
                    tail=b"",
                )
            )

    @rule(seconds=strategies.sampled_from([1, 100, 1000]))
    def wait(self, seconds: int) -> None:
        later(seconds)

    # what has to hold

    @invariant()
    def quotas_are_kept(self) -> None:
        rows = services.list_of(self.world.views.db, TENANT)
        running = [row for row in rows if row.desired == "running"]
        assert len(rows) <= QUOTAS["max_services"]
        assert sum(row.memory_mb * row.replicas for row in running) <= QUOTAS["max_memory_mb"]
        assert sum(row.cpu_milli * row.replicas for row in running) <= QUOTAS["max_cpu_cores"] * 1000
        for row in rows:
            values = env.values_at(self.world.views.db, row.service_id, row.env_version)
            assert len(values) <= QUOTAS["max_env_vars_per_service"]

    @invariant()
    def names_are_unique(self) -> None:
        rows = services.list_of(self.world.views.db, TENANT)
        assert len({row.name for row in rows}) == len({row.label for row in rows}) == len(rows)

    @invariant()
    def versions_are_contiguous_and_the_views_have_the_last(self) -> None:
        last: Counter[str] = Counter()
        for at in read_all(self.world.log.db, 0, 10_000):
            last[at.stream] += 1
            assert at.version == last[at.stream]
        for row in services.list_of(self.world.views.db, TENANT):
            assert row.version == last[f"service-{row.service_id}"]

    @invariant()
    def no_work_is_open_twice(self) -> None:
        open_work = todo.open_of_all(self.world.views.db)
        deploys = Counter(row.subject for row in open_work if row.type == wire_name(ServiceDeployRequested))
        kinds = Counter((row.subject, row.type, row.deployment_id) for row in open_work)
        assert not [key for key, n in (deploys | kinds).items() if n > 1]

    @invariant()
    def nothing_serves_what_is_not_wanted(self) -> None:
        for row in services.list_of(self.world.views.db, TENANT):
            is_idle = not todo.open_of(self.world.views.db, f"service-{row.service_id}")
            if is_idle and row.desired == "stopped":
                assert not row.serving
                assert not instances.list_of(self.world.views.db, row.service_id)

    @invariant()
    def idle_work_is_in_no_transient_state(self) -> None:
        for row in services.list_of(self.world.views.db, TENANT):
            if not todo.open_of(self.world.views.db, f"service-{row.service_id}"):
                assert row.status in ("created", "running", "stopped", "failed", "circuit_open"), row.status
                states = self.world.views.db.execute(
                    "SELECT status FROM deployment WHERE service_id = ?", (row.service_id,)
                )
                assert not {status for (status,) in states} & {"pending", "deploying"}

    def teardown(self) -> None:
        try:
            assert self.world.digests() == self.world.digests_folded_again() == self.world.digests_in_shares()
        finally:
            self.stack.close()


TestRandomTenant = RandomTenant.TestCase
TestRandomTenant.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
