"""Fetches one commit of a repository, and looks through it before a byte of it is unpacked.

git runs without configuration, hooks, credentials, prompts or redirects, and may speak https alone (http to this machine
where that is allowed). The tree is read from the object store first: submodules, too many files and too many bytes are
refused before anything is checked out. Links that lead out of the repository are refused after that; git itself never
writes through them. The size is watched while it comes, for a server may send more than it says. What reads bytes of the
repository runs in a room (`sandbox.py`): in gVisor where builds are isolated.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

from ahplat import limits
from ahplat.builders.build_logs import BuildLog
from ahplat.builders.builder import Job
from ahplat.builders.sandbox import Plain, Room, RoomOf, room
from ahplat.builders.workplace import Said, Workplace, size_of
from ahplat.errors import Rejected
from ahplat.sources import is_commit

_SETTINGS = (
    "protocol.allow=never",
    "protocol.https.allow=always",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "credential.helper=",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.protectNTFS=false",
    "core.longpaths=true",
    "submodule.recurse=false",
    "transfer.bundleURI=false",
    "fetch.writeCommitGraph=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_TEMPLATE_DIR": "",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
_SAID_BYTES = 64 * 1024
_TREE_BYTES = 64 * 1024 * 1024
_HEAD_BYTES = 256
_UNREACHED = re.compile(r"Could not resolve host|Failed to connect|Couldn't connect|Connection timed out")
_ENTRY = re.compile(rb"(?P<mode>\d{6}) \w+ [0-9a-f]+ +(?P<size>\d+|-)\t(?P<path>.*)", re.DOTALL)


def argv(*command: str, plain: bool = False) -> list[str]:
    """git with all settings that keep it from doing anything else.

    >>> argv("fetch", plain=True)[-3:]
    ['-c', 'protocol.http.allow=always', 'fetch']
    """
    settings = [*_SETTINGS, *(["protocol.http.allow=always"] if plain else [])]
    return ["git", *(part for setting in settings for part in ("-c", setting)), *command]


def fetch_argv(url: str, ref: str) -> list[str]:
    """One commit, without history, tags or submodules; nothing of it can be taken for an option."""
    plain = url.startswith("http://")
    options = ["--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-commit-graph"]
    return argv("fetch", *options, "--", url, ref or "HEAD", plain=plain)


def in_no_room(place: Workplace, folder: Path) -> AbstractAsyncContextManager[Room]:
    """Where nothing holds git in."""
    return room(place, folder, limits.CLONE_BYTES)


async def clone(place: Workplace, job: Job, log: BuildLog, room_of: RoomOf = in_no_room) -> str:
    """Puts the source at `place.source` and returns its commit; a source that is there at `job.commit` is left.

    Raises Rejected `clone_failed`, `ref_not_found`, `source_redirected`, `source_unauthorized`, `source_unreachable`,
    `clone_timeout`, `repository_too_large`, `submodules_unsupported`, `link_outside`; Unavailable where git is missing.
    """
    if job.commit and place.source.exists():
        return job.commit
    for old in (place.fetching, place.source):
        await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)
    place.fetching.mkdir()
    log.say(f"cloning {job.url} at {job.commit or job.ref or 'its default branch'}")
    watching = asyncio.ensure_future(_too_large(place.fetching))
    fetching = asyncio.ensure_future(_fetch(place, job, log, room_of))
    try:
        async with asyncio.timeout(min(limits.CLONE_S, job.left_s)):
            await asyncio.wait({watching, fetching}, return_when=asyncio.FIRST_COMPLETED)
            if not fetching.done():
                watching.result()
            commit = await fetching
    except TimeoutError as error:
        raise Rejected("clone_timeout", f"the repository was not here within {limits.CLONE_S} s") from error
    finally:
        for one in (watching, fetching):
            one.cancel()
        await asyncio.gather(watching, fetching, return_exceptions=True)
    place.fetching.rename(place.source)
    log.say(f"commit {commit}")
    return commit


async def _too_large(folder: Path) -> None:
    """Looks at it as it grows. Raises Rejected as soon as it is too large; else does not return."""
    while True:
        await asyncio.sleep(limits.CLONE_POLL_S)
        size, entries = await asyncio.to_thread(size_of, folder)
        if size > limits.CLONE_BYTES or entries > 2 * limits.CLONE_ENTRIES:
            raise Rejected("repository_too_large", f"more than {limits.CLONE_BYTES} bytes, or too many files")


async def _fetch(place: Workplace, job: Job, log: BuildLog, room_of: RoomOf) -> str:
    async with room_of(place, place.fetching) as inside:
        await _git(Plain(place, place.fetching, limits.CLONE_BYTES), argv("init", "--quiet", "."), log)  # reads nothing
        await _git(inside, fetch_argv(job.url, job.commit or job.ref), log)
        _check_tree(
            await _git(inside, argv("ls-tree", "-r", "-l", "-z", "--full-tree", "FETCH_HEAD"), limit=_TREE_BYTES)
        )
        await _git(inside, argv("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"), log)
    commit = await asyncio.to_thread(_checked_out, place.fetching / ".git" / "HEAD")
    await asyncio.to_thread(check_links, place.fetching)
    await asyncio.to_thread(shutil.rmtree, place.fetching / ".git")
    return commit


def _checked_out(head: Path) -> str:
    """The commit that a detached HEAD names. What git left may be anything: no link is followed. Raises Rejected."""
    if head.parent.is_symlink() or head.is_symlink() or not head.is_file() or head.stat().st_size > _HEAD_BYTES:
        raise Rejected("clone_failed", "git left no commit behind")
    commit = head.read_text(errors="replace").strip()
    if not is_commit(commit):
        raise Rejected("clone_failed", f"expected a commit, git names {commit[:80]!r}")
    return commit


async def _git(inside: Room, command: Sequence[str], log: BuildLog | None = None, limit: int = _SAID_BYTES) -> str:
    said = Said(limit, log)
    code = await inside.run(command, said.hear, limits.CLONE_S, env=ENV)
    if not said.is_whole and limit == _TREE_BYTES:
        raise Rejected("repository_too_large", f"more files than {_TREE_BYTES} bytes can list")
    if code != 0:
        raise _failure(said.text, code)
    return said.text


def _failure(said: str, code: int) -> Rejected:
    """What git's complaint means.

    >>> _failure("fatal: couldn't find remote ref nowhere", 128).code
    'ref_not_found'
    """
    lines = [line for line in said.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    detail = f"git ended with {code}: {told[:400]}"
    if "couldn't find remote ref" in said or "not our ref" in said or "unadvertised object" in said:
        return Rejected("ref_not_found", detail)
    if re.search(r"returned error: 3\d\d", said):
        return Rejected("source_redirected", f"{detail}; name the repository's own address: redirects are not followed")
    if "terminal prompts disabled" in said or "could not read" in said or re.search(r"returned error: 40[13]", said):
        return Rejected("source_unauthorized", f"{detail}; only public repositories can be built")
    if _UNREACHED.search(said):
        return Rejected("source_unreachable", f"{detail}; a build reaches public addresses only")
    if code in (-25, 128 + 25) or "File size limit exceeded" in said:  # SIGXFSZ
        return Rejected("repository_too_large", f"a file of more than {limits.CLONE_BYTES} bytes")
    return Rejected("clone_failed", detail)


def _check_tree(listed: str) -> None:
    """What the commit holds, before it is unpacked. Raises Rejected."""
    size = 0
    entries = listed.encode("utf-8", "replace").split(b"\0")[:-1]
    if len(entries) > limits.CLONE_ENTRIES:
        raise Rejected("repository_too_large", f"{len(entries)} files, {limits.CLONE_ENTRIES} allowed")
    for entry in entries:
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise Rejected("clone_failed", "the commit's tree could not be read")
        path = found["path"].decode("utf-8", "replace")
        if found["mode"] == b"160000":
            raise Rejected("submodules_unsupported", f"{path} is a submodule: builds take one repository, vendor it")
        size += 0 if found["size"] == b"-" else int(found["size"])
    if size > limits.CLONE_BYTES:
        raise Rejected("repository_too_large", f"its files have {size} bytes, {limits.CLONE_BYTES} allowed")


def check_links(root: Path) -> None:
    """No link may lead out of the repository, by itself or by way of others. Raises Rejected."""
    home = Path(os.path.realpath(root))
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(folder) / name
            if path.is_symlink():
                target = path.readlink()
                with suppress(OSError, RuntimeError):
                    if not target.is_absolute() and Path(os.path.realpath(path)).is_relative_to(home):
                        continue
                raise Rejected("link_outside", f"{path.relative_to(home)} is a link out of the repository, to {target}")
