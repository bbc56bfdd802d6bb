"""The registry's own collection never meets a push of ours, is bounded, and leaves nothing running. A stand-in runs it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ahplat import limits, processes
from ahplat.builders.blobs import Blobs
from ahplat.errors import Unavailable

pytestmark = pytest.mark.embedded

PATIENCE_S = 20.0
GARBAGE, KEPT = "ab" + "0" * 62, "cd" + "0" * 62
# Says what it would remove and, without --dry-run, removes it, once the file "go" is there where "wait" is.
STAND_IN = """#!/bin/sh
for config do :; done
root=${config%/*}
echo "ah/t-s: marking manifest sha256:1"
[ "$2" = --dry-run ] || { while [ -e $root/wait ] && [ ! -e $root/go ]; do echo on >$root/running; sleep 0.02; done; }
for file in $root/docker/registry/v2/blobs/sha256/ab/*/data; do
  [ -e $file ] || continue
  digest=${file%/data}
  echo "blob eligible for deletion: sha256:${digest##*/}"
  [ "$2" = --dry-run ] || rm $file
done
[ ! -e $root/broken ] || { echo "no, I will not" >&2; exit 3; }
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "registry").write_text(STAND_IN.replace("sleep", "/bin/sleep").replace("rm $", "/bin/rm $"))
    (programs / "registry").chmod(0o700)
    monkeypatch.setenv("PATH", str(programs))
    for digest in (GARBAGE, KEPT):
        put(tmp_path, digest)
    made = tmp_path / "registry.yml"
    made.write_text(f"storage:\n  filesystem:\n    rootdirectory: {tmp_path}  # here\n")
    return made


def put(folder: Path, digest: str) -> Path:
    path = folder / "docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(1_000))
    return path


async def until(probe: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not probe():
            await asyncio.sleep(0.01)


def running(config: Path) -> bool:
    mark = f"AH_REGISTRY_GC={config}".encode()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


async def test_what_is_removed_is_counted_and_only_when_something_was_dropped(config: Path) -> None:
    blobs = Blobs(config)
    assert await blobs.wasted() == 1_000
    assert await blobs.free() == 1_000
    put(config.parent, GARBAGE)
    assert (await blobs.wasted(), await blobs.free()) == (0, 0)
    blobs.dropped()
    assert (await blobs.wasted(), await blobs.free()) == (1_000, 1_000)


async def test_without_a_configuration_nothing_is_run(config: Path) -> None:
    blobs = Blobs(None)
    blobs.dropped()
    await blobs.end()
    assert (await blobs.wasted(), await blobs.free()) == (0, 0)
    assert list(config.parent.glob("**/data")) != []


async def test_while_a_push_is_under_way_nothing_is_collected_and_it_is_not_forgotten(config: Path) -> None:
    blobs = Blobs(config)
    async with blobs.pushing(), blobs.pushing():
        assert await blobs.free() == 0
    assert await blobs.free() == 1_000


async def test_a_push_waits_until_the_collection_has_ended(config: Path) -> None:
    (config.parent / "wait").touch()
    blobs = Blobs(config)
    collecting = asyncio.ensure_future(blobs.free())
    await until((config.parent / "running").exists)
    pushed = asyncio.Event()

    async def push() -> bool:
        async with blobs.pushing():
            pushed.set()
            return (config.parent / "docker/registry/v2/blobs/sha256/ab" / GARBAGE / "data").exists()

    pushing = asyncio.ensure_future(push())
    blobs.dropped()  # too late for the one that runs
    await asyncio.sleep(0.1)  # that nothing happens is all that there is to see
    assert not pushed.is_set()
    (config.parent / "go").touch()
    assert await collecting == 1_000
    assert not await pushing
    put(config.parent, GARBAGE)
    assert await blobs.free() == 1_000


async def test_one_that_takes_too_long_is_killed_and_pushes_go_on(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOBS_S", 0.5)
    (config.parent / "wait").touch()
    blobs = Blobs(config)
    with pytest.raises(Unavailable):
        await blobs.free()
    await until(lambda: not running(config))
    async with blobs.pushing():
        pass
    (config.parent / "go").touch()
    monkeypatch.setattr(limits, "BLOBS_S", PATIENCE_S)
    assert await blobs.free() == 1_000


async def test_one_whose_server_stops_ends_with_it(config: Path) -> None:
    (config.parent / "wait").touch()
    collecting = asyncio.ensure_future(Blobs(config).free())
    await until((config.parent / "running").exists)
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    await until(lambda: not running(config))


async def test_one_whose_server_was_killed_is_ended_by_the_next(config: Path) -> None:
    (config.parent / "wait").touch()
    env = {"AH_REGISTRY_GC": str(config)}
    argv = [str(config.parent / "programs" / "registry"), "garbage-collect", str(config)]
    pid = processes.start_detached(argv, env, config.parent)
    await until((config.parent / "running").exists)
    await Blobs(config).end()
    await until(lambda: processes.has_ended(pid))
    processes.reap(pid)


async def test_one_that_fails_says_why_and_is_tried_again(config: Path) -> None:
    (config.parent / "broken").touch()
    blobs = Blobs(config)
    with pytest.raises(Unavailable, match="no, I will not"):
        await blobs.free()
    (config.parent / "broken").unlink()
    assert await blobs.free() == 1_000


async def test_a_file_that_is_no_registrys_is_told(config: Path) -> None:
    config.write_text("version: 0.1\n")
    with pytest.raises(Unavailable, match="rootdirectory"):
        await Blobs(config).free()
    config.unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        await Blobs(config).free()
