"""A log in which nearly everything happens once: what the views are made of in these tests."""

from events.builds import (
    BuildBuilt,
    BuildCancelled,
    BuildCloned,
    BuildFailed,
    BuildPlanned,
    BuildPushed,
    BuildSucceeded,
)
from events.database_backups import DatabaseBackupRequested, DatabaseBackupTaken, DatabaseBackupVerified
from events.databases import (
    DatabaseCrashed,
    DatabaseDeleted,
    DatabaseDeleteRequested,
    DatabaseRestoreFailed,
    DatabaseRestoreRequested,
    DatabaseStartFailed,
    DatabaseStartRequested,
    DatabaseUndeleted,
)
from events.disks import DiskLevelChanged
from events.domains import ServiceDomainAdded, ServiceDomainRemoved, ServiceDomainVerified
from events.effects import EffectAttempted, EffectParked, EffectPostponed, EffectUnparked
from events.execs import ExecEnded, ExecStarted
from events.keys import KeyRevoked
from events.services import (
    ServiceBuildFailed,
    ServiceCircuitClosed,
    ServiceCircuitHalfOpened,
    ServiceCircuitOpened,
    ServiceCircuitReset,
    ServiceConfigured,
    ServiceCrashed,
    ServiceDeleted,
    ServiceDeleteRequested,
    ServiceDeployCancelled,
    ServiceDeployFailed,
    ServiceDeployRequested,
    ServiceDeploySuperseded,
    ServiceEnvRestored,
    ServiceEnvUnset,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairRequested,
    ServiceRouteFailed,
    ServiceRouteRepaired,
    ServiceStopped,
    ServiceStopRequested,
    Target,
)
from events.tenants import (
    TenantErased,
    TenantErasureRequested,
    TenantProfileChanged,
    TenantQuieted,
    TenantQuotasSet,
    TenantReactivated,
    TenantResumed,
    TenantSuspended,
)
from events.usage import Reading, UsageMeasured
from tests.commands.facts import (
    a_build,
    a_database,
    a_deploy,
    a_key,
    a_running_service,
    a_service,
    a_tenant,
    database_started,
    env_set,
    healthy,
    intent,
    redeployed,
    step_of,
)
from tests.commands.given import (
    BACKUP,
    BUILD,
    DATABASE,
    OTHER_BUILD,
    OTHER_SERVICE,
    OTHER_TENANT,
    SERVICE,
    THIRD_BUILD,
    THIRD_SERVICE,
    given,
    later,
    of,
    world,
)


