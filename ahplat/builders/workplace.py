"""The folder of one build, `<data>/builds/<build>`, and how programs run for it.

`source` is the repository once it was looked through, `fetching` while it comes; the one becomes the other in one rename,
so that there is never half a source. All that runs for a build carries `AH_BUILD=<build>` in its environment and nothing of
the server's: by that it is found and ended, by a later server too.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ahplat import limits, processes
from ahplat.builders.build_logs import BuildLog
from ahplat.errors import Rejected

MARK = "AH_BUILD"
_BUILD = re.compile(r"[0-9a-f]{32}")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Workplace:
    """See the module. `programs` are folders that are searched before the system's."""

    def __init__(self, folder: Path, build_id: str, programs: Sequence[Path] = ()) -> None:
        self.folder = folder / build_id
        self.source = self.folder / "source"
        self.fetching = self.folder / "fetching"
        self.home = self.folder / "home"
        self._mark = f"{MARK}={build_id}"
        self._path = ":".join([*map(str, programs), PATH])

    async def begin(self, is_first: bool = True) -> None:
        """Ends what an earlier server left running, where nobody looked yet, and has the folder there."""
        if is_first:
            await self.end()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def run(
        self,
        argv: Sequence[str],
        hear: Callable[[bytes], None],
        timeout_s: float,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        file_bytes: int = 0,
        stdin: int = processes.NOTHING,
    ) -> int:
        """Runs a program of the build; see `processes.follow`. Raises Rejected `build_timeout` when it takes too long."""
        ours = {"PATH": self._path, "HOME": str(self.home), "TMPDIR": str(self.home), "LANG": "C.UTF-8"}
        try:
            return await processes.follow(
                argv,
                cwd=cwd or self.folder,
                env=ours | dict(env or {}),
                mark=self._mark,
                hear=hear,
                timeout_s=timeout_s,
                file_bytes=file_bytes,
                stdin=stdin,
            )
        except TimeoutError as error:
            raise Rejected("build_timeout", f"a program of the build did not end within {timeout_s:.0f} s") from error

    async def end(self) -> None:
        """Ends what runs, and returns when it is gone."""
        for _ in range(limits.BUILDER_KILL_ROUNDS):
            if not await asyncio.to_thread(processes.kill_marked, self._mark):
                return
            await asyncio.sleep(limits.BUILDER_KILL_S)

    async def discard(self) -> None:
        """Ends what runs and removes the folder."""
        if self.folder.exists():
            await self.end()
            await asyncio.to_thread(remove, self.folder)


def remove(folder: Path) -> None:
    """Removes a tree, whatever permissions its folders were given."""

    def unlock(function: Callable[[str], object], path: str, _: object) -> None:
        parent = Path(path).parent
        try:
            parent.chmod(0o700)
            if not Path(path).is_symlink():
                Path(path).chmod(0o700)
            function(path)
        except OSError:
            return  # what cannot be removed now is swept at the next start

    shutil.rmtree(folder, onerror=unlock)


def size_of(folder: Path) -> tuple[int, int]:
    """(bytes, entries) of a tree, links not followed; what vanishes meanwhile does not count."""
    size = entries = 0
    for root, folders, files in os.walk(folder):
        entries += len(folders) + len(files)
        for name in files:
            try:
                size += (Path(root) / name).lstat().st_size
            except OSError:
                continue
    return size, entries


class Said:
    """What a program said, for us to read: its last `limit` bytes, and a copy to the build's log where wanted.

    Why a program failed stands at the end of what it said.
    """

    def __init__(self, limit: int, log: BuildLog | None = None) -> None:
        self._limit = limit
        self._log = log
        self.data = bytearray()
        self.is_whole = True

    def hear(self, data: bytes) -> None:
        """Takes a piece."""
        if self._log:
            self._log.hear(data)
        self.data += data
        if len(self.data) > self._limit:
            del self.data[: -self._limit]
            self.is_whole = False

    @property
    def text(self) -> str:
        """As text."""
        return self.data.decode("utf-8", "replace")


def left_in(folder: Path, keep: Sequence[str]) -> list[str]:
    """Builds that have a folder and are not wanted any more."""
    found = (path.name for path in folder.iterdir()) if folder.exists() else iter(())
    return sorted(name for name in found if _BUILD.fullmatch(name) and name not in keep)
