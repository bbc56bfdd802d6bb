"""Checks a part of a log by itself, from the link that is recorded before it: chain, contiguity and versions.

Each stored link allows it: where every part holds from the link before it, the whole does. So parts are checked side by
side. Bytes are framed as chain.leaf frames them, without a call for each event; the tests hold the two against each other.
"""

from hashlib import sha256
from pathlib import Path

import apsw
from msgspec import Struct

from events import chain
from events.database import open_reader

NAMES_AT_ONCE = 64  # streams whose names are read together: those of one time are used together
_ROWS = (
    "SELECT position, stream, version, position || char(0) || version || char(0) || at_us, type, tenant, data, meta, link"
    " FROM event WHERE position BETWEEN ? AND ? ORDER BY position"
)


class _Sizes(dict[int, bytes]):
    """Lengths as a frame has them, made once each: a look into a dict is a third of a call."""

    def __missing__(self, length: int) -> bytes:
        made = self[length] = length.to_bytes(8, "big")
        return made


class _Framed(dict[str, bytes]):
    """Texts with their length before them, made once each."""

    def __missing__(self, text: str) -> bytes:
        made = self[text] = _framed(text)
        return made


class Fault(Struct, frozen=True):
    """What does not hold, and at which position; or why the file cannot be read there."""

    position: int
    detail: str
    is_unreadable: bool = False


def check_range(path: Path, first: int, last: int) -> Fault | None:
    """Checks the events from one position to another; returns the first fault."""
    db = open_reader(path)
    try:
        return _check(db, first, last)
    except apsw.Error as error:
        return Fault(first, str(error), is_unreadable=True)
    finally:
        db.close()


def _check(db: apsw.Connection, first: int, last: int) -> Fault | None:
    before = chain.GENESIS
    if first > 1:
        before = db.execute("SELECT link FROM event WHERE position = ?", (first - 1,)).get or b""
    names: dict[int, bytes] = {}
    versions: dict[int, int] = {}
    sizes, texts = _Sizes(), _Framed()
    expected, hashed, joined = first, sha256, b"".join
    for position, stream, version, head, type_name, tenant, data, meta, recorded in db.execute(_ROWS, (first, last)):
        if position != expected:
            return Fault(expected, f"expected position {expected}, found {position}")
        if stream not in names and not _names_from(db, stream, names):
            return Fault(position, f"its stream {stream} has no name")
        leaf = joined(
            (
                b"\0",
                sizes[len(head)],
                head.encode(),
                names[stream],
                texts[type_name],
                texts[tenant],
                sizes[len(data)],
                data,
                sizes[len(meta)],
                meta,
            )
        )
        before = hashed(b"\1" + before + hashed(leaf).digest()).digest()
        if before != recorded:
            return Fault(
                position, f"its bytes give link {before.hex()[:16]}…, recorded is {bytes(recorded).hex()[:16]}…"
            )
        if version != versions.get(stream, 0) + 1 and (
            stream in versions or not _follows(db, stream, version, position)
        ):
            return Fault(
                position, f"its version {version} does not follow the one before in {names[stream][8:].decode()}"
            )
        versions[stream] = version
        expected += 1
    return None if expected == last + 1 else Fault(expected, f"expected position {expected}, found none")


def _names_from(db: apsw.Connection, stream: int, names: dict[int, bytes]) -> bool:
    """Reads names from a stream on, each with its length before it; says whether that stream has one."""
    for number, name in db.execute(
        "SELECT id, name FROM stream WHERE id >= ? ORDER BY id LIMIT ?", (stream, NAMES_AT_ONCE)
    ):
        names[number] = _framed(name)
    return stream in names


def _follows(db: apsw.Connection, stream: int, version: int, position: int) -> bool:
    """Whether the version before stands earlier in the log."""
    found = db.execute("SELECT position FROM event WHERE stream = ? AND version = ?", (stream, version - 1)).get
    return found is not None and found < position


def _framed(text: str) -> bytes:
    part = text.encode()
    return len(part).to_bytes(8, "big") + part
