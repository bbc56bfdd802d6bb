"""A container's log as dockerd tells it: what to ask for, and how its frames become lines.

Each frame is one message with its time in front; a long line comes in several, all full but the last. Docker 20.10 with
the driver `local` leaves out the line's end then, so a message that is not full ends its line in any case; and it tells
messages twice that are written while a follower begins, or while its files are turned over, so the last LOG_REPEATS are
remembered by time and text. stdout and stderr are cut into lines apart, for a line of one may stand between two pieces of
the other's.

Docker's `tail` counts messages. So the last lines are looked for first (`beginning`), and told from there on by time, for
messages that come meanwhile do not move that; all messages of a line have the time of its first.
"""

from collections.abc import Iterator
from datetime import datetime

from docker import APIClient
from docker.errors import APIError
from msgspec import Struct

from ahplat import limits
from ahplat.engines import container, lifecycle
from ahplat.engines.dockerd import AWAY, Stream, open_stream
from ahplat.engines.engine import Bunch, LogLine
from ahplat.engines.frames import Frames
from ahplat.engines.handover import Handover
from ahplat.engines.lines import Lines
from ahplat.errors import EngineAway, Unavailable

NANOSECONDS = 1_000_000_000
FULL_BYTES = 16 * 1024  # of a message that goes on in the next one
PIECES = limits.LOG_LINE_BYTES // FULL_BYTES + 1  # messages of the longest line that is told whole


def question(tail: int | None, since_ns: int, follow: bool) -> dict[str, str]:
    """The parameters of `GET /containers/{id}/logs`.

    >>> question(10, 1_500_000_000, False)["since"]
    '1.500000000'
    """
    seconds, rest = divmod(since_ns, NANOSECONDS)
    return {
        "stdout": "1",
        "stderr": "1",
        "timestamps": "1",
        "tail": "all" if tail is None else str(tail),
        "since": f"{seconds}.{rest:09}" if since_ns else "0",
        "follow": "1" if follow else "0",
    }


def stamp_ns(stamp: bytes) -> int:
    """The time in front of a message, in whatever zone dockerd lives; 0 where there is none.

    >>> stamp_ns(b"1970-01-01T02:00:01.000000002+02:00"), stamp_ns(b"1970-01-01T00:00:01.5Z"), stamp_ns(b"x")
    (1000000002, 1500000000, 0)
    """
    text = stamp.decode("ascii", "replace")
    try:
        whole = datetime.fromisoformat(text)  # to the microsecond
    except ValueError:
        return 0
    digits = text[20:29] if len(text) >= 30 else ""
    below_s = int(digits) if digits.isdecimal() else whole.microsecond * 1_000
    return int(whole.replace(microsecond=0).timestamp()) * NANOSECONDS + below_s


class Beginning(Struct, frozen=True):
    """Where the last lines of a log begin: what to ask Docker for, and how many lines to leave out of the answer."""

    messages: int | None
    since_ns: int
    skipped: int


def beginning_of(begun_ns: list[int], lines: int, since_ns: int) -> tuple[int, int]:
    """The time from which on the last `lines` of these are told, and how many that are told then come before them.

    A line of one stream may begin before one of the other and end after it.

    >>> beginning_of([1, 2, 3, 4], 2, 0), beginning_of([1, 6, 7, 5], 1, 0), beginning_of([1, 2, 3], 3, 2)
    ((3, 0), (5, 2), (2, 0))
    """
    start_ns = max(since_ns, min(begun_ns[-lines:], default=0))
    return start_ns, sum(at_ns >= start_ns for at_ns in begun_ns[:-lines])


class Messages:
    """Frames in, lines out."""

    def __init__(self) -> None:
        self.count = 0
        self.first_ns = 0  # the time of the first message
        self._frames = Frames()
        self._lines: dict[int, Lines] = {}
        self._told: dict[int, None] = {}  # hashes of messages, the oldest first

    def add(self, data: bytes) -> Bunch:
        """The lines that end in `data`, oldest first."""
        found: Bunch = []
        for kind, message in self._frames.add(data):
            stamp, _, text = message.partition(b" ")
            self.first_ns = self.first_ns if self.count else stamp_ns(stamp)
            self.count += 1
            if len(text) < FULL_BYTES and self._was_told(hash((kind, message))):
                continue
            if len(text) < FULL_BYTES and not text.endswith(b"\n"):
                text += b"\n"
            found += self._lines.setdefault(kind, Lines()).add(text, stamp_ns(stamp))
        return found

    def _was_told(self, message: int) -> bool:
        """Whether it is a repeat. Remembers it."""
        if message in self._told:
            return True
        self._told[message] = None
        if len(self._told) > limits.LOG_REPEATS:
            del self._told[next(iter(self._told))]
        return False

    def end(self) -> Bunch:
        """What was written and has no end."""
        return [line for lines in self._lines.values() for line in lines.end()]


def begin(
    client: APIClient, container_id: str, installation: str, wanted: dict[str, str], idle_s: float | None
) -> Stream | None:
    """Asks for the log; None where the container is gone, or somebody else's."""
    found = lifecycle.ours(client, container_id, installation)
    if found is None:
        return None
    try:
        return open_stream(client, "GET", f"/containers/{found.id}/logs", wanted, idle_s)
    except APIError as error:
        if error.status_code in (404, 409):  # gone, or about to be
            return None
        raise


def beginning(client: APIClient, container_id: str, installation: str, lines: int, since_ns: int) -> Beginning:
    """Where the last lines begin that are not older than `since_ns`.

    Asks for more and more messages, until so many lines begin among them: what began with the first, or before, may have
    lost its beginning. A log has an end, and Docker keeps a bounded part of it.
    """
    wanted = lines + 1
    while stream := begin(client, container_id, installation, question(wanted, 0, False), limits.ENGINE_TIMEOUT_S):
        messages = Messages()
        try:
            begun_ns = [line.at_ns for line in _lines_of(stream, messages)]
        finally:
            stream.close()
        is_all = messages.count < wanted
        whole = [at_ns for at_ns in begun_ns if is_all or at_ns > messages.first_ns]
        if is_all or len(whole) >= lines:
            return Beginning(wanted + limits.LOG_MEANWHILE, *beginning_of(whole, lines, since_ns))
        wanted *= 8
    return Beginning(lines, since_ns, 0)


def last(client: APIClient, container_id: str, installation: str, lines: int) -> str:
    """The end of what it wrote, at most `lines` lines and TAIL_BYTES; "" where there is nothing."""
    wanted = question(lines * PIECES, 0, follow=False)
    stream = begin(client, container_id, installation, wanted, limits.ENGINE_TIMEOUT_S)
    if stream is None:
        return ""
    try:
        return container.end_of((line.text + b"\n" for line in _lines_of(stream, Messages())), lines, limits.TAIL_BYTES)
    finally:
        stream.close()


def _lines_of(stream: Stream, messages: Messages) -> Iterator[LogLine]:
    for data in stream.pieces():
        yield from messages.add(data)
    yield from messages.end()


def read(stream: Stream, handover: Handover, skipped: int) -> None:
    """Reads a log to its end but for its first lines, in a thread of its own; whatever ends it, the reader learns of it."""
    messages = Messages()
    fault: Exception | None = None
    try:
        for data in stream.pieces():
            lines = messages.add(data)
            told, skipped = lines[skipped:], max(0, skipped - len(lines))
            if told and not handover.put(told):
                return
        if told := messages.end()[skipped:]:
            handover.put(told)
    except Unavailable as error:
        fault = error
    except AWAY as error:
        fault = None if stream.was_cut else EngineAway(f"a container's log was cut off: {error}")
    finally:
        stream.close()
        handover.end(fault)
