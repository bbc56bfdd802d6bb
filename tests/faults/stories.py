"""What a tenant does so that each effect has something to do: one story for each intent, told to any engine.

A story is told by an agent, which repeats what nobody answers, so it comes to its end whoever dies meanwhile; at its end
no work is open. `STORIES` says which story brings an intent about, and which time it does so is the one that is interesting.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from events.builds import BuildBuilt, BuildCloned, BuildFailed, BuildPlanned, BuildPushed, BuildRequested
from events.database_backups import DatabaseBackupRemoveRequested, DatabaseBackupRequested, DatabaseBackupTaken
from events.databases import (
    DatabaseCreateRequested,
    DatabaseDeleted,
    DatabaseDeleteRequested,
    DatabasePurgeRequested,
    DatabaseRestoreRequested,
    DatabaseStartRequested,
    DatabaseStopRequested,
    DatabaseUndeleted,
)
from events.domains import ServiceDomainCheckRequested
from events.event import Intent
from events.execs import ExecStarted
from events.services import (
    ServiceDeleteRequested,
    ServiceDeployRequested,
    ServiceInstanceHealthy,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceStopRequested,
)
from events.tenants import TenantErasureRequested, TenantKept, TenantReactivated, TenantSuspended
from events.volumes import VolumePurgeRequested
from tests.faults.agents import STAYS_S, Agent


@dataclass
class Stage:
    """Where a story is told: whose key the agent has, and what differs from engine to engine."""

    agent: Agent
    operator: Agent  # with the bootstrap token
    tenant_id: str
    image: str
    git_url: str = ""
    database_kind: str = "postgres"
    settings: dict[str, Any] = field(default_factory=dict)  # of every service
    hangs: tuple[str, ...] = ("sleep", "60")  # a command that does not end by itself
    kill: Callable[[str], object] = lambda service_id: None  # ends a service's instance behind the platform's back

    def until(self, probe: Callable[[], Any]) -> Any:
        """What `probe` says as soon as that is something."""
        deadline = time.monotonic() + STAYS_S
        while not (found := probe()):
            assert not self.agent.give_up.is_set(), "told to give up"
            assert time.monotonic() < deadline, "nothing came of it in time"
            time.sleep(0.02)
        return found

    def logged(self, kind: str, times: int = 1) -> None:
        """Waits until the log has that type so often."""
        self.until(lambda: sum(at.type == kind for at, _ in self.agent.server.events) >= times)

    def status(self, path: str, wanted: str) -> Any:
        """Waits until what is there has that status."""

        def seen() -> Any:
            found = self.agent.look(f"{path}?wait={wanted}&timeout=5")
            return found if found["status"] == wanted else None

        return self.until(seen)

    def running(self, name: str = "web", **settings: Any) -> str:
        """The path of a new service that runs, with its switch at its end."""
        body = {"name": name, "image": self.image} | self.settings | settings
        path = f"/v1/services/{self.agent.order('POST', '/v1/services', body)['id']}"
        self.status(path, "running")
        self.logged("service.drained")
        return path

    def database(self) -> str:
        """The path of a new database that runs."""
        path = f"/v1/databases/{self.agent.order('POST', '/v1/databases', {'name': 'db', 'type': self.database_kind})['id']}"
        self.status(path, "running")
        return path

    def backup(self, database: str) -> str:
        """The id of a backup of it, which was proved."""
        made = self.agent.order("POST", f"{database}/backups")["id"]
        self.status(f"{database}/backups/{made}", "verified")
        return str(made)


Told = Callable[[Stage], None]


def deploys(stage: Stage) -> None:
    path = stage.running()
    deployment = stage.agent.order("POST", f"{path}/deploy", {"image": stage.image})
    stage.status(f"{path}/deployments/{deployment['id']}", "running")
    stage.logged("service.drained", 2)


def stops(stage: Stage) -> None:
    path = stage.running()
    stage.agent.order("POST", f"{path}/stop")
    stage.status(path, "stopped")


def deletes(stage: Stage) -> None:
    stage.agent.order("DELETE", stage.running())
    stage.logged("service.deleted")


def is_repaired(stage: Stage) -> None:
    path = stage.running()
    stage.kill(path.rpartition("/")[2])
    stage.logged("service.repaired")
    stage.status(path, "running")


def builds(stage: Stage) -> None:
    body = {"name": "web", "image": "pending"} | stage.settings
    path = f"/v1/services/{stage.agent.order('POST', '/v1/services', body)['id']}"
    build = stage.agent.order("POST", f"{path}/builds", {"git_url": stage.git_url})
    stage.status(f"{path}/builds/{build['id']}", "succeeded")
    stage.status(path, "running")
    stage.logged("service.drained")


def builds_in_vain(stage: Stage) -> None:
    body = {"name": "web", "image": "pending"} | stage.settings
    path = f"/v1/services/{stage.agent.order('POST', '/v1/services', body)['id']}"
    stage.agent.order("POST", f"{path}/builds", {"git_url": stage.git_url, "branch": "nowhere"})
    stage.logged("service.build_failed")


def makes_a_database(stage: Stage) -> None:
    stage.database()


def purges_a_database(stage: Stage) -> None:
    stage.agent.order("DELETE", f"{stage.database()}?purge=true")
    stage.logged("database.purged")


def brings_a_database_back(stage: Stage) -> None:
    path = stage.database()
    stage.agent.order("DELETE", path)
    stage.logged("database.deleted")
    stage.agent.order("POST", f"{path}/undelete")
    stage.status(path, "running")
    stage.agent.order("DELETE", path)
    stage.logged("database.deleted", 2)
    stage.agent.order("DELETE", f"{path}?purge=true")
    stage.logged("database.purged")


def restores_a_database(stage: Stage) -> None:
    path = stage.database()
    backup_id = stage.backup(path)
    stage.agent.order("POST", f"{path}/restore", {"backup_id": backup_id})
    stage.logged("database.restored")
    stage.agent.order("DELETE", f"{path}/backups/{backup_id}")
    stage.logged("database_backup.removed")


def purges_a_volume(stage: Stage) -> None:
    path = stage.running(volumes={"data": "/data"})
    stage.agent.order("DELETE", path)
    stage.logged("service.deleted")
    [volume] = stage.agent.look("/v1/volumes")
    stage.agent.order("DELETE", f"/v1/volumes/{volume['id']}")
    stage.logged("volume.purged")


def is_suspended(stage: Stage) -> None:
    stage.running()
    leaves(stage)
    stage.operator.order("POST", f"/v1/tenants/{stage.tenant_id}/reactivate")
    stage.logged("tenant.resumed")
    stage.logged("service.drained", 2)


def is_suspended_with_a_database(stage: Stage) -> None:
    stage.database()
    leaves(stage)
    stage.logged("database.stopped")
    stage.operator.order("POST", f"/v1/tenants/{stage.tenant_id}/reactivate")
    stage.logged("database.started", 2)


def leaves(stage: Stage) -> None:
    stage.agent.order("DELETE", "/v1/tenant", too_late=(403,))
    stage.logged("tenant.quieted")


def is_erased(stage: Stage) -> None:
    stage.running()
    stage.operator.order("DELETE", f"/v1/tenants/{stage.tenant_id}/data", {"confirm": "mover"}, too_late=(404,))
    stage.logged("tenant.erased")


def is_kept_no_longer(stage: Stage) -> None:
    stage.running()
    leaves(stage)
    stage.logged("tenant.erased")


def executes(stage: Stage) -> None:
    path = stage.running()
    stage.agent.order("POST", f"{path}/exec", {"command": list(stage.hangs)}, too_late=(409, 503))
    stage.logged("exec.ended")


def claims_a_domain(stage: Stage) -> None:
    path = stage.running()
    stage.agent.order("POST", f"{path}/domains", {"domain": "www.shop.example"})
    stage.agent.order("POST", f"{path}/domains/www.shop.example/verify")
    stage.logged("service.domain_checked")
    stage.agent.order("DELETE", f"{path}/domains/www.shop.example")


STORIES: dict[type[Intent], tuple[Told, int]] = {
    ServiceDeployRequested: (deploys, 2),
    ServiceInstanceHealthy: (deploys, 2),
    ServiceRouted: (deploys, 2),
    ServiceStopRequested: (stops, 1),
    ServiceDeleteRequested: (deletes, 1),
    ServiceRepairRequested: (is_repaired, 1),
    BuildRequested: (builds, 1),
    BuildCloned: (builds, 1),
    BuildPlanned: (builds, 1),
    BuildBuilt: (builds, 1),
    BuildPushed: (builds, 1),
    BuildFailed: (builds_in_vain, 1),
    DatabaseCreateRequested: (makes_a_database, 1),
    DatabaseStartRequested: (is_suspended_with_a_database, 1),
    DatabaseStopRequested: (is_suspended_with_a_database, 1),
    DatabaseDeleteRequested: (purges_a_database, 1),
    DatabaseDeleted: (purges_a_database, 1),
    DatabaseUndeleted: (brings_a_database_back, 1),
    DatabasePurgeRequested: (brings_a_database_back, 1),
    DatabaseBackupRequested: (restores_a_database, 1),
    DatabaseBackupTaken: (restores_a_database, 1),
    DatabaseBackupRemoveRequested: (restores_a_database, 1),
    DatabaseRestoreRequested: (restores_a_database, 1),
    VolumePurgeRequested: (purges_a_volume, 1),
    TenantSuspended: (is_suspended, 1),
    TenantReactivated: (is_suspended, 1),
    TenantKept: (is_kept_no_longer, 1),
    TenantErasureRequested: (is_erased, 1),
    ExecStarted: (executes, 1),
    ServiceDomainCheckRequested: (claims_a_domain, 1),
}
