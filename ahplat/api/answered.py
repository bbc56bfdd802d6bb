"""What was answered: counted, timed, and said of each command.

A read says nothing: there are many, and they change nothing. Neither does who is slowed down, who would fill the log.
Lines are gathered for TELL_S and written at once: a record for each would cost a command more than all that is counted.
"""

import asyncio
import logging
from http import HTTPStatus

from ahplat import limits
from ahplat.api.call import Call
from ahplat.log_lines import About
from ahplat.statistics import REQUEST_BOUNDS_S, Durations

logger = logging.getLogger("ahplat.requests")

READS = ("GET", "HEAD")


class Answered:
    """See the module. Streams are not in it."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.durations = {"read": Durations(REQUEST_BOUNDS_S), "command": Durations(REQUEST_BOUNDS_S)}
        self._lines: list[tuple[str, About]] = []  # that are not written yet

    def note(self, call: Call, status: int) -> None:
        """One answer is on its way."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        method = call.request.method
        took_s = call.app.clock.monotonic() - call.began_s
        if method in READS:
            return self.durations["read"].add(took_s)
        self.durations["command"].add(took_s)
        is_broken = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if status == HTTPStatus.TOO_MANY_REQUESTS or not logger.isEnabledFor(
            logging.WARNING if is_broken else logging.INFO
        ):
            return None
        line = f"{method} {call.path[:200]} {status}{call.code and f' {call.code}'} in {took_s * 1e3:.1f} ms"
        if is_broken:
            return logger.warning("%s", line, extra={"each": [(line, call)]})
        if not self._lines:
            asyncio.get_running_loop().call_later(limits.TELL_S, self.tell)
        return self._lines.append((line, call))

    def tell(self) -> None:
        """Writes what was gathered."""
        lines, self._lines = self._lines, []
        if lines:
            logger.info("%d commands", len(lines), extra={"each": lines})
