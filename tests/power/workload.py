"""Real commands on a real server whose disk is written down, and what must be true of the files after power failed."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
from msgspec import Struct

from ahplat.errors import AhError
from ahplat.sealing import Keyring, read_master_key
from events import chain
from events.catalog import decode
from events.event import Recorded
from events.log import EventLog, read_all
from events.tenants import TenantErased, TenantRegistered
from projections.views import open_views
from tests.api.site import Answer, Site, a_site
from tests.power.disk import Step, held_in, recorded

TENANTS = 4
ROUNDS = 4
CHECKPOINT_PAGES = 24  # of the WAL, so that a short run has many checkpoints, which are the hard part


class Ack(Struct, frozen=True):
    """A client had its answer after so many steps, so all up to `position` is promised; and what it had asked."""

    steps: int
    position: int
    tenant_id: str
    key: str
    method: str
    path: str
    body: Any
    idempotency_key: str
    status: int
    answer: bytes


class Run(Struct):
    """What was recorded: the files at the beginning, each step, each answer, and the log as it was in the end."""

    before: dict[str, bytes]
    steps: list[Step]
    acks: list[Ack]
    events: list[Recorded]

    def promised(self, steps: int) -> int:
        """The last position that somebody was told of by then."""
        return max((ack.position for ack in self.acks if ack.steps <= steps), default=0)


async def run(folder: Path) -> Run:
    """Runs the workload on a server in `folder`, which keeps what it leaves."""
    with recorded() as recorder:
        apsw.connection_hooks.append(_small_wal)
        try:
            async with a_site(folder, dev=True) as site:
                before, begun = held_in(folder), len(recorder.steps)
                acks: list[Ack] = []
                clients = [_Client(site, recorder.steps, begun, acks) for _ in range(TENANTS)]
                await asyncio.gather(*(client.live() for client in clients))
                await site.settled()
                events = read_all(site.app.log, 0, 1_000_000)
                steps = recorder.steps[begun:]
        finally:
            apsw.connection_hooks.remove(_small_wal)
    return Run(before, steps, acks, events)


def _small_wal(db: apsw.Connection) -> None:
    db.wal_autocheckpoint(CHECKPOINT_PAGES)


class _Client:
    """A tenant that does a bit of everything, one command after another."""

    def __init__(self, site: Site, steps: list[Step], begun: int, acks: list[Ack]) -> None:
        self.site = site
        self.steps = steps
        self.begun = begun
        self.acks = acks

    async def live(self) -> None:
        self.tenant = await self.site.register()
        for number in range(ROUNDS):
            body = {"name": f"s{number}", "image": "web:1", "port": 0}
            path = f"/v1/services/{(await self.do('POST', '/v1/services', body)).json['id']}"
            await self.do("POST", f"{path}/env", {"TOKEN": "a secret" * 40})
            await self.do("POST", f"{path}/deploy", {"image": "web:2"})
            await self.do("PATCH", path, {"memory_mb": 128})
            key = (await self.do("POST", "/v1/auth/keys", {"name": "one more"})).json
            await self.do("DELETE", f"/v1/auth/keys/{key['id']}")
            await self.do("DELETE", path)

    async def do(self, method: str, path: str, body: Any = None) -> Answer:
        """A command that succeeds."""
        sent = f"{self.tenant.id}-{len(self.acks)}"
        answer = await self.tenant.ask(method, path, body, headers={"Idempotency-Key": sent})
        assert answer.status < 300, answer.body
        steps = len(self.steps) - self.begun
        asked = (self.tenant.id, self.tenant.key, method, path, body, sent)
        self.acks.append(Ack(steps, answer.position, *asked, answer.status, answer.body))
        return answer


def faults(image: Path, run: Run, promised: int) -> str:
    """Why a server could not go on from the files of an image with all that was promised; "" where it could."""
    with closing(EventLog(image / "events.db", "a new one", 0)) as log:
        found = read_all(log.db, 0, 1_000_000)
        chain.verify(chain.GENESIS, 0, found)
        if [event.link for event in found] != [event.link for event in run.events[: len(found)]]:
            return "the log is not how the true one begins"
        if len(found) < promised:
            return f"the log ends at position {len(found)}, but {promised} was acknowledged"
        with closing(open_views(image / "views.db", log.db, log.installation, lambda done, of: None)) as views:
            at = views.db.execute("SELECT position FROM checkpoint").get
        if at != len(found):
            return f"the views are at position {at} of {len(found)}"
    return _unreadable(image, found)


def _unreadable(image: Path, found: list[Recorded]) -> str:
    """What of a tenant cannot be read; "" where all can be."""
    with closing(Keyring(image / "keys.db", read_master_key(image / "master.key", may_make=False), False)) as keyring:
        erased = {event.tenant for event in found if event.type == TenantErased.__struct_config__.tag}
        for event in found:
            fact = decode(event.type, event.data)
            if isinstance(fact, TenantRegistered) and event.tenant not in erased:
                try:
                    keyring.unseal(event.tenant, event.stream, "name", fact.name)
                except AhError as error:
                    return str(error)
    return ""
