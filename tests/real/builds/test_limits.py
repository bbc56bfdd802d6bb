"""Builds that take what they can get: each fails by itself, leaves nothing running, and the next one of its tenant works."""

import asyncio
import os
from pathlib import Path

import pytest

from ahplat import limits
from ahplat.builders.builder import Job
from ahplat.errors import Rejected, Unavailable
from tests.real.builds.conftest import Yard

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

BASE = "FROM railwayapp/nixpacks:ubuntu-1745885067\n"
APP = {"main.py": "import time; time.sleep(60)\n"}


async def refused(yard: Yard, job: Job) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await yard.run(job)
    return caught.value


async def works(yard: Yard, tenant: str) -> None:
    """One more build of the tenant."""
    assert (await yard.run(yard.job(tenant, {"Dockerfile": BASE + "RUN echo it works\n"}))).startswith("sha256:")


def running(yard: Yard, tenant: str) -> list[int]:
    return yard.builder._daemon(tenant).cgroup.pids()


async def test_nixpacks_plans_and_a_step_runs_in_gvisor(yard: Yard) -> None:
    job = yard.job(yard.tenant(), APP, builder="nixpacks")
    digest = await yard.run(job)
    assert "Nixpacks v1.41.0" in yard.said(job)
    repository, _, tag = job.image.partition("/")[2].partition(":")
    assert await yard.builder._registry.holds(repository, tag) == digest


async def test_all_that_a_step_says_is_told_up_to_the_logs_own_bound(yard: Yard) -> None:
    job = yard.job(
        yard.tenant(), {"Dockerfile": BASE + 'RUN seq -f "line %06.0f of many that are said at once" 40000\n'}
    )
    await yard.run(job)
    said = yard.said(job)
    assert all(f"line {n:06} of many" in said for n in range(1, 40_001))


async def test_memory_is_bounded(yard: Yard) -> None:
    yard.bounded(memory_mb=400)
    tenant = yard.tenant()
    hog = "RUN python3 -c \"b = [bytearray(b'x' * 50_000_000) for _ in range(40)]\"\n"
    error = await refused(yard, yard.job(tenant, {"Dockerfile": BASE + hog}))
    assert error.code in ("out_of_memory", "build_failed")
    await works(yard, tenant)


async def test_processes_are_bounded(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUILD_PIDS", 300)
    tenant = yard.tenant()
    bomb = "RUN timeout 20 sh -c 'f() { f | f & }; f; sleep 15'; true\n"
    job = yard.job(tenant, {"Dockerfile": BASE + bomb}, left_s=60)
    building = asyncio.ensure_future(yard.run(job))
    most = 0
    while not building.done():
        most = max(most, len(running(yard, tenant)))
        await asyncio.sleep(0.1)
    await asyncio.gather(building, return_exceptions=True)
    assert 20 < most <= 300
    await yard.builder._daemon(tenant).stop()
    assert running(yard, tenant) == []
    await works(yard, tenant)


async def test_the_disk_is_bounded(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUILD_DISK_BYTES", 300 * 1024**2)
    monkeypatch.setattr(limits, "BUILD_DISK_POLL_S", 0.1)
    tenant = yard.tenant()
    await works(yard, tenant)
    fill = "RUN for n in $(seq 1 40); do head -c 50000000 /dev/urandom > /fill$n; sleep 0.1; done\n"
    error = await refused(yard, yard.job(tenant, {"Dockerfile": BASE + fill}))
    assert error.code == "build_too_large"
    assert running(yard, tenant) == []


async def test_time_is_bounded(yard: Yard) -> None:
    tenant = yard.tenant()
    error = await refused(yard, yard.job(tenant, {"Dockerfile": BASE + "RUN sleep 600\n"}, left_s=6))
    assert error.code == "build_timeout"
    assert running(yard, tenant) == []
    await works(yard, tenant)


async def test_what_a_step_says_is_bounded(yard: Yard) -> None:
    job = yard.job(
        yard.tenant(), {"Dockerfile": BASE + "RUN head -c 60000000 /dev/zero | tr '\\\\0' x; yes | head -c 40000000\n"}
    )
    await yard.run(job)
    stored = yard.logs.path(job.tenant_id, job.build_id).stat().st_size
    assert stored < limits.BUILD_LOG_BYTES + 2 * limits.BUILD_LOG_TAIL_BYTES


async def test_a_build_that_is_cancelled_ends_at_once_with_its_steps(yard: Yard) -> None:
    tenant = yard.tenant()
    await works(yard, tenant)
    job = yard.job(tenant, {"Dockerfile": BASE + "RUN sleep 600\n"})
    building = asyncio.ensure_future(yard.run(job))
    async with asyncio.timeout(30):
        while "RUN sleep" not in yard.said(job) or len(running(yard, tenant)) < 5:
            await asyncio.sleep(0.1)
    building.cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(building, return_exceptions=True)
    assert running(yard, tenant) == []
    await yard.builder.discard(job.build_id)
    assert not Path(yard.folder, "builds", job.build_id).exists()
    await works(yard, tenant)


async def test_the_bounds_hold_without_gvisor_too(yard: Yard) -> None:
    yard.trusting()
    yard.bounded(memory_mb=400)
    tenant = yard.tenant()
    hog = "RUN python3 -c \"b = [bytearray(b'x' * 50_000_000) for _ in range(40)]\"\n"
    error = await refused(yard, yard.job(tenant, {"Dockerfile": BASE + hog}))
    assert error.code in ("out_of_memory", "build_failed")
    endless = yard.job(tenant, {"Dockerfile": BASE + "RUN cat /proc/version; sleep 600\n"}, left_s=10)
    assert (await refused(yard, endless)).code == "build_timeout"
    assert "gvisor" not in yard.said(endless)
    assert running(yard, tenant) == []
    await works(yard, tenant)
    folders = yard.builder._daemon(tenant).cgroup.folders()
    await yard.builder._daemon(tenant).stop()
    assert [folder for folder in folders if folder.exists()] == []


async def test_a_plan_that_ended_with_a_builder_which_does_not_start_says_that(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "buildkitd"
    broken.write_text("#!/bin/sh\necho broken\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = yard.job(yard.tenant(), APP, builder="nixpacks")
    with yard.logs.open(job.tenant_id, job.build_id, []) as log:
        await yard.builder.clone(job, log)
        with pytest.raises(Unavailable, match="buildkitd ended at once: broken"):
            await yard.builder.plan(job, log)