def tell() -> None:
    """Lets it all happen."""
    given(a_tenant(), a_key("k1"), a_key("k2"), KeyRevoked("k2"), TenantProfileChanged(name=b"new"))
    given(TenantQuotasSet({"max_services": 9, "max_memory_mb": 9000, "max_disk_gb": 1}))
    given(of(a_tenant("other", b"other@", "10.128.0.64/26"), tenant=OTHER_TENANT))
    later(1)
    a_running_service(replicas=2)
    given(env_set("A", "B", "C"), ServiceEnvUnset("B"), ServiceConfigured(memory_mb=512))
    redeployed("d2", 2)
    given(*(ServiceDomainAdded(host) for host in ("a.example", "b.example", "c.example")))
    given(ServiceDomainVerified("a.example", "operator"), ServiceDomainRemoved("b.example"))
    given(a_deploy("d2b", 2))
    healthy()
    given(ServiceRouteFailed(intent(ServiceInstanceHealthy), "d2b", "route_unconfirmed", b"detail"))
    given(ServiceRouteRepaired("missing"))
    given(ServiceEnvRestored(0), a_deploy("d3", 3))
    given(ServiceDeployFailed(intent(ServiceDeployRequested), "d3", "unhealthy", b"detail", b"tail"))
    given(a_deploy("d4", 4))
    given(ServiceDeploySuperseded(intent(ServiceDeployRequested), "d4"), a_deploy("d5", 5))
    given(ServiceDeployCancelled(intent(ServiceDeployRequested), "d5"))
    later(60)
    given(ServiceCrashed("d2", 0, "d2-0", 1, 137, True, b"tail", 128), ServiceRepairRequested("d2"))
    repair = intent(ServiceRepairRequested)
    given(ServiceRepaired(repair, "d2", [Target(0, "d2-9", "10.0.0.9", 8000)], ["d2-0"]))
    given(of(a_service("worker", port=0), OTHER_SERVICE), of(a_deploy("d6"), OTHER_SERVICE))
    waiting = intent(ServiceDeployRequested, OTHER_SERVICE)
    subject = f"service-{OTHER_SERVICE}"
    given(EffectAttempted(waiting, subject, 1), EffectPostponed(waiting, subject, 1, "away", 5, True))
    given(EffectAttempted(waiting, subject, 2), EffectParked(waiting, subject, 2, "tired"))
    given(EffectUnparked(waiting, subject))
    given(ServiceCircuitOpened(5), ServiceStopRequested())
    given(ServiceStopped(intent(ServiceStopRequested), ["d2-9"]), ServiceCircuitReset())
    redeployed("d7", 6)
    given(ServiceCircuitClosed())
    given(ServiceCrashed("d7", 1, "d7-1", 1, None, False), ServiceRepairRequested("d7", 99))
    given(of(ServiceCircuitOpened(5, 9), OTHER_SERVICE), of(ServiceCircuitHalfOpened(1, 99), OTHER_SERVICE))
    given(of(a_service("gone"), THIRD_SERVICE), of(env_set("A"), THIRD_SERVICE))
    given(of(ServiceDeleteRequested(), THIRD_SERVICE))
    given(of(ServiceDeleted(intent(ServiceDeleteRequested, THIRD_SERVICE), []), THIRD_SERVICE))
    subject = f"service-{SERVICE}"
    given(ExecStarted(subject, "d7", "d7-0", 5, 9, b"command"))
    given(ExecEnded(world().log.position, subject, "exited", 0, duration_ms=7))
    builds()
    given(ServiceConfigured(volumes={"data": "/data"}))
    a_database_and_its_backup()
    given(TenantSuspended())
    given(TenantQuieted(world().log.position, []), TenantReactivated())
    given(TenantResumed(world().log.position, []), TenantSuspended())
    given(ServiceStopRequested())
    given(DiskLevelChanged("low", 81))
    given(UsageMeasured(0, [Reading("d7-0", "service", SERVICE, 5, 6, 7, 8)], {"volumes": 1, "images": 2}))
    given(of(TenantErasureRequested(), tenant=OTHER_TENANT))
    given(of(TenantErased(world().log.position), tenant=OTHER_TENANT))


def a_database_and_its_backup() -> None:
    """A database that is backed up, crashes, and is deleted; it comes back."""
    given(a_database())
    given(database_started(world().log.position), DatabaseBackupRequested(DATABASE))
    given(DatabaseBackupTaken(world().log.position, 7, "hash"))
    given(DatabaseBackupVerified(world().log.position, tables=1, rows=2), DatabaseRestoreRequested(BACKUP))
    given(DatabaseRestoreFailed(world().log.position, BACKUP, "unreadable", b"detail"))
    given(DatabaseCrashed("server-1", 1, 137, True, b"tail"))
    given(DatabaseStartRequested(7))
    given(DatabaseStartFailed(world().log.position, "unready", b"detail", b"tail"), DatabaseDeleteRequested(99))
    given(DatabaseDeleted(world().log.position, ["server-1"], 99))
    given(DatabaseUndeleted(world().log.position))


def builds() -> None:
    """One that is deployed in the end, one that fails, one that is called off."""
    given(a_build(), EffectAttempted(world().log.position + 1, f"build-{BUILD}", 1))
    given(BuildCloned(step_of(), "c" * 40))
    given(BuildPlanned(step_of(), "p"), EffectAttempted(world().log.position + 1, f"build-{BUILD}", 1))
    given(BuildBuilt(step_of(), "sha256:1"))
    given(BuildPushed(step_of(), "sha256:2"))
    given(BuildSucceeded(step_of(), "circuit_open"))
    given(of(a_build("b2"), build=OTHER_BUILD), of(a_build("b3"), build=THIRD_BUILD))
    given(of(BuildFailed(step_of(OTHER_BUILD), "clone", "clone_failed", b"detail"), build=OTHER_BUILD))
    given(ServiceBuildFailed(step_of(OTHER_BUILD), OTHER_BUILD, "build_failed", b"detail"))
    given(ServiceStopRequested(), of(BuildCancelled(step_of(THIRD_BUILD)), build=THIRD_BUILD))
