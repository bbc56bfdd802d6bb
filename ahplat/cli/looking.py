"""What the tools that look at a log have in common: the folder's log, who and what is meant, and an event as a line."""

import sys
from pathlib import Path
from typing import NoReturn

import apsw
import click
import msgspec

from ahplat.api.activity import details_of, instant_us
from ahplat.api.frames import PublicEvent, public, rfc3339
from events.catalog import UnknownEvent, decode
from events.database import open_reader
from events.event import Recorded
from events.log import head
from events.selection import named, position_at, position_in

EXIT_FAILED, EXIT_UNREADABLE = 1, 2
UNREADABLE = (apsw.Error, msgspec.MsgspecError)
"""What reading a log raises whose pages, or whose events, are not what was written."""
_ID_CHARS = 32


def failed(why: str, code: int = EXIT_FAILED) -> NoReturn:
    """Ends the program with a line that says why."""
    click.echo(f"ah: {why}", err=True)
    sys.exit(code)


def open_log(data_dir: Path) -> apsw.Connection:
    """The log of a folder, to read; ends the program where there is none."""
    try:
        log = open_reader(data_dir / "events.db")
        head(log)
    except apsw.Error as error:
        failed(f"{data_dir / 'events.db'} cannot be read ({error}): is it the server's --data-dir?", EXIT_UNREADABLE)
    return log


def id_of_tenant(log: apsw.Connection, text: str) -> str:
    """A tenant's id, of its id or its label; ends the program where there is none."""
    if not text:
        return ""
    if log.execute("SELECT 1 FROM stream WHERE name = ?", (f"tenant-{text}",)).get:
        return text
    for one, tenant in named(log, text).items():
        if one == tenant:
            return one
    failed(f"there is no tenant {text}")


def ids_of_resource(log: apsw.Connection, text: str, tenant: str) -> tuple[str, ...]:
    """Ids of what has or had a name, in one tenant or in all; an id stands for itself. Ends where there is none."""
    if len(text) == _ID_CHARS and all(digit in "0123456789abcdef" for digit in text):
        return (text,)
    found = [one for one, whose in named(log, text).items() if tenant in ("", whose)]
    if not found:
        failed(f"nothing is or was called {text}")
    return tuple(found)


def place(log: apsw.Connection, text: str) -> int:
    """A position, given as such or as a time: then the last one by then. Ends the program where it is neither."""
    last = head(log)
    if (position := position_in(text)) is not None:
        if position > last:
            failed(f"there is no position {position}: the log ends at {last}")
        return position
    at_us = instant_us(text)
    if at_us is None:
        failed(f"{text[:64]} is neither a position nor a time such as 2026-01-31T12:00:00Z")
    return position_at(log, at_us)


def shown(at: Recorded) -> PublicEvent:
    """What may be seen of an event: nothing sealed, and of one of a newer release only that it is there."""
    try:
        return public(at, decode(at.type, at.data))
    except UnknownEvent:
        meta = at.decoded_meta()
        return PublicEvent(
            at.position, at.stream, at.version, at.type, at.at_s, at.at_us, {}, at.tenant, meta.actor, meta.cause
        )


def line_of(event: PublicEvent, width: int = 0) -> str:
    """An event on one line, cut to a width where there is one."""
    when = rfc3339(event.at_us)[:-4] + "Z"
    line = f"{event.position:>8}  {when}  {event.actor or '–':<36.36}  {event.type:<27}  {event.stream}"
    if details := details_of(event):
        line += f"  {details}"
    line = "".join(char if char.isprintable() else "�" for char in line)
    return line if not width or len(line) <= width else f"{line[: width - 1]}…"
