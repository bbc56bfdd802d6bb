r"""Cuts what an instance wrote into lines: bytes in as they come, whole lines out. No call, no wait.

A line ends with LF, or CR LF; a CR by itself belongs to it (a progress bar draws with it). The invariant: what is held is
at most LOG_LINE_BYTES, whatever comes; of a longer line the beginning is kept, the rest is counted and dropped.
"""

from ahplat import limits
from ahplat.engines.engine import Bunch, LogLine


class Lines:
    r"""One stream of bytes. What comes first on a line says when it was written.

    >>> lines = Lines()
    >>> [line.text for line in lines.add(b"one\r\ntwo\nthr", 1)], [line.text for line in lines.add(b"ee\n", 2)]
    ([b'one', b'two'], [b'three'])
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._dropped = 0
        self._at_ns = 0
        self._open = False  # a line has begun

    def add(self, data: bytes, at_ns: int) -> Bunch:
        """The lines that end in `data`, which was written at that time."""
        *ended, rest = data.split(b"\n")
        found = []
        for piece in ended:
            self._hold(piece, at_ns)
            found.append(self._take())
        if rest:
            self._hold(rest, at_ns)
        return found

    def end(self) -> Bunch:
        """The last line, where it has no end; nothing follows it."""
        return [self._take()] if self._open else []

    def _hold(self, piece: bytes, at_ns: int) -> None:
        if not self._open:
            self._open, self._at_ns = True, at_ns
        room = limits.LOG_LINE_BYTES - len(self._held)
        self._held += piece[:room]
        self._dropped += max(0, len(piece) - room)

    def _take(self) -> LogLine:
        text = bytes(self._held)
        if self._dropped:
            text += b" [cut: %d more bytes]" % self._dropped
        self._held.clear()
        self._dropped = 0
        self._open = False
        return LogLine(self._at_ns, text.removesuffix(b"\r"))


def size_of(bunch: Bunch) -> int:
    """About how much memory a bunch of lines takes."""
    return sum(len(line.text) + 64 for line in bunch)


class Kept:
    """The beginning of an output, as much as may be kept."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        """More of it."""
        room = limits.EXEC_OUTPUT_BYTES - len(self._held)
        self._held += data[:room]
        self.dropped += max(0, len(data) - room)

    @property
    def content(self) -> bytes:
        """What is kept."""
        return bytes(self._held)
