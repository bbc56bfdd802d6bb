r"""The log of an embedded instance, read as one stream while its shim goes on writing and turning it over.

    log        the newest: "<unix time in ns> <line>", the time that its beginning was written
    log.1, …   what was turned over, the oldest with the highest number

The invariant: bytes come in the order in which they were written, none twice. Who reads more slowly than the shim turns
over misses what was dropped meanwhile; nobody waits for who reads.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from ahplat import limits
from ahplat.engines.engine import Bunch, LogLine
from ahplat.engines.lines import Lines

CHUNK_BYTES = 64 * 1024
STAMP = re.compile(rb"^[0-9]{19} ", re.MULTILINE)


def unstamped(output: bytes) -> bytes:
    r"""What was written, without the times in front of its lines.

    >>> unstamped(b"1700000000000000000 one\n1700000000000000001 two")
    b'one\ntwo'
    """
    return STAMP.sub(b"", output)


def names(folder: Path) -> list[Path]:
    """The files of a log, the newest first."""
    return [folder / "log", *(folder / f"log.{number}" for number in range(1, limits.EMBEDDED_LOG_FILES))]


async def read(folder: Path, tail: int | None, since_ns: int, grows: Callable[[], bool]) -> AsyncIterator[Bunch]:
    """See `Engine.logs`. `grows` says whether there may be more than what is there now."""
    log = RunLog(folder, tail)
    try:
        while True:
            goes_on = grows()  # asked first: what is read after that is all
            while (bunch := log.read()) is not None:
                if wanted := [line for line in bunch if line.at_ns >= since_ns]:
                    yield wanted
            if not goes_on:
                break
            await asyncio.sleep(limits.LOG_POLL_S)
        if rest := [line for line in log.rest() if line.at_ns >= since_ns]:
            yield rest
    finally:
        log.close()


class RunLog:
    """See the module. Nothing here waits."""

    def __init__(self, folder: Path, tail: int | None) -> None:
        self._names = names(folder)
        self._lines = Lines()
        self._file = self._oldest() if tail is None else self._last(tail)

    def read(self) -> Bunch | None:
        """The lines that end in what comes next, which may be none; None where nothing comes for now."""
        piece = self._piece()
        if not piece:
            return None
        return [_told(line) for line in self._lines.add(piece, 0)]

    def rest(self) -> Bunch:
        """The last line, where it has no end."""
        return [_told(line) for line in self._lines.end()]

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()

    def _piece(self) -> bytes:
        while True:
            if self._file is None:
                self._file = self._oldest()
            if self._file is None:
                return b""
            newer = self._newer(self._file)  # asked first: what is read after that is all that it will ever hold
            piece = self._file.read(CHUNK_BYTES)
            if piece or newer is None:
                if newer is not None:
                    newer.close()
                return piece
            self._file.close()
            self._file = newer

    def _oldest(self) -> BinaryIO | None:
        return next((file for path in reversed(self._names) if (file := _opened(path))), None)

    def _newer(self, file: BinaryIO) -> BinaryIO | None:
        """What came after a file that was turned over; None where it is the newest."""
        mine = os.fstat(file.fileno()).st_ino
        numbers = [_number(path) for path in self._names]
        if numbers[0] in (mine, None):
            return None
        return _opened(self._names[numbers.index(mine) - 1]) if mine in numbers else self._oldest()

    def _last(self, lines: int) -> BinaryIO | None:
        """A file at the place where the last lines begin, which may be an older one."""
        found: BinaryIO | None = None
        left = lines
        for path in self._names:
            file = _opened(path)
            if file is None:
                break
            if found is None:
                left += _ends_a_line(file)
            else:
                found.close()
            found = file
            left = _seek_back(file, left)
            if left == 0:
                break
        return found


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _told(line: LogLine) -> LogLine:
    """The line with the time that stands in front of it."""
    stamp, _, text = line.text.partition(b" ")
    return LogLine(int(stamp), text) if STAMP.match(line.text) else line


def _ends_a_line(file: BinaryIO) -> bool:
    """Whether its last byte is a line's end, which begins no further line."""
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
    return file.read(1) == b"\n"


def _seek_back(file: BinaryIO, ends: int) -> int:
    """Goes to what follows the last but `ends` line end; how many are missing: then it is at the beginning."""
    place = file.seek(0, os.SEEK_END)
    while place > 0 and ends > 0:
        begin = max(0, place - CHUNK_BYTES)
        file.seek(begin)
        block = file.read(place - begin)
        if (count := block.count(b"\n")) >= ends:
            at = len(block)
            for _ in range(ends):
                at = block.rfind(b"\n", 0, at)
            file.seek(begin + at + 1)
            return 0
        ends -= count
        place = begin
    file.seek(place)
    return ends
