"""Tenants that do a bit of everything, one command after another, and know what they were told.

A command whose answer did not come is sent again with its key, as a client should; now and then one is sent twice at once.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct, field

from ahplat.answers import Done, Key
from ahplat.commands.command import Command
from ahplat.commands.database_backups import RemoveBackup, RequestBackup, RestoreDatabase
from ahplat.commands.databases import CreateDatabase, DeleteDatabase, StartDatabase, UndeleteDatabase
from ahplat.commands.deployments import (
    CancelDeployment,
    DeployImage,
    ResetService,
    RestartService,
    RollBack,
    StartService,
)
from ahplat.commands.keys import CreateKey, RevokeKey
from ahplat.commands.services import (
    ConfigureService,
    CreateService,
    DeleteService,
    SetEnv,
    StopService,
    UnsetEnv,
)
from ahplat.commands.tenants import ReactivateTenant, RegisterTenant, RequestErasure, SuspendTenant
from ahplat.effects.database_specs import PORTS
from ahplat.errors import PreconditionFailed, Rejected, Unavailable
from events.databases import DatabaseCreateRequested
from events.keys import KeyCreated
from events.services import ServiceConfigured, ServiceCreated
from projections import deployments
from tests.simulation.machine import Broke
from tests.simulation.server import ACTOR, Ack, Server

IMAGES = ("web:1", "web:1", "web:2", "web:3", "dead:1", "broken:1", "nobody:1", "loop:1", "deaf:1")
DATABASES = {"postgres": "postgres:16-alpine", "redis": "redis:7-alpine"}
TRIES, PAUSE_S, DOWN_S = 3, 5.0, 2.0


class Tenant(Struct):
    """What a tenant was told that it has. `standing` is active, suspended or erased."""

    tenant_id: str
    standing: str = "active"
    services: set[str] = field(default_factory=set)
    databases: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)  # databases that may come back
    backups: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


class Clients:
    """See the module."""

    def __init__(self, server: Server, dice: random.Random) -> None:
        self.server = server
        self.dice = dice
        self.tenants: list[Tenant] = []
        self.did: list[str] = []
        self.made = 0
        self.sent = 0
        self.at: Tenant | None = None  # who was last, and about which service: often the next wish is of it, too
        self.last = ""
        self.refused: set[str] = set()  # commands that were refused, by their keys: nothing of them is in the log

    # how they ask

    async def ask(self, command: Command) -> Done | None:
        """Sends a command until there is an answer to it; None where it is refused, or not taken for long."""
        self.sent += 1
        sent = f"c{self.sent}"
        self.did.append(f"{type(command).__name__} {getattr(command, 'service_id', '')[-4:]}")
        for _ in range(TRIES):
            try:
                done = await self._send(command, sent, 2 if self.dice.random() < 0.1 else 1)
            except (Rejected, PreconditionFailed) as refused:
                self.did[-1] += f" ({refused.code})"
                self.refused.add(sent)
                return None
            except Unavailable as unavailable:
                self.did[-1] += f" ({unavailable.code})"
                await self.rest(PAUSE_S)
                continue
            self.server.acks.append(
                Ack(type(command).__name__, command.tenant_id, sent, done.first_position, done.last_position)
            )
            return done
        self.refused.add(sent)
        return None

    async def _send(self, command: Command, sent: str, copies: int) -> Done:
        key = Key(hashlib.sha256(sent.encode()).digest(), b"the same", "")
        while True:
            futures = [self.server.submit(command, actor=ACTOR, correlation=sent, key=key) for _ in range(copies)]
            died = asyncio.ensure_future(self.server.died.wait())
            await asyncio.wait({asyncio.gather(*futures, return_exceptions=True), died}, return_when="FIRST_COMPLETED")
            died.cancel()
            if all(future.done() for future in futures):
                answers = [future.exception() or future.result() for future in futures]
                return self._one_answer(answers)
            await self.rest(0)

    def _one_answer(self, answers: list[Any]) -> Done:
        """What those who sent the same were told: the same."""
        first = answers[0]
        if isinstance(first, Exception):
            raise first
        for other in answers[1:]:
            told = (other.first_position, other.last_position) if isinstance(other, Done) else other
            if told != (first.first_position, first.last_position):
                raise Broke("each accepted command once", f"two answers to one command: {answers}")
        return first

    async def rest(self, seconds: float) -> None:
        """Time goes by; a server that dies meanwhile comes back."""
        server, until = self.server, self.server.loop.now + seconds
        while True:
            if server.died.is_set():
                await asyncio.sleep(DOWN_S)
                await server.restart()
                self.did.append("the server came back")
            left_s = until - server.loop.now
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s):
                    await server.died.wait()
            except TimeoutError:
                return

    # what they want

    def new_id(self) -> str:
        self.made += 1
        return f"{self.made:032x}"

    @property
    def active(self) -> list[Tenant]:
        return [one for one in self.tenants if one.standing == "active"]

    async def register(self) -> None:
        """Somebody new."""
        tenant = Tenant(f"{len(self.tenants) + 0xA0:02x}" * 16)
        self.server.keyring.create(tenant.tenant_id)
        registration = RegisterTenant(
            tenant_id=tenant.tenant_id,
            name=b"name",
            email=b"email",
            email_index=tenant.tenant_id.encode(),
            label=f"acme-{len(self.tenants)}",
            pool="10.128.0.0/12",
            key=self._key(),
        )
        self.tenants.append(tenant)
        if not await self.ask(registration):
            self.tenants.remove(tenant)
            self.server.keyring.erase(tenant.tenant_id)

    def _key(self) -> KeyCreated:
        return KeyCreated(key_id=self.new_id(), name=b"name", digest=b"digest", scopes=["admin"])

    async def act(self) -> None:
        """Somebody wants something."""
        if not self.active or (len(self.tenants) < 6 and self.dice.random() < 0.02):
            await self.register()
            return
        if self.at not in self.active or self.dice.random() < 0.5:
            self.at = self.dice.choice(self.active)
        tenant = self.at
        kind = self.dice.choices((self._of_service, self._of_database, self._of_tenant), (75, 17, 8))[0]
        await kind(tenant)

    async def create(self, tenant: Tenant, image: str, **settings: Any) -> str:
        """A service; "" where it is refused."""
        service_id = self.new_id()
        wanted: dict[str, Any] = {"port": 8000, "memory_mb": 64, "cpu_milli": 100, "health_path": "", "egress": "none"}
        name = f"s{self.made}"
        created = ServiceCreated(name=name, label=name, image=image, **(wanted | {"replicas": 1} | settings))
        command = CreateService(
            tenant_id=tenant.tenant_id,
            service_id=service_id,
            created=created,
            env={},
            deployment_id=self.new_id(),
        )
        if not await self.ask(command):
            return ""
        tenant.services.add(service_id)
        return service_id

    async def _of_service(self, tenant: Tenant) -> None:
        dice = self.dice
        if not tenant.services or (len(tenant.services) < 3 and dice.random() < 0.3):
            volumes = {f"v{self.made}": "/data"} if dice.random() < 0.25 else {}
            replicas = 1 if volumes else dice.choice((1, 1, 2))
            egress = dice.choice(("none", "none", "internet"))
            await self.create(tenant, dice.choice(IMAGES), replicas=replicas, volumes=volumes, egress=egress)
            return
        if self.last not in tenant.services or dice.random() < 0.5:
            self.last = dice.choice(sorted(tenant.services))
        service_id = self.last
        mine = {"tenant_id": tenant.tenant_id, "service_id": service_id}
        stream = f"service-{service_id}"
        sealed = {"K": self.server.keyring.seal(tenant.tenant_id, stream, "env.K", b"a value")}
        deployed = deployments.list_of(self.server.views, service_id, 1, 0, 0)
        last = deployed[0].deployment_id if deployed else ""
        orders: list[Callable[[], Command]] = [
            *[lambda: DeployImage(**mine, deployment_id=self.new_id(), image=dice.choice(IMAGES))] * 4,
            lambda: DeployImage(**mine, deployment_id=self.new_id()),
            lambda: StopService(**mine),
            *[lambda: StartService(**mine, deployment_id=self.new_id())] * 2,
            lambda: RestartService(**mine, deployment_id=self.new_id()),
            lambda: RollBack(**mine, deployment_id=self.new_id()),
            lambda: ResetService(**mine, deployment_id=self.new_id()),
            lambda: CancelDeployment(**mine, deployment_id=last),
            lambda: ConfigureService(**mine, changes=ServiceConfigured(memory_mb=dice.choice((64, 96)))),
            lambda: SetEnv(**mine, sealed=sealed),
            lambda: UnsetEnv(**mine, key="K"),
        ]
        if dice.random() < 0.1:
            await self.delete(tenant, service_id)
        else:
            await self.ask(dice.choice(orders)())

    async def delete(self, tenant: Tenant, service_id: str) -> None:
        """A service goes."""
        if await self.ask(DeleteService(tenant_id=tenant.tenant_id, service_id=service_id)):
            tenant.services.discard(service_id)

    async def _of_database(self, tenant: Tenant) -> None:
        if not tenant.databases or (len(tenant.databases) < 2 and self.dice.random() < 0.3):
            await self._create_database(tenant)
            return
        database_id = self.dice.choice(sorted(tenant.databases | tenant.deleted))
        mine = {"tenant_id": tenant.tenant_id, "database_id": database_id}
        kept_us = self.server.clock.now_us() + self.dice.choice((60, 3_600)) * 1_000_000
        backup_id = self.dice.choice(sorted(tenant.backups) or [""])
        orders: list[Callable[[], Awaitable[Any]]] = [
            lambda: self.ask(StartDatabase(**mine)),
            lambda: self._delete_database(tenant, DeleteDatabase(**mine, purge_us=kept_us)),
            lambda: self._undelete(tenant, UndeleteDatabase(**mine)),
            *[lambda: self._back_up(tenant, database_id)] * 2,
            lambda: self.ask(RestoreDatabase(**mine, backup_id=backup_id)),
            lambda: self.ask(RemoveBackup(tenant_id=tenant.tenant_id, backup_id=backup_id)),
        ]
        await self.dice.choice(orders)()

    async def _create_database(self, tenant: Tenant) -> None:
        database_id, kind = self.new_id(), self.dice.choice(sorted(DATABASES))
        name = f"d{self.made}"
        sealed = self.server.keyring.seal(tenant.tenant_id, f"database-{database_id}", "password", b"s3cret")
        created = DatabaseCreateRequested(
            name=name,
            label=name,
            kind=kind,
            image=DATABASES[kind],
            memory_mb=512,
            cpu_milli=1000,
            port=PORTS[kind],
            db_name="u_orders",
            username="u_orders",
            password=sealed,
            address="",
        )
        if await self.ask(CreateDatabase(tenant_id=tenant.tenant_id, database_id=database_id, created=created)):
            tenant.databases.add(database_id)

    async def _delete_database(self, tenant: Tenant, command: DeleteDatabase) -> None:
        if await self.ask(command):
            tenant.databases.discard(command.database_id)
            tenant.deleted.add(command.database_id)

    async def _undelete(self, tenant: Tenant, command: UndeleteDatabase) -> None:
        if await self.ask(command):
            tenant.deleted.discard(command.database_id)
            tenant.databases.add(command.database_id)

    async def _back_up(self, tenant: Tenant, database_id: str) -> None:
        backup_id = self.new_id()
        command = RequestBackup(tenant_id=tenant.tenant_id, database_id=database_id, backup_id=backup_id)
        if await self.ask(command):
            tenant.backups.add(backup_id)

    async def _of_tenant(self, tenant: Tenant) -> None:
        mine = {"tenant_id": tenant.tenant_id}
        suspended = [one for one in self.tenants if one.standing == "suspended"]
        if suspended and self.dice.random() < 0.6:
            back = self.dice.choice(suspended)
            if await self.ask(ReactivateTenant(tenant_id=back.tenant_id, key=self._key())):
                back.standing = "active"
            elif self._is_gone(back):
                back.standing = "erased"
            return
        choice = self.dice.random()
        if choice < 0.3 and tenant.keys:
            key_id = tenant.keys.pop()
            await self.ask(RevokeKey(**mine, key_id=key_id))
        elif choice < 0.6:
            key = self._key()
            if await self.ask(CreateKey(**mine, key=key)):
                tenant.keys.add(key.key_id)
        elif choice < 0.9:
            if await self.ask(SuspendTenant(**mine)):
                tenant.standing = "suspended"
        elif await self.ask(RequestErasure(**mine)):
            tenant.standing = "erased"

    def _is_gone(self, tenant: Tenant) -> bool:
        """Whether the month of a suspended tenant is over, as this platform counts months."""
        return self.server.is_leaving(tenant.tenant_id)
