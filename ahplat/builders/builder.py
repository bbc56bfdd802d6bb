"""The port that every builder implements: BuildKit for Docker, folders for the embedded engine, a simulated one in tests.

A builder knows sources and images; it knows no event, no tenant's plan and no HTTP. Each step is safe to repeat, also
after a process that was killed in it: it begins by ending what an earlier attempt left running, and takes what that
finished. A step that is cancelled has, when it returns, ended every process that it started. What the source is to
blame for raises `Rejected` with a stable code; what is ours for now raises `Unavailable`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from ahplat import limits
from ahplat.builders.build_logs import BuildLog


class Job(Struct, frozen=True):
    """One build, as a builder sees it. `left_s` is how long it may still take in all."""

    build_id: str
    tenant_id: str
    service_id: str
    url: str
    ref: str  # "" for the default branch
    commit: str  # "" until it is cloned
    builder: str
    image: str
    left_s: float


class Bounds(Struct, frozen=True):
    """What an operator sets of builds: memory and CPU of a tenant's builder with all that it runs, and whom it asks names.

    It reaches only name servers that have public addresses.
    """

    memory_mb: int = limits.BUILD_MEMORY_MB
    cpu_milli: int = limits.BUILD_CPU_MILLI
    nameservers: tuple[str, ...] = limits.BUILD_NAMESERVERS


class BuilderStatus(Struct, frozen=True):
    """Whether builds can run, and how. `detail` says why not, or what to know; `isolated`: apart from host and tenants."""

    name: str
    available: bool
    isolated: bool
    detail: str = ""


class Builder(Protocol):
    """See the module."""

    kinds: frozenset[str]  # of build that it knows: nixpacks, dockerfile

    async def status(self) -> BuilderStatus:
        """Never raises: a builder that cannot work says so in the answer."""

    def image_name(self, tenant_id: str, service_id: str, build_id: str) -> str:
        """What the image of a build will be called: deterministic, and this tenant's alone."""

    async def clone(self, job: Job, log: BuildLog) -> str:
        """Fetches the source and looks through it; returns the commit."""

    async def plan(self, job: Job, log: BuildLog) -> str:
        """Works out how it is built; returns the SHA-256 of the plan, in hex."""

    async def build(self, job: Job, log: BuildLog) -> str:
        """Makes the image; returns its digest."""

    async def push(self, job: Job, log: BuildLog) -> str:
        """Puts the image where the engine takes images from; returns the digest that it has there."""

    async def discard(self, build_id: str) -> None:
        """Ends what still runs of a build and removes its folder. Nothing happens where there is nothing."""

    async def sweep(self, keep: Sequence[str], is_gone: Callable[[str], bool]) -> None:
        """Discards what an earlier server left of builds that are not in `keep`, and all of tenants that are gone."""

    async def forget(self, tenant_id: str, service_id: str) -> None:
        """Removes all images of a service that is gone."""

    async def drop(self, pinned: str) -> None:
        """Removes one image of a build from where the engine takes images; nothing happens where it is of no build."""

    async def wasted(self) -> int:
        """How many bytes of dropped images it has yet to give back. Raises Unavailable."""

    async def free(self) -> int:
        """Gives them back, where it can now; how many those were. Raises Unavailable."""

    async def forget_tenant(self, tenant_id: str) -> None:
        """Removes what is kept for a tenant that is erased."""

    async def close(self) -> None:
        """Ends what it keeps running."""
