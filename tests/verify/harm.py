"""A log that a server signed, and all that somebody without the key may do to its file, by name.

Positions 1 to 36 are signed at 1, 10, 20, 30 and 36. HARMS says of each deed the position from which on the log is
another one.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
from msgspec import Struct

from ahplat import limits
from events import chain
from events.event import Recorded
from events.log import read_all
from tests.checkpoints.desk import Desk
from tests.events.raw import raw

LAST = 36


def make(folder: Path) -> Path:
    """The folder of a server that has ended in order."""

    async def run() -> None:
        before = limits.CHECKPOINT_EVENTS
        limits.CHECKPOINT_EVENTS = 10
        try:
            desk = Desk(folder).begin()
            await desk.checkpoints.caught_up.wait()
            desk.append(20)
            desk.append(15, tenant="u")
            await desk.close()
            assert desk.positions == [1, 10, 20, 30, LAST]
        finally:
            limits.CHECKPOINT_EVENTS = before

    asyncio.run(run())
    return folder


def sign(folder: Path) -> None:
    """What the next start does."""

    async def run() -> None:
        desk = Desk(folder).begin()
        await desk.checkpoints.caught_up.wait()
        await desk.close()

    asyncio.run(run())


def rechain(db: apsw.Connection, leaves: Callable[[Recorded], bytes] = chain.leaf_of) -> None:
    """Writes all links anew, so that the chain holds: that needs no key."""
    link = chain.GENESIS
    for event in read_all(db, 0, 10_000):
        link = chain.link(link, leaves(event))
        db.execute("UPDATE event SET link = ? WHERE position = ?", (link, event.position))


def sql(*statements: str) -> Callable[[apsw.Connection], None]:
    def harm(db: apsw.Connection) -> None:
        for statement in statements:
            db.execute(statement)

    return harm


def rewritten(*statements: str) -> Callable[[apsw.Connection], None]:
    """The same, and then the chain is made to hold."""

    def harm(db: apsw.Connection) -> None:
        sql(*statements)(db)
        rechain(db)

    return harm


DROP = ("DELETE FROM event WHERE position = 14",)
CLOSE = ("UPDATE event SET position = -position WHERE position > 14",)
CLOSE += ("UPDATE event SET position = -position - 1 WHERE position < 0",)
SWAP = tuple(f"UPDATE event SET position = {to} WHERE position = {at}" for at, to in ((14, -1), (15, 14), (-1, 15)))
OPEN = ("UPDATE event SET position = -position WHERE position > 14",)
OPEN += ("UPDATE event SET position = -position + 1 WHERE position < 0",)
INSERT = (
    "INSERT INTO event SELECT 15, stream, 999, type, at_us, tenant, data, meta, link FROM event WHERE position = 14",
)
PUT_AT = (
    "INSERT INTO event SELECT {0}, stream, 999, type, at_us, tenant, data, meta, link FROM event WHERE position = 14"
)


class Harm(Struct, frozen=True):
    """`first` is where the log begins to be another; `named` the position that a verifier names at the latest."""

    do: Callable[[apsw.Connection], None]
    named: int


def flipped(column: str, value: str) -> Harm:
    return Harm(sql(f"UPDATE event SET {column} = {value} WHERE position = 14"), 14)


HARMS = {
    "a stream": flipped("stream", "1"),
    "a version": flipped("version", "version + 100"),
    "a type": flipped("type", "'service.deleted'"),
    "a time": flipped("at_us", "at_us + 1"),
    "a tenant": flipped("tenant", "'v'"),
    "data": flipped("data", "CAST(replace(data, 'V', 'W') AS BLOB)"),
    "meta": flipped("meta", "CAST(replace(meta, 'test', 'tess') AS BLOB)"),
    "a link": flipped("link", "zeroblob(32)"),
    "a stream's name": Harm(sql("UPDATE stream SET name = 'service-2' WHERE name = 'service-1'"), 2),
    "a stream is gone": Harm(sql("DELETE FROM stream WHERE name = 'service-1'"), 2),
    "dropped": Harm(sql(*DROP), 14),
    "dropped and moved up": Harm(sql(*DROP, *CLOSE), 14),
    "swapped": Harm(sql(*SWAP), 14),
    "inserted": Harm(sql(*OPEN, *INSERT), 15),
    "put before the first": Harm(sql(PUT_AT.format(-5)), -5),
    "put after the last": Harm(sql(PUT_AT.format(LAST + 1)), LAST + 1),
    "put after a gap": Harm(sql(PUT_AT.format(LAST + 9)), LAST + 1),
    "cut off": Harm(sql("DELETE FROM event WHERE position > 25"), 30),
    "cut off by one": Harm(sql(f"DELETE FROM event WHERE position = {LAST}"), LAST),
    "changed and chained anew": Harm(rewritten("UPDATE event SET tenant = 'v' WHERE position = 14"), 20),
    "dropped and chained anew": Harm(rewritten(*DROP, *CLOSE), 20),
    "swapped and chained anew": Harm(rewritten(*SWAP), 20),
    "inserted and chained anew": Harm(rewritten(*OPEN, *INSERT), 20),
    "the first changed and all chained anew": Harm(rewritten("UPDATE event SET at_us = 9 WHERE position = 1"), 1),
}


def harmed(whole: Path, into: Path, harm: Callable[[apsw.Connection], None]) -> Path:
    """A copy of a server's folder, to which something was done."""
    shutil.copytree(whole, into, dirs_exist_ok=True)
    with raw(into / "events.db") as db:
        harm(db)
    return into
