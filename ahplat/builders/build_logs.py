"""What builds say: outside the event log, append-only, sealed for the tenant, so that it goes when the tenant's key does.

A file for each build, `<data>/buildlogs/<tenant>/<build>`, holds records: how many the first line is (counted from 1),
how many lines, how many bytes, and the sealed lines. A line's number is its position: whoever reads on from one gets
every line after it once, whether it was stored before or comes while he waits. After BUILD_LOG_BYTES only the last
BUILD_LOG_TAIL_LINES of a step are kept, and a line says how many were left out. A record that was half written when
the process died is cut off by the next.
"""

import asyncio
import os
import shutil
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from ahplat import limits
from ahplat.builders.lines import Splitter, clean
from ahplat.sealing import Keyring

_HEAD = struct.Struct(">QII")  # number of the first line, lines, bytes of the envelope


class Line(Struct, frozen=True):
    """One line. `number` counts all that were said, also those that are not kept."""

    number: int
    text: str


class BuildLogs:
    """All of them. Used from the loop's thread."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._folder = folder
        self._keyring = keyring
        self._listeners: dict[str, set[asyncio.Event]] = {}

    def path(self, tenant_id: str, build_id: str) -> Path:
        return self._folder / tenant_id / build_id

    @contextmanager
    def open(self, tenant_id: str, build_id: str, secrets: Sequence[str]) -> "Iterator[BuildLog]":
        """To say more in one; at the end of the block all of it is stored."""
        log = BuildLog(self, tenant_id, build_id, secrets)
        try:
            yield log
        finally:
            log.close()

    def read(self, tenant_id: str, build_id: str, after: int, offset: int) -> tuple[list[Line], int]:
        """Lines after a number, from an offset into the file on, and the offset to go on from; none at the end.

        A part at a time. Raises Unreadable where the tenant's key is destroyed.
        """
        try:
            file = self.path(tenant_id, build_id).open("rb")
        except FileNotFoundError:
            return [], offset
        with file:
            file.seek(offset)
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                first, count, size = _HEAD.unpack(head)
                envelope = file.read(size)
                if len(envelope) < size:
                    break  # it is being written
                offset += _HEAD.size + size
                if first + count - 1 > after:
                    text = self._keyring.unseal(tenant_id, f"build-{build_id}", f"log.{first}", envelope).decode()
                    lines = [Line(number, line) for number, line in enumerate(text.split("\n"), first)]
                    return [line for line in lines if line.number > after], offset
        return [], offset

    def remove(self, tenant_id: str) -> None:
        """Removes a tenant's logs."""
        shutil.rmtree(self._folder / tenant_id, ignore_errors=True)

    # who listens

    @contextmanager
    def listening(self, build_id: str, wake: asyncio.Event) -> Iterator[None]:
        """Sets `wake` whenever there is more to read."""
        listeners = self._listeners.setdefault(build_id, set())
        listeners.add(wake)
        try:
            yield
        finally:
            listeners.discard(wake)
            if not listeners and self._listeners.get(build_id) is listeners:
                del self._listeners[build_id]

    def append(self, tenant_id: str, build_id: str, first: int, texts: list[str]) -> int:
        """Stores lines and wakes who waits for them; returns how many bytes they took."""
        text = "\n".join(texts).encode()
        envelope = self._keyring.seal(tenant_id, f"build-{build_id}", f"log.{first}", text)
        with self.path(tenant_id, build_id).open("ab") as file:
            file.write(_HEAD.pack(first, len(texts), len(envelope)) + envelope)
        for wake in self._listeners.get(build_id, ()):
            wake.set()
        return len(text)


class BuildLog:
    """One build's, while a step of it runs. `hear` takes what programs say, `say` what we do."""

    def __init__(self, logs: BuildLogs, tenant_id: str, build_id: str, secrets: Sequence[str]) -> None:
        self._logs = logs
        self._tenant_id = tenant_id
        self._build_id = build_id
        self._secrets = list(secrets)
        self._splitter = Splitter()
        self._tail: deque[bytes] = deque(maxlen=limits.BUILD_LOG_TAIL_LINES)
        self._tail_bytes = 0
        path = logs.path(tenant_id, build_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._bytes, self._next = _whole(path)
        self._left_out_from = self._next

    def say(self, text: str) -> None:
        """One line of ours."""
        self._end_line()
        self._keep([f"==> {text}".encode()])

    def shown(self, text: str) -> str:
        """A text as the log would show it: without control characters, secrets masked."""
        return clean(text.encode(), self._secrets)

    def hide(self, text: str) -> None:
        """Has something masked from now on, such as a path of this machine."""
        self._secrets.insert(0, text)

    def hear(self, data: bytes) -> None:
        """A piece of what a program says."""
        self._keep(self._splitter.feed(data))

    def last(self, lines: int) -> list[str]:
        """The last lines that are kept, for an outcome."""
        found: deque[str] = deque(maxlen=lines)
        offset, more = 0, True
        while more:
            read, offset = self._logs.read(self._tenant_id, self._build_id, 0, offset)
            found.extend(line.text for line in read)
            more = bool(read)
        return list(found)

    def close(self) -> None:
        """Stores what is left: a line without an end, and the last of what was too much."""
        self._end_line()
        left_out = self._next - self._left_out_from - len(self._tail)
        if self._tail and left_out > 0:
            number = self._next - len(self._tail) - 1
            self._store(number, [f"==> … {left_out} lines left out: the log has its {limits.BUILD_LOG_BYTES} bytes"])
        if self._tail:
            self._store(self._next - len(self._tail), [clean(line, self._secrets) for line in self._tail])
            self._tail.clear()

    def _end_line(self) -> None:
        self._keep(self._splitter.end())

    def _keep(self, lines: list[bytes]) -> None:
        if not lines:
            return
        if self._bytes < limits.BUILD_LOG_BYTES:
            self._store(self._next, [clean(line, self._secrets) for line in lines])
            self._next += len(lines)
            self._left_out_from = self._next
            return
        for line in lines:
            if len(self._tail) == limits.BUILD_LOG_TAIL_LINES:
                self._tail_bytes -= len(self._tail[0])
            self._tail.append(line)
            self._tail_bytes += len(line)
            while self._tail_bytes > limits.BUILD_LOG_TAIL_BYTES:
                self._tail_bytes -= len(self._tail.popleft())
        self._next += len(lines)

    def _store(self, first: int, texts: list[str]) -> None:
        self._bytes += self._logs.append(self._tenant_id, self._build_id, first, texts)


def _whole(path: Path) -> tuple[int, int]:
    """(bytes of lines stored, number of the next line); what is half written at the end is cut off."""
    stored, following, offset = 0, 1, 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                first, count, bytes_ = _HEAD.unpack(head)
                if offset + _HEAD.size + bytes_ > size:
                    break
                offset += _HEAD.size + bytes_
                file.seek(offset)
                stored, following = stored + bytes_, first + count
        if offset < size:
            os.truncate(path, offset)
    except FileNotFoundError:
        pass
    return stored, following
