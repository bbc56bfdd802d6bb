"""A stream of bytes as a file of sealed chunks: never in the clear on a disk, never whole in memory.

    salt (16 bytes)   then for each chunk:   size of its envelope (4 bytes)   envelope

Each envelope is bound to the salt, to its place and to whether it is the last. So what was cut off, left out, put in another
order or taken from another file does not open. The invariant: who has read to the end has read all that was written, and
nothing else.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ahplat import limits
from ahplat.errors import Unreadable

Sealing = Callable[[str, bytes], bytes]
"""(place, text) → envelope, or back: raises Unreadable where that is not what was sealed for the place."""

SALT_BYTES = 16
SIZE_BYTES = 4
ENVELOPE_BYTES = limits.SEALED_CHUNK_BYTES + 64  # with nonce, tag and the name of the algorithm


class SealedWriter:
    """Takes pieces of any size; `end` says that there are no more. `hash` and `size` are of what was written."""

    def __init__(self, file: BinaryIO, seal: Sealing) -> None:
        self._file = file
        self._seal = seal
        self._held = bytearray()
        self._number = 0
        self._salt = os.urandom(SALT_BYTES)
        self.size = 0
        self._hash = hashlib.sha256()
        self._write(self._salt)

    @property
    def sha256(self) -> str:
        """Of the file so far, in hex."""
        return self._hash.hexdigest()

    def add(self, piece: bytes) -> None:
        """More of it. Raises OSError."""
        self._held += piece
        while len(self._held) > limits.SEALED_CHUNK_BYTES:  # at least a byte is left for the last
            self._put(bytes(self._held[: limits.SEALED_CHUNK_BYTES]), is_last=False)
            del self._held[: limits.SEALED_CHUNK_BYTES]

    def end(self) -> None:
        """No more of it. Raises OSError."""
        self._put(bytes(self._held), is_last=True)

    def _put(self, text: bytes, is_last: bool) -> None:
        envelope = self._seal(place(self._salt, self._number, is_last), text)
        self._write(len(envelope).to_bytes(SIZE_BYTES, "big"))
        self._write(envelope)
        self._number += 1

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)


def place(salt: bytes, number: int, is_last: bool) -> str:
    """What a chunk is bound to.

    >>> place(b"ab", 3, True)
    'chunk.6162.3.last'
    """
    return f"chunk.{salt.hex()}.{number}.{'last' if is_last else 'more'}"


def read(file: BinaryIO, unseal: Sealing) -> Iterator[bytes]:
    """What was written, a chunk at a time. Raises Unreadable, at the latest at its end, where that is not all there is."""
    salt = file.read(SALT_BYTES)
    number, is_last = 0, False
    while not is_last:
        envelope = _envelope(file)
        following = file.read(1)
        is_last = not following
        yield unseal(place(salt, number, is_last), envelope)
        number += 1
        if following:
            file.seek(-1, os.SEEK_CUR)


def _envelope(file: BinaryIO) -> bytes:
    size = int.from_bytes(file.read(SIZE_BYTES), "big")
    envelope = file.read(size) if 0 < size <= ENVELOPE_BYTES else b""
    if not size or len(envelope) < size:
        raise Unreadable("the file of the backup is damaged or not whole")
    return envelope
