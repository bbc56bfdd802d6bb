"""Databases in the platform of `world.py`: commands about the one that a test is about, and what is of it."""

import asyncio
from typing import Any

import pytest

from ahplat.commands.command import Command
from ahplat.commands.databases import CreateDatabase
from ahplat.effects import database_health
from ahplat.engines.engine import Instance
from ahplat.writer import Done
from events.databases import DatabaseCreateRequested
from projections import databases
from projections.databases import DatabaseRow
from tests.effects.world import TENANT, World

PASSWORD = "s3cret"


class Databases:
    """`silent` ones never answer a query."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.database_id = ""
        self.silent = False
        self.asked: list[tuple[str, int, str]] = []  # address, port and password of each query
        world.image("postgres:16-alpine")

        async def unready(seen: Instance, plan: Any) -> str:
            await asyncio.sleep(0)
            self.asked.append((seen.host, seen.port, plan.password))
            return "nobody answers" if self.silent or seen.state != "running" else ""

        monkeypatch.setattr(database_health, "unready", unready)

    async def create(self, name: str = "orders", tenant_id: str = TENANT) -> str:
        """A database; it is the one that the test is about from now on."""
        self.database_id = self.world.new_id()
        stream = f"database-{self.database_id}"
        created = DatabaseCreateRequested(
            name=name,
            label=name,
            kind="postgres",
            image="postgres:16-alpine",
            memory_mb=512,
            cpu_milli=1000,
            port=5432,
            db_name="u_orders",
            username="u_orders",
            password=self.world.keyring.seal(tenant_id, stream, "password", PASSWORD.encode()),
            address="",
        )
        await self.world.submit(CreateDatabase(tenant_id=tenant_id, database_id=self.database_id, created=created))
        return self.database_id

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
