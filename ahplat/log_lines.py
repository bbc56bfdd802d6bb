"""What the server says on stderr: one line each, for people or as JSON, with whose request or work it belongs to.

Who takes up a request or an attempt says so once, in its own task (`about.set`); each line that is said from there on
carries request id, position, tenant and traceparent, and no call passes them along. What comes from outside cannot
begin a line of its own: control characters are shown, not written.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, Protocol, TextIO

import msgspec
from msgspec import Struct

Kind = Literal["human", "json"]


class About(Protocol):
    """What a line belongs to; "" and 0 are what is not known, or not yet.

    `position` is where a command's events end in the log, or the intent that an attempt is at.
    """

    @property
    def request_id(self) -> str: ...

    @property
    def position(self) -> int: ...

    @property
    def tenant_id(self) -> str: ...

    @property
    def traceparent(self) -> str: ...


class Line(Struct, frozen=True, omit_defaults=True):
    """One line as JSON. `error` is the traceback."""

    time: str
    level: str
    logger: str
    message: str
    request_id: str = ""
    position: int = 0
    tenant: str = ""
    traceparent: str = ""
    error: str = ""


about: ContextVar[About | None] = ContextVar("about", default=None)


@contextmanager
def nobodys() -> Iterator[None]:
    """What begins in here, and goes on, is not about whoever happened to begin it."""
    before = about.set(None)
    try:
        yield
    finally:
        about.reset(before)


def set_up(level: str, kind: Kind, stream: TextIO = sys.stderr) -> None:
    """Has everything that is logged come out in one form; `level` "debug" is of our own parts only."""
    logging.basicConfig(level="INFO" if level == "debug" else level.upper(), handlers=[Lines(kind, stream)])
    logging.getLogger("ahplat").setLevel(level.upper())


class Lines(logging.StreamHandler[TextIO]):
    """Writes records as lines, about what they say themselves (`extra={"about": …}`), or who says them."""

    def __init__(self, kind: Kind, stream: TextIO) -> None:
        super().__init__(stream)
        self._write = as_json if kind == "json" else for_people

    def format(self, record: logging.LogRecord) -> str:
        whose: About | None = getattr(record, "about", None) or about.get()
        error = _FORMATTER.formatException(record.exc_info) if record.exc_info else ""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
        said = (time, record.levelname.lower(), record.name, record.getMessage())
        if whose is None:
            return self._write(Line(*said, error=error))
        owner = (whose.request_id, whose.position, whose.tenant_id, whose.traceparent)
        return self._write(Line(*said, *owner, error))


def as_json(line: Line) -> str:
    """One JSON object.

    >>> as_json(Line("2026-01-01T00:00:00.000Z", "info", "ahplat", "two\\nlines", position=7))
    '{"time":"2026-01-01T00:00:00.000Z","level":"info","logger":"ahplat","message":"two\\\\nlines","position":7}'
    """
    return _encode(line).decode()


def for_people(line: Line) -> str:
    """Text; a traceback follows below it.

    >>> for_people(Line("2026-01-01T00:00:00.000Z", "info", "ahplat", "two\\nlines", position=7, tenant="t1"))
    '2026-01-01T00:00:00.000Z info    ahplat: two\\\\nlines (position 7, tenant t1)'
    """
    message = line.message if line.message.isprintable() else line.message.translate(_SHOWN)
    told = [f"request {line.request_id}"] if line.request_id else []
    if line.position:
        told.append(f"position {line.position}")
    if line.tenant:
        told.append(f"tenant {line.tenant}")
    if line.traceparent:
        told.append(f"trace {line.traceparent}")
    belongs = f" ({', '.join(told)})" if told else ""
    error = f"\n{line.error}" if line.error else ""
    return f"{line.time} {line.level:7} {line.logger}: {message}{belongs}{error}"


_FORMATTER = logging.Formatter()
_SHOWN = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_encode = msgspec.json.Encoder().encode
