r"""Docker's multiplexed streams, taken apart: each frame is a header of 8 bytes and what was written at once.

The first byte of the header says where it was written (1 stdout, 2 stderr), the last four how long it is (Docker Engine
API, *ContainerAttach*). The invariant: what is held is less than one frame, and a frame that is larger than Docker ever
makes one is a fault.
"""

from ahplat import limits
from ahplat.errors import Unavailable

HEADER_BYTES = 8
STDOUT = 1

Frame = tuple[int, bytes]  # where it was written, and what


class Frames:
    r"""Bytes in as they come, whole frames out.

    >>> frames = Frames()
    >>> frames.add(b"\1\0\0\0\0\0\0\3one\2\0\0"), frames.add(b"\0\0\0\0\3two")
    ([(1, b'one')], [(2, b'two')])
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, data: bytes) -> list[Frame]:
        """The frames that end in `data`. Raises Unavailable `engine_error`."""
        self._held += data
        found: list[Frame] = []
        start = 0
        while len(self._held) - start >= HEADER_BYTES:
            size = int.from_bytes(self._held[start + 4 : start + HEADER_BYTES], "big")
            if size > limits.FRAME_BYTES:
                raise Unavailable("engine_error", f"Docker sent a frame of {size} bytes")
            end = start + HEADER_BYTES + size
            if end > len(self._held):
                break
            found.append((self._held[start], bytes(self._held[start + HEADER_BYTES : end])))
            start = end
        del self._held[:start]
        return found
