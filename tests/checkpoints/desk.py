"""A log whose commits are signed as a server signs them, without a server: every tenth position, and the end."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from ahplat import checkpoints
from ahplat.checkpoints import Checkpoints
from ahplat.sealing import Keyring
from events import platform
from events.checkpoint import Checkpoint, NoteInvalid, notes_in, opened
from events.event import Meta
from events.log import EventLog
from events.services import ServiceEnvUnset
from tests.writer.harness import START_US, ByHand

INSTALLATION = "f" * 32
PATIENCE_S = 10.0


async def eventually(probe: Callable[[], object]) -> None:
    """Waits until `probe` says something; fails when it says nothing in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not probe():
        assert time.monotonic() < deadline, "nothing came of it"
        await asyncio.sleep(0.001)


class Desk:
    """`folder` outlives it, as a server's does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keyring = Keyring(folder / "keys.db", bytes(32))
        self.log = EventLog(folder / "events.db", INSTALLATION, START_US)
        self.clock = ByHand()
        self.checkpoints = Checkpoints(folder, self.keyring, self.clock, INSTALLATION, self.log.epoch)
        self.key = self.checkpoints.key

    def begin(self) -> "Desk":
        self.checkpoints.begin(self.log.position, self.log.link)
        return self

    def append(self, count: int, tenant: str = "t", is_heard: bool = True) -> None:
        """One commit of so many events. `is_heard` is false for one after which the server died at once."""
        events = [ServiceEnvUnset(f"V{n}") for n in range(count)]
        self.log.begin()
        recorded = self.log.append("service-1", list(events), "any", tenant, 2, Meta(actor="test"))
        self.log.commit()
        if is_heard:
            self.checkpoints.committed(list(zip(recorded, events, strict=True)))

    def restore(self) -> None:
        """What `ah restore` appends."""
        self.log.begin()
        self.log.append(platform.STREAM, [platform.LogRestored(self.log.epoch + 1)], "any", "", 2, Meta(actor="test"))
        self.log.commit()

    async def signed_to(self, position: int) -> None:
        """Waits until a checkpoint is there."""
        await eventually(lambda: position in [one.position for one in self.signed])

    @property
    def file(self) -> Path:
        return checkpoints.path_in(self.folder)

    @property
    def signed(self) -> list[Checkpoint]:
        """What the file has that the key has signed, in its order."""
        found = []
        for _, note in notes_in(self.file.read_bytes() if self.file.exists() else b""):
            try:
                found.append(opened(note, self.key))
            except NoteInvalid:
                continue
        return found

    @property
    def positions(self) -> list[int]:
        return [one.position for one in self.signed]

    async def close(self) -> None:
        """As a server that ends in order."""
        await self.checkpoints.close()
        self._close_files()

    async def die(self) -> None:
        """As a server that is killed: nothing more is signed."""
        self.checkpoints.caught_up.clear()
        await self.checkpoints.close()
        self._close_files()

    def _close_files(self) -> None:
        self.log.close()
        self.keyring.close()
