"""Whether a log is what was written and what was signed: all of it, on all cores, beside a server or without one.

Parts of the log are checked side by side (events/ranges.py); then every checkpoint that is known has to be signed by the
key, and to name the link that the log has at its position. One that does not is excused where a restore gave up its past,
and a checkpoint of an epoch after that is signed and holds. `bin/ah-verify` does the same in code of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import apsw
from msgspec import Struct

from ahplat import processes
from ahplat.checkpoints import path_in
from events import platform
from events.catalog import decode
from events.checkpoint import Checkpoint, NoteInvalid, PublicKey, notes_in, opened, parse, parse_key
from events.database import open_reader
from events.log import head, link_at, read_stream
from events.ranges import Fault, check_range

RANGE = 25_000  # events of one part


class Note(Struct, frozen=True):
    """A checkpoint as a file has it. `is_signed`: by the key."""

    checkpoint: Checkpoint
    is_signed: bool
    source: Path


class Verdict(Struct, frozen=True):
    """What was found of a log without a fault."""

    position: int
    link: bytes
    checkpoints: int
    newest: Checkpoint | None


def key_in(data_dir: Path, given: str | None) -> PublicKey | None:
    """The key that is given, as text or as a file, else the folder's own; None where there is none. Raises NoteInvalid."""
    if given and "+" in given:
        return parse_key(given)
    path = path_in(data_dir).with_name("key") if given is None else Path(given)
    if not path.is_file():
        if given is not None:
            raise NoteInvalid(f"there is no file {given!r}")
        return None
    try:
        return parse_key(path.read_text(errors="replace"))
    except NoteInvalid as error:  # which has what the file holds, and that may be a secret
        raise NoteInvalid(f"{path} holds no key: expected name+id+base64 of an Ed25519 key") from error


def read_notes(paths: Sequence[Path], key: PublicKey | None) -> list[Note]:
    """Every checkpoint in files and folders, the lowest position first. One of another log is none that the key signed."""
    found = []
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            for _, text in notes_in(file.read_bytes()) if file.is_file() else ():
                if key and (note := _note(text, key, file)):
                    found.append(note)
    return sorted(found, key=lambda note: note.checkpoint.position)


def _note(text: str, key: PublicKey, source: Path) -> Note | None:
    try:
        checkpoint = parse(text)
    except NoteInvalid:  # torn
        return None
    try:
        return Note(opened(text, key), True, source)
    except NoteInvalid:
        return Note(checkpoint, False, source)


def verify(events: Path, notes: list[Note], progressed: Callable[[int, int], None]) -> Verdict | Fault:
    """Reads all of the log; `notes` were read before. Raises apsw errors where the file is none, or not whole."""
    log = open_reader(events)
    try:
        last = head(log)
        for done, fault in _check_file(events, last):
            if fault:
                return fault
            progressed(done, last)
        if (first := log.execute("SELECT min(position) FROM event").get) not in (None, 1):
            return Fault(first, "it stands before the first position")
        newest = check_notes(notes, log)
        if isinstance(newest, Fault):
            return newest
        return Verdict(last, link_at(log, last), len(notes), newest)
    finally:
        log.close()


def _check_file(events: Path, last: int) -> Iterator[tuple[int, Fault | None]]:
    """(how many events were checked, the first fault) part by part, and in the end whether the pages are whole."""
    ranges = [(first, min(first + RANGE - 1, last)) for first in range(1, last + 1, RANGE)]
    tasks = [partial(check_range, events, first, end) for first, end in ranges]
    tasks.append(partial(_check_pages, events, last))
    ends = [end for _, end in ranges] + [last]
    yield from zip(ends, processes.side_by_side(tasks), strict=True)


def _check_pages(events: Path, last: int) -> Fault | None:
    log = open_reader(events)
    try:
        found = log.pragma("integrity_check", 1)
    except apsw.Error as error:
        found = error
    finally:
        log.close()
    return None if found == "ok" else Fault(last, f"the file is damaged ({found})", is_unreadable=True)


def check_notes(notes: list[Note], log: apsw.Connection) -> Checkpoint | Fault | None:
    """The newest checkpoint that the log has, or the first that it does not have though it was signed."""
    found = [(note, link_at(log, note.checkpoint.position)) for note in notes]
    if forged := next((note for note in notes if not note.is_signed), None):
        return Fault(forged.checkpoint.position, f"a checkpoint in {forged.source} is not signed by the key")
    held = [note.checkpoint for note, link in found if link == note.checkpoint.link]
    newest = held[-1] if held else None
    restores = _restores(log)
    below = 0
    for note, link in found:
        one = note.checkpoint
        if link == one.link:
            below = one.position
            continue
        epochs = [epoch for position, epoch in restores if position <= one.position and epoch > one.epoch]
        if epochs and newest and newest.epoch >= min(epochs):
            continue
        what = "has another link than" if link else "is gone that"
        return Fault(
            one.position,
            f"it {what} was signed in epoch {one.epoch} ({note.source}): the log was cut off or written anew somewhere"
            f" from position {below + 1} on",
        )
    return newest


def _restores(log: apsw.Connection) -> list[tuple[int, int]]:
    """(position, epoch) of each restore."""
    told = [(at.position, decode(at.type, at.data)) for at in read_stream(log, platform.STREAM, 0, 1_000_000)]
    return [(position, event.epoch) for position, event in told if isinstance(event, platform.LogRestored)]
