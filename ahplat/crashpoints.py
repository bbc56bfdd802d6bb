"""Named places at which a test may kill the process, as a power cut would: SIGKILL, no farewell.

`AH_CRASH_AT=after-effect` dies there; `after-effect:3` at the third time; `after-effect@service.deploy_requested` where it is
about that intent, `between-commits@…` where an event of that type was committed. Unset, `reached` costs a comparison.
For `ah backup`, `restore` and `rotate-key` it is `AH_TOOL_CRASH_AT`.
"""

import os
import signal
from collections.abc import Iterable

POINTS = ("after-intent", "after-attempt", "after-effect", "after-outcome", "between-commits")

BACKUP = ("copied", "packed", "proved", "made")
RESTORE = ("unpacked", "epoch", "keys-in-place", "log-in-place")
ROTATION = ("key-written", "wrapped-anew", "key-in-place")


class CrashPoints:
    """Counts down to one point."""

    def __init__(self, wanted: str = "", points: tuple[str, ...] = POINTS) -> None:
        """`wanted` is "", or "point", with "@event type" or ":n" or both. Raises ValueError when there is no such point."""
        place, _, count = wanted.partition(":")
        self._point, _, self._about = place.partition("@")
        self._left = int(count or 1)
        if self._point and self._point not in points:
            raise ValueError(f"AH_CRASH_AT names {self._point!r}; there are {', '.join(points)}")

    def reached(self, point: str, about: Iterable[str] = ()) -> None:
        """Ends the process if this is the place and the time. `about` are the types of the events that it is about."""
        if point == self._point and (not self._about or self._about in about):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
