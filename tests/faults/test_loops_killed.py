"""SIGKILL in each of the loops by which the platform looks after itself: before and after what it says is on the disk.

What kills itself is `hurried.py`, at a command. The next server finds what is left, and does the rest once.
"""

import json
import os
import signal
from contextlib import suppress
from typing import Any

import pytest

from events.disks import DiskLevelChanged
from events.event import Event
from events.services import ServiceCircuitHalfOpened, ServiceCircuitOpened, ServiceRepairRequested
from events.tenants import TenantErased
from events.usage import Reading, UsageMeasured
from tests.faults.agents import GONE
from tests.faults.harness import LAPTOP, Server, eventually
from tests.faults.hurried import run_hurried
from tests.faults.test_full_disk import fill_to
from tests.faults.test_full_disk import small as small
from tests.faults.test_stopping import running
from tests.faults.test_usage import rows, usage

pytestmark = pytest.mark.embedded

KILLED = -signal.SIGKILL
TOKEN = "t" * 40


@pytest.fixture
def hurry(server: Server) -> Server:
    """A server that looks at everything each second, and dies where it is told to."""
    server.options = (*LAPTOP, "--reconcile-s", "1")
    server.main = run_hurried
    return server


def begin(server: Server, dies: str, waits: dict[str, Any] | None = None) -> None:
    server.start(AH_TEST_DIES=dies, AH_TEST_WAITS=json.dumps(waits or {}), AH_BOOTSTRAP_TOKEN=TOKEN)


def facts(server: Server, kind: type[Event]) -> list[Any]:
    return [event for _, event in server.events if isinstance(event, kind)]


def crash(server: Server) -> None:
    """Ends what runs of all services."""
    for pid in server.processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def check_serves(server: Server, key: str, service_id: str) -> None:
    """One instance answers, and after that all is well in the files too."""
    seen = server.ask("GET", f"/v1/services/{service_id}?wait=running&timeout=20", key=key).json
    assert (seen["status"], seen["circuit_open"]) == ("running", False), seen
    server.settled(key)
    assert len(server.instances) == 1
    assert server.ask("GET", "/", Host=seen["url"].removeprefix("http://")).status == 200
    check_ends_well(server)


def check_ends_well(server: Server) -> None:
    assert server.end() == 0
    server.check_files()


@pytest.mark.parametrize("dies", ["before ReportCrash|ReportDrift", "before ServiceRepaired", "after ServiceRepaired"])
def test_in_a_repair(hurry: Server, api_key: str, dies: str) -> None:
    hurry.start()
    service_id = running(hurry, api_key)
    hurry.end()
    begin(hurry, dies)
    crash(hurry)
    assert hurry.wait() == KILLED
    hurry.start()
    check_serves(hurry, api_key, service_id)
    assert len(facts(hurry, ServiceRepairRequested)) == 1


@pytest.mark.parametrize("dies", ["before TryService", "after TryService", "before ServiceInstanceHealthy"])
def test_in_the_try_of_a_half_open_circuit(hurry: Server, api_key: str, dies: str) -> None:
    hurry.start()
    service_id = running(hurry, api_key)
    hurry.end()
    begin(hurry, dies, {"ahplat.limits:CRASHES": 1, "ahplat.limits:CIRCUIT_TRIES_S": [1, 3600]})

    def opened() -> bool:
        crash(hurry)  # again, where nobody watched yet
        return bool(facts(hurry, ServiceCircuitOpened))

    eventually(opened)
    assert hurry.wait() == KILLED
    hurry.start()
    check_serves(hurry, api_key, service_id)
    assert len(facts(hurry, ServiceCircuitHalfOpened)) == 1
    assert len(facts(hurry, ServiceCircuitOpened)) == 1


@pytest.mark.parametrize("dies", ["after DeleteService", "before TenantErased", "after TenantErased"])
def test_in_an_erasure(hurry: Server, api_key: str, dies: str) -> None:
    begin(hurry, dies)
    service_id = running(hurry, api_key)
    tenant_id = hurry.ask("GET", "/v1/tenant", key=api_key).json["id"]
    other = hurry.register("other")
    with suppress(*GONE):
        hurry.ask("DELETE", f"/v1/tenants/{tenant_id}/data", {"confirm": "acme"}, X_Bootstrap_Token=TOKEN)
    assert hurry.wait() == KILLED
    hurry.start()
    eventually(lambda: facts(hurry, TenantErased))
    hurry.settled(other)
    assert len(facts(hurry, TenantErased)) == 1
    assert (hurry.instances, hurry.processes) == ({}, {})
    assert (hurry.folder / "checkpoints" / "erased").read_text().count(tenant_id) == 1
    assert hurry.ask("GET", f"/v1/services/{service_id}", key=api_key).status in (401, 403)
    assert hurry.ask("GET", "/v1/tenant", key=other).status == 200
    check_ends_well(hurry)


HOURS = {"ahplat.limits:METER_LOOK_S": 0.1, "ahplat.effects.metering:HOUR_S": 1}


@pytest.mark.parametrize(
    ("dies", "waits"),
    [("before RecordUsage", HOURS), ("after RecordUsage", HOURS), ("after RecordUsage", {})],
    ids=["before an hour is told", "after an hour is told", "after the last of an instance is told"],
)
def test_in_the_metering(hurry: Server, api_key: str, dies: str, waits: dict[str, Any]) -> None:
    """What is told again counts once."""
    hurry.start()
    service_id = running(hurry, api_key)
    hurry.end()
    begin(hurry, dies, waits)
    if not waits:
        with suppress(*GONE):
            hurry.ask("POST", f"/v1/services/{service_id}/stop", key=api_key)
    assert hurry.wait() == KILLED
    hurry.start()
    hurry.ask("POST", f"/v1/services/{service_id}/stop", key=api_key)
    hurry.settled(api_key)
    readings: list[Reading] = [one for fact in facts(hurry, UsageMeasured) for one in fact.readings]
    assert len({one.instance for one in readings}) == 1
    [row] = rows(usage(hurry, "--csv"))
    assert float(row["cpu_seconds"]) == pytest.approx(max(one.cpu_us for one in readings) / 1e6, abs=0.01)
    check_ends_well(hurry)


@pytest.mark.parametrize("dies", ["before ReportDisk", "after ReportDisk"])
def test_in_the_watch_of_the_disks(small: Server, api_key: str, dies: str) -> None:
    fill_to(small, 0.83)
    small.main = run_hurried
    small.launch(AH_TEST_DIES=dies)
    assert small.wait() == KILLED
    small.start()
    eventually(lambda: facts(small, DiskLevelChanged))
    health = small.ask("GET", "/v1/system/health/detailed", key=api_key).json
    assert health["disk"]["level"] == "low"
    assert [fact.level for fact in facts(small, DiskLevelChanged)] == ["low"]
    check_ends_well(small)
