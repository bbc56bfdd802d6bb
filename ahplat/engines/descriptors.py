"""What is handed over, and waited for, by file descriptor."""

import asyncio
import contextlib
import os
import select
from collections.abc import Iterator


@contextlib.contextmanager
def in_memory(content: bytes) -> Iterator[int]:
    """A file without a name, on no disk, read from its beginning."""
    with os.fdopen(os.memfd_create("launch"), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


async def readable(descriptor: int, timeout_s: float) -> bool:
    """Waits until it is, False when it is not in time: a pidfd when the process ended, a pipe when its writers did."""
    loop = asyncio.get_running_loop()
    is_readable = asyncio.Event()
    loop.add_reader(descriptor, is_readable.set)
    try:
        async with asyncio.timeout(timeout_s):
            await is_readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


def is_readable(descriptor: int) -> bool:
    """Whether it is now."""
    looked = select.poll()
    looked.register(descriptor, select.POLLIN)
    return bool(looked.poll(0))
