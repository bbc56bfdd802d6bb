"""A command beside an embedded instance: a child process with its environment and folder, ended to the last descendant.

Its processes are known by their marks (`exec_marks`), the same as in a container. The invariant: when `run` returns or
raises, for whatever reason, nothing that is marked is left.
"""

import asyncio
import os
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from ahplat import limits, processes
from ahplat.engines import exec_marks, folder_image, pipes, program_image
from ahplat.engines.descriptors import is_readable
from ahplat.engines.engine import Execution
from ahplat.engines.lines import Kept
from ahplat.engines.run_folder import RunFolder
from ahplat.errors import Rejected

CHUNK_BYTES = 64 * 1024
CANNOT_EXECUTE, NOT_FOUND, SIGNALLED = 126, 127, 128


class Surroundings(Struct, frozen=True):
    """What a command shares with an instance. `shim` is a pidfd: the command ends with it."""

    env: dict[str, str]
    cwd: Path
    shim: int


def surroundings(folder: RunFolder, images: Path) -> Surroundings | None:
    """Those of a running instance, whose shim is open from now on; None where it does not run."""
    record, program = folder.record(), folder.program()
    env = None if program is None else processes.environment_of(program)
    if record is None or program is None or env is None or (shim := folder.open_shim()) is None:
        return None
    is_database = program_image.name_of(record.image)  # which runs where its data is
    cwd = processes.folder_of(program) if is_database else folder_image.locate(images, record.image)
    return Surroundings(env, cwd, shim)


async def run(argv: Sequence[str], running: Surroundings, mark: str, timeout_s: float) -> Execution:
    """See `Engine.execute`."""
    try:
        return await _run(argv, running, mark, timeout_s)
    finally:
        os.close(running.shim)


async def _run(argv: Sequence[str], running: Surroundings, mark: str, timeout_s: float) -> Execution:
    program = _located(argv[0], running)
    if program is None:
        return _refused(NOT_FOUND, "there is no such program")
    env = {**running.env, limits.EXEC_MARK: mark}
    try:
        process = await processes.start_piped(exec_marks.limited([program, *argv[1:]], mark), env, running.cwd)
    except OSError as error:
        return _refused(CANNOT_EXECUTE, error.strerror or "it cannot be executed")
    except asyncio.CancelledError:
        await asyncio.shield(end(mark))  # it may run already
        raise
    stdout, stderr = Kept(), Kept()
    reading = asyncio.gather(_read(process.stdout, stdout), _read(process.stderr, stderr))
    try:
        timed_out = not await _until_it_ended(process, running.shim, timeout_s)
    finally:
        await asyncio.shield(_end(process, mark, reading))
    truncated = bool(stdout.dropped or stderr.dropped)
    return Execution(_exit_code(process), stdout.content, stderr.content, truncated, timed_out=timed_out)


def _exit_code(process: Process) -> int:
    """As a shell has it."""
    code = process.returncode or 0
    return code if code >= 0 else SIGNALLED - code


async def pipe(
    argv: Sequence[str], running: Surroundings, mark: str, stdin: AsyncIterator[bytes] | None
) -> AsyncGenerator[bytes, None]:
    """See `Engine.pipe`."""
    try:
        async with aclosing(_pipe(argv, running, mark, stdin)) as pieces:
            async for piece in pieces:
                yield piece
    finally:
        os.close(running.shim)


async def _pipe(
    argv: Sequence[str], running: Surroundings, mark: str, stdin: AsyncIterator[bytes] | None
) -> AsyncGenerator[bytes, None]:
    program = _located(argv[0], running)
    if program is None:
        raise Rejected("command_failed", f"there is no program {argv[0]}")
    env = {**running.env, limits.EXEC_MARK: mark}
    try:
        marked = exec_marks.limited([program, *argv[1:]], mark)
        process = await processes.start_piped(marked, env, running.cwd, stdin is not None)
    except OSError as error:
        raise Rejected("command_failed", error.strerror or "it cannot be executed") from error
    except asyncio.CancelledError:
        await asyncio.shield(end(mark))  # it may run already
        raise
    assert process.stdout, "it was started with pipes"

    async def is_over() -> bool:
        return process.returncode is not None or is_readable(running.shim)

    stderr = pipes.Last()
    hearing = asyncio.ensure_future(_read(process.stderr, stderr))
    try:
        async with aclosing(pipes.pumped(process.stdout, process.stdin, stdin, is_over)) as pieces:
            async for piece in pieces:
                yield piece
        await _until_it_ended(process, running.shim, None)
        is_cut_off = is_readable(running.shim)
    finally:
        if process.stdin:
            process.stdin.close()
        await asyncio.shield(_end(process, mark, asyncio.gather(hearing, _read(process.stdout, pipes.Last()))))
    pipes.check_ended_well(None if is_cut_off else _exit_code(process), stderr.content)


async def end(mark: str) -> None:
    """Kills all that is marked, until there is nothing."""
    for _ in range(limits.EXEC_KILL_ROUNDS):
        found = await asyncio.to_thread(processes.kill_marked, exec_marks.variable(mark))
        found += await asyncio.to_thread(processes.kill_limited, exec_marks.resident_bytes(mark))
        if found == 0:
            return


def _located(name: str, running: Surroundings) -> str | None:
    """The program that a name means; a path as it is, from the folder on."""
    if "/" in name:
        return name if (running.cwd / name).exists() else None
    return shutil.which(name, path=running.env.get("PATH", ""))


def _refused(code: int, why: str) -> Execution:
    return Execution(code, b"", f"{why}\n".encode(), truncated=False, timed_out=False)


async def _until_it_ended(process: Process, shim: int, timeout_s: float | None) -> bool:
    """False where its time was over before. The end of the instance is its end too.

    asyncio would wait for those who hold its output as well.
    """
    child = processes.open_child(process.pid)
    if child is None:
        return True
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for descriptor in (child, shim):
        loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            return await ended.wait()
    except TimeoutError:
        return False
    finally:
        for descriptor in (child, shim):
            loop.remove_reader(descriptor)
        os.close(child)


async def _end(process: Process, mark: str, reading: asyncio.Future[Any]) -> None:
    """Kills what is left, and takes what it wrote. Who took the marks off may still hold its output: nobody waits for that."""
    await end(mark)
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.EXEC_DRAIN_S):
            await process.wait()
            await reading


async def _read(stream: asyncio.StreamReader | None, kept: Kept | pipes.Last) -> None:
    assert stream, "it was started with pipes"
    while piece := await stream.read(CHUNK_BYTES):
        kept.add(piece)
