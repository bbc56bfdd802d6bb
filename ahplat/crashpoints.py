"""Named places at which a test may kill the process, as a power cut would: SIGKILL, no farewell.

`AH_CRASH_AT=after-effect` dies there; `AH_CRASH_AT=after-effect:3` at the third time. Unset, `reached` costs a comparison.
For `ah backup`, `restore` and `rotate-key` it is `AH_TOOL_CRASH_AT`.
"""

import os
import signal

POINTS = ("after-intent", "after-attempt", "after-effect", "after-outcome", "between-commits")

BACKUP = ("copied", "packed", "proved", "made")
RESTORE = ("unpacked", "epoch", "keys-in-place", "log-in-place")
ROTATION = ("key-written", "wrapped-anew", "key-in-place")


class CrashPoints:
    """Counts down to one point."""

    def __init__(self, wanted: str = "", points: tuple[str, ...] = POINTS) -> None:
        """`wanted` is "", "point" or "point:n". Raises ValueError when there is no such point."""
        self._point, _, count = wanted.partition(":")
        self._left = int(count or 1)
        if self._point and self._point not in points:
            raise ValueError(f"AH_CRASH_AT names {self._point!r}; there are {', '.join(points)}")

    def reached(self, point: str) -> None:
        """Ends the process if this is the place and the time."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
