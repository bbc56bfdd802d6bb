"""Lost replies, errors, a full disk and a dead dockerd at each point of each effect: the cells that do not kill."""

from collections.abc import Iterator

import pytest

from events.domains import ServiceDomainCheckRequested
from events.tenants import TenantKept
from tests.api.answering import answering, with_databases
from tests.api.site import FAST
from tests.faults.engine_faults import Fault, FaultySite, tell, wired
from tests.faults.matrix import Cell, tried
from tests.folders import memory_folder
from tests.names.nameserver import HOST, a_nameserver

pytestmark = [pytest.mark.embedded, pytest.mark.sampled(of=6)]

CELLS = tried("lost reply", "error", "no space", "dockerd dead")


@pytest.fixture(autouse=True)
def ready(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that takes time is made short."""
    for name, value in FAST.items():
        monkeypatch.setattr(f"ahplat.limits.{name}", value)
    with answering():
        yield


async def suffer(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    is_public = cell.intent is ServiceDomainCheckRequested
    fault = Fault(cell)
    wired(monkeypatch, fault)
    async with a_nameserver() as dns:
        with memory_folder() as folder:
            settings = {
                "dev": not is_public,
                "domain": "apps.example.org" if is_public else "localhost",
                "dns_upstreams": ((HOST, dns.port),),
                "keep_suspended_s": 0.0 if cell.intent is TenantKept else 3600.0,
            }
            site = FaultySite(fault, folder / "data", **settings)
            with_databases(site, "u_db")
            await site.begin()
            try:
                await tell(site, fault, is_public)
            finally:
                await site.end()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
async def test_what_fails_there_is_gone_through_and_the_work_comes_to_its_end(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    await suffer(cell, monkeypatch)
