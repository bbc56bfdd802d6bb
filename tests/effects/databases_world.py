"""Databases in the platform of `world.py`: commands about the one that a test is about, and what is of it."""

import asyncio
from typing import Any

import pytest

from ahplat.answers import Done
from ahplat.commands.command import Command
from ahplat.commands.database_backups import RequestBackup, RestoreDatabase
from ahplat.commands.databases import CreateDatabase
from ahplat.effects import database_health
from ahplat.effects.database_specs import PORTS
from ahplat.engines.engine import Instance
from events.databases import DatabaseCreateRequested
from projections import database_backups, databases
from projections.database_backups import BackupRow
from projections.databases import DatabaseRow
from tests.effects.database_contents import Contents
from tests.effects.world import TENANT, World

PASSWORD = "s3cret"


class Databases:
    """`silent` ones never answer a query."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.database_id = ""
        self.backup_id = ""
        self.silent = False
        self.asked: list[tuple[str, int, str]] = []  # address, port and password of each query
        self.contents = Contents(world.host)
        world.image("postgres:16-alpine")
        world.image("redis:7-alpine")

        async def unready(seen: Instance, plan: Any) -> str:
            await asyncio.sleep(0)
            self.asked.append((seen.host, seen.port, plan.password))
            return "nobody answers" if self.silent or seen.state != "running" else ""

        monkeypatch.setattr(database_health, "unready", unready)

    async def create(self, name: str = "orders", tenant_id: str = TENANT, kind: str = "postgres") -> str:
        """A database; it is the one that the test is about from now on."""
        self.database_id = self.world.new_id()
        stream = f"database-{self.database_id}"
        created = DatabaseCreateRequested(
            name=name,
            label=name,
            kind=kind,
            image={"postgres": "postgres:16-alpine", "redis": "redis:7-alpine"}[kind],
            memory_mb=512,
            cpu_milli=1000,
            port=PORTS[kind],
            db_name="u_orders",
            username="u_orders",
            password=self.world.keyring.seal(tenant_id, stream, "password", PASSWORD.encode()),
            address="",
        )
        await self.world.submit(CreateDatabase(tenant_id=tenant_id, database_id=self.database_id, created=created))
        return self.database_id

    async def back_up(self) -> str:
        """A backup is asked for; it is the one that the test is about from now on."""
        self.backup_id = self.world.new_id()
        await self.order(RequestBackup, backup_id=self.backup_id)
        return self.backup_id

    async def restore(self) -> Done:
        return await self.order(RestoreDatabase, backup_id=self.backup_id)

    @property
    def held(self) -> bytes:
        """What it holds."""
        volume = f"ah-db-{self.database_id}"
        contents = self.contents
        return contents.redis[volume] if self.row.kind == "redis" else contents.databases[volume]["u_orders"]

    @held.setter
    def held(self, content: bytes) -> None:
        volume = f"ah-db-{self.database_id}"
        if self.row.kind == "redis":
            self.contents.redis[volume] = content
        else:
            self.contents.databases[volume]["u_orders"] = content

    @property
    def backup(self) -> BackupRow:
        found = database_backups.find(self.world.views, self.backup_id)
        assert found
        return found

    @property
    def backups(self) -> list[BackupRow]:
        """Newest first."""
        return database_backups.list_of(self.world.views, self.database_id)

    @property
    def files(self) -> list[str]:
        """What lies there of all backups."""
        folder = self.world.folder / "backups" / "databases"
        return sorted(path.name for path in folder.glob("*/*"))

    @property
    def scratches(self) -> list[str]:
        """Containers and volumes of scratch servers."""
        names = [one.name for one in self.world.host.instances.values()] + list(self.world.host.volumes)
        return [name for name in names if name.startswith("ah-dbscratch-")]

    async def order(self, kind: type[Command], **fields: Any) -> Done:
        return await self.world.submit(kind(tenant_id=TENANT, **({"database_id": self.database_id} | fields)))

    @property
    def row(self) -> DatabaseRow:
        found = databases.find(self.world.views, self.database_id)
        assert found
        return found

    @property
    def servers(self) -> list[Instance]:
        """What the host has of it."""
        return [one for one in self.world.host.instances.values() if one.identity.database == self.database_id]

    @property
    def server(self) -> Instance:
        (found,) = self.servers
        return found

    @property
    def volumes(self) -> list[str]:
        return sorted(self.world.host.volumes)

    def story(self) -> list[str]:
        """What happened to it and to the work on it, without the nouns."""
        stream = f"database-{self.database_id}"
        return [
            at.type.partition(".")[2]
            for at in self.world.recorded()
            if at.stream == stream or at.data.find(stream.encode()) >= 0
        ]
