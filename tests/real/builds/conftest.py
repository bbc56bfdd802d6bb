"""The real builder by itself: git, Nixpacks, BuildKit and gVisor, without the platform around it."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ahplat.builders.blobs import Blobs
from ahplat.builders.build_logs import BuildLogs
from ahplat.builders.builder import Bounds, Job
from ahplat.builders.buildkit import BuildKitBuilder
from ahplat.builders.registry import Registry
from ahplat.sealing import Keyring
from tests.builds.git_server import GitServer, serving
from tests.parts.parts import Parts

A_MINUTE_S = 60.0


@pytest.fixture(scope="package")
def git_server() -> Iterator[GitServer]:
    with tempfile.TemporaryDirectory(prefix="ah-git-") as folder, serving(Path(folder)) as server:
        yield server


@dataclass
class Yard:
    """One builder, and the tenants that build on it."""

    builder: BuildKitBuilder
    logs: BuildLogs
    keyring: Keyring
    git: GitServer
    folder: Path
    registry: str
    made: list[Job] = field(default_factory=list)

    def tenant(self) -> str:
        """A new one's id."""
        tenant_id = secrets.token_hex(16)
        self.keyring.create(tenant_id)
        return tenant_id

    def bounded(self, **bounds: Any) -> None:
        """Sets what the builders of tenants get that come from now on."""
        self.builder._bounds = Bounds(**bounds)

    def trusting(self) -> None:
        """As with `--build-isolation none`."""
        self.builder._isolated = False

    def job(
        self, tenant_id: str, files: Mapping[str, str | bytes], builder: str = "dockerfile", left_s: float = 120
    ) -> Job:
        """A build of a new repository with these files."""
        name = f"r{secrets.token_hex(6)}"
        commit = self.git.repository(name, files)
        build_id, service_id = secrets.token_hex(16), secrets.token_hex(16)
        image = self.builder.image_name(tenant_id, service_id, build_id)
        job = Job(build_id, tenant_id, service_id, self.git.url(name), "", commit, builder, image, left_s)
        self.made.append(job)
        return job

    async def run(self, job: Job) -> str:
        """All steps; the digest."""
        with self.logs.open(job.tenant_id, job.build_id, []) as log:
            for step in (self.builder.clone, self.builder.plan, self.builder.build):
                await step(job, log)
            return await self.builder.push(job, log)

    def said(self, job: Job) -> str:
        """What its log holds."""
        lines: list[str] = []
        offset, after = 0, 0
        while True:
            found, offset = self.logs.read(job.tenant_id, job.build_id, after, offset)
            if not found:
                return "\n".join(lines)
            lines += [line.text for line in found]
            after = found[-1].number


@pytest_asyncio.fixture
async def yard(running: Parts, git_server: GitServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Yard]:
    path = ":".join([*map(str, running.builders), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    folder = Path(tempfile.mkdtemp(prefix="ah-yard-"))
    keyring = Keyring(folder / "keys.db", bytes(32))
    registry = Registry(running.registry, Blobs(None))
    builder = BuildKitBuilder(folder, secrets.token_hex(16), registry, isolated=True, bounds=Bounds())
    made = Yard(builder, BuildLogs(folder / "buildlogs", keyring), keyring, git_server, folder, running.registry)
    try:
        yield made
    finally:
        for job in made.made:
            await builder.forget(job.tenant_id, job.service_id)
            await builder.discard(job.build_id)
        for tenant_id in {job.tenant_id for job in made.made}:
            await builder.forget_tenant(tenant_id)
        await builder.close()
        keyring.close()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
