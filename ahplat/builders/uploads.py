"""Archives that were sent: where one waits for its build, and how it becomes the source.

It lies in the folder of its build from its first byte on (`workplace.py`), so that it goes with that: when the build has its
outcome, or when a server starts and the log knows no such build. It is read by a program of its own (`archive.py`).
"""

import asyncio
import shutil
import sys
from pathlib import Path

from ahplat import limits
from ahplat.builders import git
from ahplat.builders.build_logs import BuildLog
from ahplat.builders.builder import Job
from ahplat.builders.sandbox import RoomOf
from ahplat.builders.workplace import Said, Workplace
from ahplat.errors import Rejected, Unavailable
from ahplat.sources import UPLOAD

_PROGRAM = Path(__file__).with_name("archive.py")
_REFUSED = 65  # as the program has it
_SAID_BYTES = 16 * 1024


def is_upload(job: Job) -> bool:
    """Whether the source is an archive."""
    return job.url.startswith(UPLOAD)


def path_in(place: Workplace) -> Path:
    """Where a build's archive lies."""
    return place.folder / "upload.tar.gz"


async def check(place: Workplace, file: Path) -> None:
    """Looks through an archive. Raises Rejected `archive_invalid`, Unavailable `builds_unavailable`."""
    try:
        await _run(place, str(file))
    except Rejected as rejected:  # it took too long, too
        raise Rejected("archive_invalid", rejected.detail) from rejected


async def fetch(place: Workplace, job: Job, log: BuildLog, room_of: RoomOf = git.in_no_room) -> str:
    """Puts the source at `place.source`, whichever way it comes, and returns its commit; an archive's is its SHA-256.

    Raises what `git.clone` raises; Rejected `upload_lost`, `archive_invalid`, `link_outside`, Unavailable.
    """
    if not is_upload(job):
        return await git.clone(place, job, log, room_of)
    commit = job.url.removeprefix(UPLOAD)
    if place.source.exists():
        return commit
    if not path_in(place).exists():
        raise Rejected("upload_lost", "the archive is not on this server any more: send it again")
    await asyncio.to_thread(shutil.rmtree, place.fetching, ignore_errors=True)
    place.fetching.mkdir()
    log.say(f"unpacking what was sent, {commit}")
    await _run(place, str(path_in(place)), str(place.fetching))
    await asyncio.to_thread(git.check_links, place.fetching)
    place.fetching.rename(place.source)
    return commit


async def _run(place: Workplace, file: str, *into: str) -> None:
    said = Said(_SAID_BYTES)
    bounds = (str(limits.UPLOAD_UNPACKED_BYTES), str(limits.UPLOAD_ENTRIES))
    argv = [sys.executable, "-I", "-S", str(_PROGRAM), file, *bounds, *into]
    code = await place.run(argv, said.hear, limits.UPLOAD_LOOK_S)
    last = said.text.strip().rpartition("\n")[2]
    if code == _REFUSED:
        raise Rejected("archive_invalid", last)
    if code != 0:
        raise Unavailable("builds_unavailable", f"the archive could not be read ({code}): {last[:400]}")
