"""Signs where the log is, while a server runs, and keeps what it signed: `checkpoints/signed`, the key in `checkpoints/key`.

Theory of operation. Every position that CHECKPOINT_EVENTS divides is signed, so a proof is never longer than that; and
the end of the log where it has moved for CHECKPOINT_EVERY_S, when somebody wants a proof of what is newer, and when the
server ends. A commit only leaves the links here, as the writer made them: what is signed is not read back from a file that
somebody may have changed meanwhile. Signing and syncing is done in a thread of its own, so the writer waits for nothing.

A start reads the log from the last checkpoint on and signs what is missing: what a SIGKILL or a full disk left out, all
of it after an upgrade. Where the chain does not hold from there, or the log does not have what was signed, nothing is
signed any more and `problem` says why. A note that was torn is passed over. After a restore the notes of the epoch before
stay; those beyond the restore are of a past that was given up, and do not count.

The invariant: what is signed was committed, and follows from all that this epoch signed before.
"""

import asyncio
import logging
import os
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw
from msgspec import Struct

from ahplat import durable, limits
from ahplat.answers import Fact
from ahplat.clock import Clock
from ahplat.errors import Unavailable
from ahplat.sealing import Keyring
from events import chain
from events.checkpoint import Checkpoint, NoteInvalid, PublicKey, notes_in, opened, parse
from events.database import open_reader
from events.event import Recorded
from events.log import link_at, read_all, read_verified

T = TypeVar("T")

logger = logging.getLogger("ahplat.checkpoints")

CHUNK = 2_000
NOTE_BYTES = 1_024  # of one note, more than it ever has


class Place(Struct, frozen=True):
    """A position and the chain's link there."""

    position: int
    link: bytes


class Signed(Struct, frozen=True):
    """A checkpoint, and the note that says it."""

    checkpoint: Checkpoint
    note: str


class Proof(Struct, frozen=True):
    """That an event is in the log: from the link before it, its own leaf and those after it follows what was signed."""

    event: Recorded
    before: bytes
    leaves: list[bytes]  # from the event's own on
    signed: Signed


class DoesNotHold(Exception):
    """The log is not what was signed of it; the text says where."""


def path_in(data_dir: Path) -> Path:
    """Where a server's folder has what it signed."""
    return data_dir / "checkpoints" / "signed"


def contradiction(data_dir: Path, key: PublicKey, epoch: int, log: apsw.Connection) -> str:
    """What the last checkpoint of this epoch says and the log does not have; "" where all is well."""
    path = path_in(data_dir)
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - limits.CHECKPOINT_READ_BYTES))
        notes = [note for _, note in notes_in(file.read())]
    for note in reversed(notes):
        try:
            if (origin := parse(note).origin) != key.name:
                return f"this log is {key.name}, signed was {origin}"
            checkpoint = opened(note, key)
        except NoteInvalid:
            continue
        return _why_not(checkpoint, log) if checkpoint.epoch == epoch else ""
    return ""


def _why_not(checkpoint: Checkpoint, log: apsw.Connection) -> str:
    link = link_at(log, checkpoint.position)
    if link == checkpoint.link:
        return ""
    found = f"has the link {link.hex()[:16]}…" if link else "is not there"
    return f"position {checkpoint.position} {found}, but the link {checkpoint.link.hex()[:16]}… was signed for it"


