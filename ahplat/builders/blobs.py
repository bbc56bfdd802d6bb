"""Gives back what dropped images took in the registry: runs the registry's own `garbage-collect` over its folder.

It marks what manifests name and removes the rest, so a push beside it could lose the layers that it has sent, or found
there, before its manifest comes. So it begins while no push of ours is under way, and holds those that come until it has
ended, killed after BLOBS_S where it must be; one that a killed server left is ended first. Whoever pushes
anything else to this registry does that at their own risk, as the README says. The registry itself goes on: it looks at
the disk each time, unless its configuration has a cache of blob descriptors.

`--delete-untagged` is not used: it takes the parts of images for several machines (distribution issue 3178), and what a
rollback may go back to.
"""

import asyncio
import logging
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ahplat import limits, processes
from ahplat.errors import Unavailable

PROGRAMS = ("docker-registry", "registry")  # as Debian calls it, and everybody else
BLOBS = Path("docker", "registry", "v2", "blobs", "sha256")  # in the registry's folder
_FOLDER = re.compile(r"""^\s*"?rootdirectory"?\s*:\s*["']?([^"',#\n]*[^"',#\s])""", re.MULTILINE)
_GARBAGE = re.compile(r"^blob eligible for deletion: sha256:([0-9a-f]{64})$", re.MULTILINE)

logger = logging.getLogger("ahplat.garbage")


class Blobs:
    """See the module. `config` is the registry's; without it nothing is ever done."""

    def __init__(self, config: Path | None) -> None:
        self._config = config
        self._mark = f"AH_REGISTRY_GC={config}"
        self._owes = config is not None  # an earlier server may have dropped something
        self._pushes = 0
        self._collecting = asyncio.Lock()

    @asynccontextmanager
    async def pushing(self) -> AsyncIterator[None]:
        """For as long as something is put into the registry. Waits where blobs are being removed."""
        async with self._collecting:
            self._pushes += 1
        try:
            yield
        finally:
            self._pushes -= 1

    def dropped(self) -> None:
        """An image is gone, and with it perhaps the need for what it consists of."""
        self._owes = self._config is not None

    async def end(self) -> None:
        """Ends what an earlier server left running."""
        if self._config:
            await asyncio.to_thread(processes.kill_marked, self._mark)

    async def wasted(self) -> int:
        """How many bytes are waiting to be given back. Raises Unavailable."""
        return sum((await self._garbage()).values()) if self._owes else 0

    async def free(self) -> int:
        """Gives them back, where no push is under way; how many those were. Raises Unavailable."""
        async with self._collecting:
            if self._pushes or not self._owes:
                return 0
            self._owes = False  # what is dropped from now on may come too late for this one
            try:
                await self.end()
                garbage = await self._garbage()
                if garbage:
                    await self._run()
            except BaseException:
                self._owes = True
                raise
        return sum(size for path, size in garbage.items() if not path.exists())

    async def _garbage(self) -> dict[Path, int]:
        """File → bytes of what would be removed now."""
        found = _GARBAGE.findall(await self._run("--dry-run"))
        paths = [self._folder() / digest[:2] / digest / "data" for digest in found]
        return {path: path.stat().st_size for path in paths if path.exists()}

    def _folder(self) -> Path:
        assert self._config
        try:
            found = _FOLDER.search(self._config.read_text())
        except OSError as error:
            raise Unavailable("registry_failed", f"{self._config} cannot be read: {error.strerror}") from error
        if found is None:
            raise Unavailable("registry_failed", f"{self._config} names no rootdirectory: is it the registry's?")
        return Path(found[1]) / BLOBS

    async def _run(self, *options: str) -> str:
        """What it said. Nothing of it is left when this has ended, however that was."""
        program = next((path for name in PROGRAMS if (path := shutil.which(name))), PROGRAMS[0])
        said = bytearray()
        try:
            code = await processes.follow(
                [program, "garbage-collect", *options, str(self._config)],
                cwd=Path("/"),
                env={},
                mark=self._mark,
                hear=said.extend,
                timeout_s=limits.BLOBS_S,
            )
        except TimeoutError as error:
            raise Unavailable("registry_failed", f"{program} garbage-collect took over {limits.BLOBS_S:g} s") from error
        if code != 0:
            why = said.decode(errors="replace").strip()[-400:]
            raise Unavailable("registry_failed", f"{program} garbage-collect ended with {code}: {why}")
        return said.decode(errors="replace")
