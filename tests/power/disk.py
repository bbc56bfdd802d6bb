"""A disk that loses power: an apsw VFS that writes down each step, and what the disk may hold after each.

SQLite's own calls go through to real files and are kept in `Recorder.steps`, in order. `Disk` takes the same steps one
after another and makes images of what would be there if power failed now: what was synced is whole; of each write, cut and
removal after that it is anybody's guess. `LOST`: none of it. `KEPT`: all of it. `mixed(seed)`: each by itself is there,
is not, or is there in some of its sectors, whatever the order: so a later write may be there without an earlier one.

What it takes for granted, as SQLite does: a sector of 512 bytes is written whole or not at all, a write leaves what lies
beside it alone, and a new file's name is on the disk once the file was synced (SQLite syncs the folder then).
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import apsw

SECTOR = 512
BASE = "unix"

Kind = Literal["write", "cut", "sync", "remove"]
Part = Literal["none", "all", "some"]
Choice = Callable[[], Part]


class Step(NamedTuple):
    """What SQLite did to a file: `at` is a write's offset or the size after a cut."""

    file: str
    kind: Kind
    at: int = 0
    data: bytes = b""


class Recorder(apsw.VFS):
    """SQLite's way to the disk while it is open: the default of all connections that are made meanwhile."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        super().__init__("recorder", BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return RecordedFile(self.steps, name, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:
        super().xDelete(name, sync_folder)
        self.steps.append(Step(Path(name).name, "remove"))


class RecordedFile(apsw.VFSFile):
    """A file of a connection; temporary files have no name and are not written down."""

    def __init__(self, steps: list[Step], name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(BASE, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(path).name if path else ""
        self._steps = steps

    def _note(self, kind: Kind, at: int = 0, data: bytes = b"") -> None:
        if self._name:
            self._steps.append(Step(self._name, kind, at, data))

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._note("write", offset, bytes(data))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._note("cut", size)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._note("sync")


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Everything that opens a database within the block is written down."""
    recorder = Recorder()
    try:
        yield recorder
    finally:
        recorder.unregister()


class File:
    """What is on the disk for sure, and what may be."""

    def __init__(self, synced: bytes | None) -> None:
        self.synced = synced
        self.unsynced: list[Step] = []

    def sync(self) -> None:
        self.synced = self.after(lambda: "all", random.Random(0))
        self.unsynced.clear()

    def after(self, choice: Choice, sectors: random.Random) -> bytes | None:
        """Its bytes, None where it is not there, with what `choice` takes of each step."""
        held = None if self.synced is None else bytearray(self.synced)
        for step in self.unsynced:
            part = choice()
            if step.kind == "remove":
                if part == "none":
                    break  # the old file is still there: what came after went to another
                held = None
            elif part != "none":
                held = bytearray() if held is None else held
                _apply(held, step, sectors if part == "some" else None)
        return None if held is None else bytes(held)


def _apply(held: bytearray, step: Step, sectors: random.Random | None) -> None:
    """Does a step to a file's bytes; of a write only some sectors where `sectors` draws them."""
    if step.kind == "cut":
        del held[step.at :]
        return
    end = step.at + len(step.data)
    held.extend(bytes(max(0, end - len(held))))
    at = step.at
    while at < end:
        until = min(end, at - at % SECTOR + SECTOR) if sectors else end
        if sectors is None or sectors.random() < 0.5:
            held[at:until] = step.data[at - step.at : until - step.at]
        at = until


def held_in(folder: Path) -> dict[str, bytes]:
    """What a server's databases and its master.key hold."""
    found = [path for pattern in ("*.db", "*.db-wal", "master.key") for path in folder.glob(pattern)]
    return {path.name: path.read_bytes() for path in found}


class Disk:
    """The files of a folder, as they are and as they may be."""

    def __init__(self, held: Mapping[str, bytes]) -> None:
        """Begins with files that are synced."""
        self.files = {name: File(data) for name, data in held.items()}

    def take(self, step: Step) -> None:
        """Goes on by one step."""
        file = self.files.setdefault(step.file, File(None))
        if step.kind == "sync":
            file.sync()
        else:
            file.unsynced.append(step)

    def write_image(self, into: Path, choice: Choice, sectors: random.Random) -> None:
        """Writes what may be there after power failed now to an empty folder."""
        for name, file in self.files.items():
            if (data := file.after(choice, sectors)) is not None:
                (into / name).write_bytes(data)
                (into / name).chmod(0o600)


def mixed(draw: random.Random) -> Choice:
    """Of some failures little is kept, of others nearly all."""
    kept = draw.random()
    return lambda: "none" if draw.random() > kept else draw.choice(("all", "all", "some"))
