"""A log as text: NDJSON, a line that says which log this is and where it ends, then a line for each event.

    {"format":"ahplat-log/1","installation":"018f…","position":3,"link":"jLbU…="}
    {"position":1,"stream":"log-1","version":1,"type":"log.created","at_us":…,"tenant":"","data":"eyJ…","meta":"e30=","link":"…"}

Bytes are base64. What is read gives the same log, and writing that one gives the same bytes again. Answers to repeats of
commands are not part of it. The invariant: a log that was read is whole, its chain holds, and it ends where it was said to.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import apsw
import msgspec
from msgspec import Struct

from events import chain
from events.catalog import UnknownEvent, decode
from events.database import open_database
from events.event import Recorded
from events.log import event_at, head, prepare, read_all, read_verified
from events.platform import LogCreated

FORMAT = "ahplat-log/1"
CHUNK = 2_000  # events that are held at once
Progress = Callable[[int, int], None]  # (events done, of so many)

_encode = msgspec.json.Encoder().encode


class TransferFailed(Exception):
    """A text is no whole log, or a log cannot be written as one. The message says at which line or position."""


class Header(Struct, frozen=True):
    """The first line."""

    format: str
    installation: str
    position: int
    link: bytes


_header = msgspec.json.Decoder(Header)
_event = msgspec.json.Decoder(Recorded)


def write(db: apsw.Connection, progressed: Progress) -> Iterator[bytes]:
    """The lines of a log as far as it goes now, each with its end. Raises TransferFailed where the chain does not hold."""
    last = event_at(db, head(db))
    if last is None:
        raise TransferFailed("the log holds no event")
    yield _encode(Header(FORMAT, _installation(read_all(db, 0, 1)[0]), last.position, last.link)) + b"\n"
    try:
        for events in read_verified(db, 0, chain.GENESIS, last.position, CHUNK):
            yield b"".join(_encode(event) + b"\n" for event in events)
            progressed(events[-1].position, last.position)
    except chain.ChainBroken as broken:
        raise TransferFailed(f"the chain does not hold at {broken}") from broken


def _installation(first: Recorded) -> str:
    try:
        created = decode(first.type, first.data)
    except (UnknownEvent, msgspec.MsgspecError) as error:
        raise TransferFailed(f"its first event cannot be read: {error}") from error
    if not isinstance(created, LogCreated):
        raise TransferFailed(f"its first event is {first.type}, expected log.created")
    return created.installation


def read(lines: Iterable[bytes], path: Path, progressed: Progress) -> Header:
    """Makes a log of lines, in a file that must not be there. Raises TransferFailed; then what was made is to be removed."""
    numbered = iter(lines)
    header = _read_header(next(numbered, b""))
    db = open_database(path, "FULL")
    try:
        prepare(db, path)
        position, link = 0, chain.GENESIS
        streams: dict[str, int] = {}
        while chunk := list(islice(numbered, CHUNK)):
            events = [_read_event(line, position + 2 + n) for n, line in enumerate(chunk)]
            try:
                link = chain.verify(link, position, events)
            except chain.ChainBroken as broken:
                raise TransferFailed(f"from line {position + 2} on the chain does not hold at {broken}") from broken
            if position == 0 and _installation(events[0]) != header.installation:
                raise TransferFailed(f"line 2 is of another log than line 1 says ({header.installation})")
            with db:
                for event in events:
                    _insert(db, event, streams)
            position += len(events)
            progressed(position, header.position)
    finally:
        db.close()
    if (position, link) != (header.position, header.link):
        raise TransferFailed(f"it ends at position {position}, or with another link; line 1 says {header.position}")
    return header


def _read_header(line: bytes) -> Header:
    try:
        header = _header.decode(line)
    except msgspec.MsgspecError as error:
        raise TransferFailed(f"line 1 is no header: {error}") from error
    if header.format != FORMAT or _encode(header) + b"\n" != line:
        raise TransferFailed(f"line 1 is not in the format {FORMAT}, as `ah export` writes it")
    return header


def _read_event(line: bytes, number: int) -> Recorded:
    try:
        event = _event.decode(line)
    except msgspec.MsgspecError as error:
        raise TransferFailed(f"line {number} is no event: {error}") from error
    if _encode(event) + b"\n" != line:
        raise TransferFailed(f"line {number} is not as `ah export` writes it")
    return event


def _insert(db: apsw.Connection, event: Recorded, streams: dict[str, int]) -> None:
    number = streams.get(event.stream)
    if number is None:
        number = db.execute("SELECT id FROM stream WHERE name = ?", (event.stream,)).get
        if number is None:
            db.execute("INSERT INTO stream (name) VALUES (?)", (event.stream,))
            number = db.last_insert_rowid()
        if len(streams) >= CHUNK:
            streams.clear()
        streams[event.stream] = number
    try:
        db.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.position,
                number,
                event.version,
                event.type,
                event.at_us,
                event.tenant,
                event.data,
                event.meta,
                event.link,
            ),
        )
    except apsw.ConstraintError as error:
        raise TransferFailed(
            f"position {event.position}: version {event.version} of its stream is there twice"
        ) from error
