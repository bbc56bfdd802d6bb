"""The builder of the embedded engine: the source itself becomes a folder image. Nothing of the tenant's runs in it.

How it starts comes from its Procfile, else from `nixpacks plan` where nixpacks is installed, else from the files that the
engine knows by itself; what nixpacks says is written down as a Procfile. The image is put into its place by one rename.
"""

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ahplat import limits
from ahplat.builders import uploads
from ahplat.builders.build_logs import BuildLog
from ahplat.builders.builder import BuilderStatus, Job
from ahplat.builders.workplace import Said, Workplace, left_in, remove
from ahplat.engines import folder_image
from ahplat.errors import Rejected

_PLAN_BYTES = 1024 * 1024


class Start(msgspec.Struct, frozen=True):
    cmd: str = ""


class NixpacksPlan(msgspec.Struct, frozen=True):
    start: Start = Start()


class EmbeddedBuilder:
    """See the module."""

    kinds = frozenset({"nixpacks"})

    def __init__(self, data_dir: Path) -> None:
        self._builds = data_dir.absolute() / "builds"
        self._images = data_dir.absolute() / "images"
        self._begun: set[str] = set()  # builds that this process has begun: nothing of another's runs of them

    async def status(self) -> BuilderStatus:
        missing = "" if shutil.which("git") else "git is not installed"
        return BuilderStatus("folders", available=not missing, isolated=True, detail=missing)

    def image_name(self, tenant_id: str, service_id: str, build_id: str) -> str:
        return f"ah/{tenant_id}-{service_id}:{build_id}"

    async def clone(self, job: Job, log: BuildLog) -> str:
        return await uploads.fetch(await self._begin(job, log), job, log)

    async def plan(self, job: Job, log: BuildLog) -> str:
        place = await self._prepared(job, log)
        command = await asyncio.to_thread(folder_image.command, place.source, 1)
        line = " ".join(command).replace(sys.executable, "python")
        log.say(f"starts with: {line}")
        return hashlib.sha256(line.encode()).hexdigest()

    async def build(self, job: Job, log: BuildLog) -> str:
        if self._image(job).exists():
            return await self._digest(self._image(job))
        place = await self._prepared(job, log)
        found = await self._digest(place.source)
        log.say(f"the folder is {found}")
        return found

    async def push(self, job: Job, log: BuildLog) -> str:
        image = self._image(job)
        if not image.exists():
            place = await self._prepared(job, log)
            image.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.source.rename(image)
        log.say(f"image {job.image}")
        return await self._digest(image)

    async def discard(self, build_id: str) -> None:
        self._begun.discard(build_id)
        await Workplace(self._builds, build_id).discard()

    async def sweep(self, keep: Sequence[str], is_gone: Callable[[str], bool]) -> None:
        for build_id in left_in(self._builds, keep):
            await self.discard(build_id)

    async def forget(self, tenant_id: str, service_id: str) -> None:
        folder = self._images / f"{tenant_id}-{service_id}"
        if folder.exists():
            await asyncio.to_thread(remove, folder)

    async def drop(self, pinned: str) -> None:
        """Its images are folders, which go with their service."""

    async def wasted(self) -> int:
        return 0  # there is no registry

    async def free(self) -> int:
        return 0

    async def forget_tenant(self, tenant_id: str) -> None:
        """It keeps nothing of a tenant but its images."""

    async def close(self) -> None:
        """It keeps nothing running."""

    def _image(self, job: Job) -> Path:
        return self._images / f"{job.tenant_id}-{job.service_id}" / job.build_id

    async def _begin(self, job: Job, log: BuildLog) -> Workplace:
        place = Workplace(self._builds, job.build_id)
        await place.begin(is_first=job.build_id not in self._begun)
        self._begun.add(job.build_id)
        log.hide(str(place.folder))
        return place

    async def _prepared(self, job: Job, log: BuildLog) -> Workplace:
        """The source, as it was left or fetched again, with how it starts written down; it is image and all."""
        place = await self._begin(job, log)
        await uploads.fetch(place, job, log)
        procfile = place.source / "Procfile"
        if not procfile.exists() and shutil.which("nixpacks") and (start := await _planned_start(place, job, log)):
            procfile.write_text(f"web: {start}\n")
        return place

    async def _digest(self, folder: Path) -> str:
        return await asyncio.to_thread(folder_image.digest, folder, lambda: False)


async def _planned_start(place: Workplace, job: Job, log: BuildLog) -> str:
    """What nixpacks would start it with; "" where it knows no way."""
    said = Said(_PLAN_BYTES)
    argv = [shutil.which("nixpacks") or "nixpacks", "plan", "--format", "json", str(place.source)]
    code = await place.run(argv, said.hear, min(limits.PLAN_S, job.left_s))
    try:
        plan = msgspec.json.decode(said.text, type=NixpacksPlan) if code == 0 else NixpacksPlan()
    except msgspec.MsgspecError:
        plan = NixpacksPlan()
    if any(character in plan.start.cmd for character in "\r\n\0"):
        raise Rejected("plan_failed", "nixpacks plans a start command of several lines")
    log.say("nixpacks plan: " + (plan.start.cmd or "it knows no way to start this"))
    return plan.start.cmd
