"""What was answered: counted, timed, and said of commands.

A command that was refused is said at level info, one that we could not carry out at warning. One that was accepted is in
the log of events for good, with request id and trace, so it is said at level debug only: a line would cost it more than
all that is counted here. A read says nothing: there are many, and they change nothing. Neither does who is slowed down,
who would fill the log.
"""

import logging
from http import HTTPStatus

from ahplat.api.call import READS, Call
from ahplat.statistics import REQUEST_BOUNDS_S, Durations

logger = logging.getLogger("ahplat.requests")


class Answered:
    """See the module. Streams are not in it."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.durations = {"read": Durations(REQUEST_BOUNDS_S), "command": Durations(REQUEST_BOUNDS_S)}

    def note(self, call: Call, status: int) -> None:
        """One answer is on its way."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        method = call.request.method
        took_s = call.app.clock.monotonic() - call.began_s
        is_read = method in READS
        self.durations["read" if is_read else "command"].add(took_s)
        level = level_of(status)
        if is_read or status == HTTPStatus.TOO_MANY_REQUESTS or not logger.isEnabledFor(level):
            return
        came_to = f"{status} {call.code}".rstrip()
        logger.log(
            level, "%s %s %s in %.1f ms", method, call.path[:200], came_to, took_s * 1_000, extra={"about": call}
        )


def level_of(status: int) -> int:
    """At which level a command with that answer is said."""
    if status < HTTPStatus.BAD_REQUEST:
        return logging.DEBUG
    return logging.INFO if status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING
