"""A builder without programs: each step ends at once, waits for a test, or refuses; it notes what it was asked for."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from ahplat.builders.build_logs import BuildLog
from ahplat.builders.builder import BuilderStatus, Job
from ahplat.errors import AhError


def digest_of(image: str) -> str:
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


class SimulatedBuilder:
    """`fail` is what the next call of a step raises; a step in `held` does not end before its event is set."""

    kinds = frozenset({"nixpacks", "dockerfile"})

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fail: dict[str, list[AhError]] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.running: set[str] = set()
        self.most_at_once = 0
        self.folders: set[str] = set()
        self.pushed: list[str] = []
        self.kept_for: set[str] = set()  # tenants of whom a server that was killed left something
        self.waste = 0  # bytes of dropped images

    async def status(self) -> BuilderStatus:
        return BuilderStatus("simulated", available=True, isolated=True)

    def image_name(self, tenant_id: str, service_id: str, build_id: str) -> str:
        return "web:1"

    async def clone(self, job: Job, log: BuildLog) -> str:
        self.folders.add(job.build_id)
        return await self._step("clone", job, log, "c" * 40)

    async def plan(self, job: Job, log: BuildLog) -> str:
        return await self._step("plan", job, log, "p" * 64)

    async def build(self, job: Job, log: BuildLog) -> str:
        return await self._step("build", job, log, digest_of(job.image))

    async def push(self, job: Job, log: BuildLog) -> str:
        pushed = await self._step("push", job, log, digest_of(job.image))
        self.pushed.append(job.build_id)
        return pushed

    async def discard(self, build_id: str) -> None:
        self.calls.append(("discard", build_id))
        self.folders.discard(build_id)

    async def sweep(self, keep: Sequence[str], is_gone: Callable[[str], bool]) -> None:
        self.folders &= set(keep)
        self.kept_for = {tenant_id for tenant_id in self.kept_for if not is_gone(tenant_id)}

    async def forget(self, tenant_id: str, service_id: str) -> None:
        self.calls.append(("forget", service_id))

    async def drop(self, pinned: str) -> None:
        self.calls.append(("drop", pinned))
        if errors := self.fail.get("drop"):
            raise errors.pop(0)

    async def wasted(self) -> int:
        if errors := self.fail.get("wasted"):
            raise errors.pop(0)
        return self.waste

    async def free(self) -> int:
        freed = await self.wasted()
        self.waste = 0
        return freed

    async def forget_tenant(self, tenant_id: str) -> None:
        self.calls.append(("forget_tenant", tenant_id))

    async def close(self) -> None:
        """It keeps nothing."""

    async def _step(self, name: str, job: Job, log: BuildLog, made: str) -> str:
        self.calls.append((name, job.build_id))
        self.running.add(job.build_id)
        self.most_at_once = max(self.most_at_once, len(self.running))
        try:
            log.say(f"{name} {job.url}")
            if errors := self.fail.get(name):
                raise errors.pop(0)
            if name in self.held:
                await self.held[name].wait()
            return made
        finally:
            self.running.discard(job.build_id)
