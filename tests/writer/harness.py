"""A writer on a real log, real views and a real keyring, in memory, with a clock that is moved by hand."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw

from ahplat.answers import Answer, Done, Key
from ahplat.commands.command import Command
from ahplat.commands.tenants import RegisterTenant, SetQuotas
from ahplat.crashpoints import CrashPoints
from ahplat.sealing import Keyring
from ahplat.writer import Writer
from events.database import open_reader
from events.event import Recorded
from events.log import EventLog, read_all
from projections.views import open_views
from tests.commands.facts import a_key
from tests.commands.given import INSTALLATION, START_US, TENANT

PATIENCE_S = 5  # until a test that waits for another thread gives up


class ByHand:
    """A clock that stands still until it is moved. As a Clock."""

    def __init__(self) -> None:
        self.us = START_US
        self.s = 100.0
        self.off_s = 0.0

    def now_us(self) -> int:
        return self.us

    def go_on_from(self, at_us: int) -> None:
        self.us = max(self.us, at_us)

    def monotonic(self) -> float:
        return self.s


class Bench:
    """What a test of the writer works with. One tenant is registered: TENANT."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ByHand()
        self.broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.open()

    def open(self) -> None:
        """Opens the files and starts the writer, as a start of the server does."""
        self.keyring = Keyring(self.folder / "keys.db", bytes(32))
        self.log = EventLog(self.folder / "events.db", INSTALLATION, START_US)
        self.views = open_views(self.folder / "views.db", self.log.db, INSTALLATION, lambda done, of: None)
        self.writer = Writer(self.log, self.views, self.keyring, self.clock, CrashPoints(), "a test")
        self.writer.on_broken = self.broken.set_result
        self.reader = open_reader(self.folder / "events.db")
        self.views_reader = open_reader(self.folder / "views.db")

    async def close(self) -> None:
        """Ends the writer, then closes the files."""
        await self.writer.close()
        for file in (self.reader, self.views_reader, self.log, self.views, self.keyring):
            file.close()

    async def reopen(self) -> None:
        """A restart."""
        await self.close()
        self.open()

    async def register(self) -> None:
        """Makes the tenant, and its key."""
        self.keyring.create(TENANT)
        await self.submit(
            RegisterTenant(
                tenant_id=TENANT,
                name=b"name",
                email=b"email",
                email_index=b"acme@",
                label="acme",
                pool="10.128.0.0/12",
                key=a_key(),
            )
        )

    def submit(self, command: Command, **fields: Any) -> "asyncio.Future[Done]":
        """Queues a command."""
        return self.writer.submit(command, **({"actor": "test"} | fields))

    def set(self, services: int, **fields: Any) -> "asyncio.Future[Done]":
        """Queues the smallest command there is: one event, whose number tells it from others."""
        return self.submit(SetQuotas(tenant_id=TENANT, quotas={"max_services": services}), **fields)

    def events(self, after: int = 0) -> list[Recorded]:
        """What another connection sees in the log."""
        return read_all(self.reader, after, 10_000)

    def values(self, after: int) -> list[int]:
        """The numbers of `set`, in the log's order."""
        return [int(at.data.partition(b'"max_services":')[2].partition(b"}")[0]) for at in self.events(after)]

    def value(self) -> int:
        """The number that the views have last, as another connection sees it."""
        return int(self.views_reader.execute("SELECT value FROM quota WHERE name = 'max_services'").get or 0)

    async def why_broken(self) -> type[Exception]:
        """What the writer stopped for; waits until it says so."""
        return type(await asyncio.wait_for(self.broken, PATIENCE_S))

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """While this lasts the writer is busy with a command that changes nothing: what is submitted meanwhile is one batch."""
        entered, go_on = threading.Event(), threading.Event()

        def answer(_: apsw.Connection) -> Answer:
            entered.set()
            assert go_on.wait(PATIENCE_S)
            return Answer()

        waiting = self.submit(SetQuotas(tenant_id=TENANT, quotas={}), answer=answer)
        assert await asyncio.to_thread(entered.wait, PATIENCE_S)
        try:
            yield
        finally:
            go_on.set()
            await waiting


def a_key_for(name: str, body: bytes = b"body", tenant: str = TENANT, keeps_secret: bool = True) -> Key:
    """An idempotency key."""
    return Key(name.encode().ljust(32, b"\0"), body.ljust(32, b"\0"), tenant, keeps_secret)


def says(body: bytes, **fields: Any) -> Callable[[apsw.Connection], Answer]:
    """Renders an answer of which the test knows the body."""
    return lambda _: Answer(status=200, body=body, **fields)


def breaks(_: apsw.Connection) -> Answer:
    """Renders no answer: a fault of ours in one command."""
    raise ZeroDivisionError("a fault of ours")


async def outcomes(futures: "list[asyncio.Future[Done]]") -> list[Done | BaseException]:
    """What became of each."""
    return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), PATIENCE_S)
