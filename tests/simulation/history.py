"""One history: storms of orders and faults, then rest, then hours in which nothing happens but what the platform does."""

import asyncio
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ahplat.commands.databases import StartDatabase
from ahplat.commands.effects import Unpark
from ahplat.engines.engine import Identity, Network, Volume
from ahplat.errors import Rejected
from projections import databases, todo
from tests.effects.facts import an_instance
from tests.effects.virtual import VirtualLoop
from tests.effects.world import INSTALLATION
from tests.folders import memory_folder
from tests.simulation.clients import Clients
from tests.simulation.faults import Faults
from tests.simulation.machine import Broke
from tests.simulation.rules import Rules, hold
from tests.simulation.server import Server

ASKED = os.environ.get("AH_SIMULATION", "")  # the one seed that somebody wants to have again
ROUNDS = 2
TENANTS = 3  # at first
STEPS = 40
PAUSES_S = (0, 0, 0.01, 0.5, 3, 20, 150)
QUIET_H = (12, 48)
AT_ONCE_S = 2.0  # until work that nothing stands in the way of has begun
STRANGER = "e" * 32


class History:
    """See the module."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.dice = random.Random(seed)
        self.server = Server(folder, monkeypatch, self.dice)
        self.server.host.dice = self.dice
        self._images()
        self._strangers()
        self.clients = Clients(self.server, self.dice)
        self.faults = Faults(self.server, self.clients, self.dice)
        self.rules = Rules(self.server, self.clients)
        self.told: list[tuple[int, int, str, str]] = []  # position, time, stream and type of each event

    @property
    def hours(self) -> float:
        """How long it has been, in virtual hours."""
        return self.server.loop.now / 3_600

    def _images(self) -> None:
        server = self.server
        for version in (2, 3):
            server.image(f"web:{version}")
        server.image("broken:1", exit_code=1, output=("no",))
        server.image("loop:1")
        server.image("deaf:1", deaf=True)

    def _strangers(self) -> None:
        """What is another installation's, or says that it is ours and the log does not know."""
        host = self.server.host
        for name, instance in (("theirs", STRANGER), ("nobodys", INSTALLATION)):
            made = an_instance(self.server, name, Identity(instance, 1, "9" * 32, "9" * 32, "d", 1, 1, 1, "x", 1))
            host.strangers[made.id] = made
            host.networks[name] = Network(name, f"ah{name}", "10.200.0.0/26", instance, "9" * 32)
            host.volumes[name] = Volume(name, instance, "9" * 32)

    async def run(self, rounds: int, quiet_h: tuple[int, int]) -> None:
        """Raises Broke where a rule was."""
        server = self.server.begin()
        try:
            for _ in range(TENANTS):
                await self.clients.register()
            for _ in range(rounds):
                await self._storm()
                await self._heal()
                await self.rules.rest()
                await self._promptly()
                await self._quiet(self.dice.randint(*quiet_h))
            await server.end()
            self._replayed()
        except Exception as error:
            if isinstance(error, Broke) or not server.host.said:
                raise
            raise server.host.said[0] from error
        finally:
            self.told = [(at.position, at.at_us, at.stream, at.type) for at in server.recorded()]
            await server.end()
            server.close()

    async def _storm(self) -> None:
        self.rules.faults_end_us = 2**62
        for _ in range(STEPS):
            if self.dice.random() < 0.6:
                await self.clients.act()
            else:
                await self.faults.strike()
            await self.clients.rest(self.dice.choice(PAUSES_S))
            self.rules.step()

    async def _heal(self) -> None:
        """No more faults, an operator who looks at what was parked, owners who look at what failed, and time."""
        server = self.server
        await self.clients.rest(0)
        self.faults.end()
        self.rules.faults_end_us = server.clock.now_us()
        for _ in range(3):
            await self.clients.rest(4_000)
            for work in [work for work in server.work if work.parked]:
                await self._try(Unpark(tenant_id=work.tenant_id, intent=work.intent))
            for row in databases.list_all(server.views):
                if row.status == "failed" and row.is_there:
                    await self._try(StartDatabase(tenant_id=row.tenant_id, database_id=row.database_id))
            self.rules.step()
        await self.clients.rest(4_000)

    async def _try(self, command: Unpark | StartDatabase) -> None:
        try:
            await self.server.submit(command)
        except Rejected as refused:
            self.clients.did.append(refused.code)

    async def _promptly(self) -> None:
        """What is asked for while nothing is wrong begins at once, and is done."""
        if not self.clients.active:
            await self.clients.register()
        tenant = self.clients.active[0]
        service_id = await self.clients.create(tenant, "web:1")
        hold(service_id, "what is asked for begins at once", "it was refused")
        server = self.server
        server.service_id = service_id
        await self.clients.rest(AT_ONCE_S)
        open_work = todo.open_of(server.views, f"service-{service_id}")
        hold(all(work.attempt for work in open_work), "what is asked for begins at once", open_work)
        await self.clients.rest(60)
        hold(server.service.status == "running", "what is asked for begins at once", server.service)
        await self.clients.delete(tenant, service_id)
        await self.clients.rest(60)

    async def _quiet(self, hours: int) -> None:
        """Nothing happens but what the platform does by itself."""
        for _ in range(hours):
            await self.clients.rest(3_600)
            self.rules.step()
        await self.rules.rest()

    def _replayed(self) -> None:
        try:
            self.server.check()
        except AssertionError as error:
            raise Broke("views are what the log gives", str(error)) from error


def live(
    seed: int,
    rounds: int = ROUNDS,
    quiet_h: tuple[int, int] = QUIET_H,
    mutate: Callable[[pytest.MonkeyPatch], None] = lambda patch: None,
) -> History:
    """Lives through one history, on a loop and a disk of its own. Raises Broke, and says how to have it again."""
    before = random.getstate()
    logging.disable(logging.NOTSET if ASKED else logging.CRITICAL)  # nobody reads so much, and it takes a third longer
    with (
        memory_folder() as folder,
        pytest.MonkeyPatch.context() as patch,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        mutate(patch)
        random.seed(seed)  # the platform's own jitter
        history = runner.run(_begun(folder, patch, seed))
        try:
            runner.run(history.run(rounds, quiet_h))
        except BaseException as error:
            error.add_note(f"AH_SIMULATION={seed} repeats it, at {history.hours:.1f} h: {history.clients.did}")
            raise
        finally:
            random.setstate(before)
            logging.disable(logging.NOTSET)
    return history


async def _begun(folder: Path, patch: pytest.MonkeyPatch, seed: int) -> History:
    return History(folder, patch, seed)