class Checkpoints:
    """See the module. Methods that begin with `_in_thread` belong to the thread, the others to the loop."""

    def __init__(self, data_dir: Path, keyring: Keyring, clock: Clock, installation: str, epoch: int) -> None:
        self.key = keyring.checkpoint_key(installation)
        self.last: Signed | None = None
        self.problem = ""  # why nothing is signed any more
        self._log_path = data_dir / "events.db"
        self._path = path_in(data_dir)
        self._keyring = keyring
        self._clock = clock
        self._epoch = epoch
        self._head = Place(0, chain.GENESIS)
        self._due: deque[Place] = deque()
        self._positions, self._offsets = array("Q"), array("Q")  # of the notes in the file, ascending
        self.caught_up = asyncio.Event()  # what was missing at the start is signed, or never will be
        self._wake, self._lock = asyncio.Event(), asyncio.Lock()
        self._asking, self._asked_s = asyncio.Lock(), 0.0
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._log: apsw.Connection | None = None
        self._loop: asyncio.Task[None] | None = None
        self._closing = False

    def begin(self, position: int, link: bytes) -> None:
        """Starts to sign; the log ends there now."""
        self._head = Place(position, link)
        self._loop = asyncio.create_task(self._run(self._head), name="checkpoints")

    async def close(self) -> None:
        """Signs the end of the log, once the writer has ended, and stops."""
        self._closing = True
        self._wake.set()
        if self._loop:
            await asyncio.gather(self._loop, return_exceptions=True)  # not cut off: what it signs is to be known
            if self.caught_up.is_set():
                await self._sign_due(with_head=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread_close)
        self._thread.shutdown()

    def committed(self, facts: list[Fact]) -> None:
        """Called with every commit: notes where it crossed a position that is to be signed."""
        first, last = facts[0][0].position, facts[-1][0]
        every = limits.CHECKPOINT_EVENTS
        for position in range(first + -first % every, last.position + 1, every):
            self._due.append(Place(position, facts[position - first][0].link))
            self._wake.set()
        self._head = Place(last.position, last.link)

    async def newest(self) -> Signed:
        """What was signed last. Raises Unavailable where nothing is, or was within POSITION_WAIT_S."""
        if self.last is None:
            await self._until_caught_up()
        if self.last is None:
            raise Unavailable("not_ready", self.problem or "the log is being signed", 5)
        return self.last

    async def proof(self, position: int) -> Proof:
        """The proof of an event that is committed. Raises Unavailable where the log cannot be signed."""
        await self._until_caught_up()
        await self._cover(position)
        try:
            proof = None if self.problem else await self._call(lambda: self._in_thread_prove(position))
        except DoesNotHold as error:
            self._stop_signing(error)
            proof = None
        if proof is None:
            raise Unavailable("not_ready", self.problem or "there is no room to sign the log", 60)
        return proof

    async def _until_caught_up(self) -> None:
        try:
            async with asyncio.timeout(limits.POSITION_WAIT_S):
                await self.caught_up.wait()
        except TimeoutError as error:
            raise Unavailable("not_ready", "the log is being signed", 5) from error

    async def _cover(self, position: int) -> None:
        """Signs the end of the log where that is needed, and for all who ask within CHECKPOINT_APART_S together."""
        async with self._asking:
            if self.last and self.last.checkpoint.position >= position:
                return
            await asyncio.sleep(self._asked_s + limits.CHECKPOINT_APART_S - self._clock.monotonic())
            self._asked_s = self._clock.monotonic()
            await self._sign_due(with_head=True)

    async def _run(self, head: Place) -> None:
        while not (self.caught_up.is_set() or self._closing):
            try:
                if await self._call(lambda: self._in_thread_catch_up(head)):
                    self.caught_up.set()
            except DoesNotHold as error:
                self._stop_signing(error)
                self.caught_up.set()
            except (OSError, apsw.Error) as error:
                logger.error("the log could not be signed, it is tried again: %s", error)
                await self._woken(limits.CATCH_UP_S)
        while not self._closing:
            is_woken = await self._woken(limits.CHECKPOINT_EVERY_S)
            await self._sign_due(with_head=not is_woken)

    async def _woken(self, within_s: float) -> bool:
        """Waits until there is something to do; says False where there was nothing for so long."""
        try:
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _sign_due(self, with_head: bool) -> None:
        async with self._lock:
            places = list(self._due)
            last = places[-1].position if places else self.last.checkpoint.position if self.last else 0
            if with_head and self._head.position > last:
                places.append(self._head)
            if not places or self.problem:
                return
            try:
                await self._call(lambda: self._in_thread_sign(places))
            except OSError as error:
                logger.error("position %d could not be signed, it is tried again: %s", places[-1].position, error)
            else:
                while self._due and self._due[0].position <= places[-1].position:
                    self._due.popleft()

    def _stop_signing(self, error: DoesNotHold) -> None:
        self.problem = f"the log is not what was signed of it: {error}"
        logger.critical("nothing is signed any more, %s", self.problem)

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    # the thread's side

    def _in_thread_log(self) -> apsw.Connection:
        if self._log is None:
            self._log = open_reader(self._log_path)
        return self._log

    def _in_thread_close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _in_thread_catch_up(self, head: Place) -> bool:
        """Signs what is missing; says False where the server ends before all of it is."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        durable.write(self._path.with_name("key"), f"{self.key.text}\n".encode())
        for offset, note in notes_in(self._path.read_bytes() if self._path.exists() else b""):
            if self._closing:
                return False
            try:
                self._remember(opened(note, self.key).position, offset)
            except NoteInvalid as error:
                logger.warning("%s at byte %d: %s", self._path, offset, error)
        self.last = self._in_thread_last()
        position, link = (self.last.checkpoint.position, self.last.checkpoint.link) if self.last else (0, chain.GENESIS)
        try:
            for events in read_verified(self._in_thread_log(), position, link, head.position, CHUNK):
                if self._closing:
                    return False
                places = [Place(event.position, event.link) for event in events]
                due = [one for one in places if one.position % limits.CHECKPOINT_EVENTS == 0]
                if places[-1].position == head.position and head not in due:
                    due.append(places[-1])
                self._in_thread_sign(due)
        except chain.ChainBroken as broken:
            raise DoesNotHold(str(broken)) from broken
        return True

    def _in_thread_last(self) -> Signed | None:
        """The newest checkpoint that the log has. Raises DoesNotHold where it lacks one of this epoch."""
        for index in reversed(range(len(self._positions))):
            if found := self._in_thread_holds(index):
                return found
        return None

    def _in_thread_holds(self, index: int) -> Signed | None:
        """A note, where the log has what it says; None where it is of a past that a restore gave up."""
        with self._path.open("rb") as file:
            file.seek(self._offsets[index])
            note = next((note for _, note in notes_in(file.read(NOTE_BYTES))), "")
        checkpoint = opened(note, self.key)
        why = _why_not(checkpoint, self._in_thread_log())
        if why and checkpoint.epoch == self._epoch:
            raise DoesNotHold(why)
        return None if why else Signed(checkpoint, note)

    def _in_thread_sign(self, places: list[Place]) -> None:
        if not places:
            return
        at_s = self._clock.now_us() // 1_000_000
        made = [Checkpoint(self.key.name, place.position, place.link, self._epoch, at_s) for place in places]
        notes = [self._keyring.signed(one) for one in made]
        durable.append_line(self._path, "\n" + "\n".join(notes).rstrip("\n"))
        offset = self._path.stat().st_size - len("\n".join(notes).encode())
        for one, note in zip(made, notes, strict=True):
            self._remember(one.position, offset)
            offset += len(note.encode()) + 1
            self.last = Signed(one, note)

    def _remember(self, position: int, offset: int) -> None:
        while self._positions and self._positions[-1] >= position:  # of a past that a restore gave up
            self._positions.pop()
            self._offsets.pop()
        self._positions.append(position)
        self._offsets.append(offset)

    def _in_thread_prove(self, position: int) -> Proof | None:
        """The proof by the next checkpoint; None where none covers the position."""
        for index in range(bisect_left(self._positions, position), len(self._positions)):
            if signed := self._in_thread_holds(index):
                return self._in_thread_prove_by(position, signed)
        return None

    def _in_thread_prove_by(self, position: int, signed: Signed) -> Proof:
        last = signed.checkpoint.position
        events = read_all(self._in_thread_log(), position - 1, last - position + 1)
        before = link_at(self._in_thread_log(), position - 1)
        leaves = [chain.leaf_of(event) for event in events]
        link = before
        for leaf in leaves:
            link = chain.link(link, leaf)
        if link != signed.checkpoint.link or not events:
            raise DoesNotHold(f"the events from {position} to {last} do not give the link that was signed")
        return Proof(events[0], before, leaves, signed)
