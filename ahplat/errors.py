"""Every error of ours, by whose fault it is.

    AhError
    ├── Rejected       the caller's: 4xx with a stable `code`; nothing was changed
    │   ├── PreconditionFailed   the resource is not at the version that the caller saw: 412
    │   └── Moved                what was to be undone was changed since
    ├── Unavailable    ours, for now: 503, retry later
    │   └── EngineAway the engine does not answer; accepted work waits for it
    ├── Unreadable     a sealed field whose key is destroyed, or that is not what was sealed
    ├── Unknown        the outcome is not known: retry with the same key
    └── Broken         an invariant does not hold: the process stops

A message says what was expected and what was found. `CannotStart` stands apart: there is no caller yet.
"""

from msgspec import Struct


class Violation(Struct, frozen=True):
    """One bad field: `pointer` is a JSON Pointer (RFC 6901) into the request body, "" for the whole."""

    pointer: str
    message: str


class AhError(Exception):
    """The root; `code` is stable and part of the API."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Rejected(AhError):
    """The caller asked for what may not be. Nothing was changed, and nothing is remembered of it."""

    def __init__(self, code: str, detail: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(code, detail)
        self.violations = violations


class PreconditionFailed(Rejected):
    """The resource moved on, or is not there, since the caller saw it. `actual` is its version now, 0 for none."""

    def __init__(self, expected: int | str, actual: int) -> None:
        wanted = (
            "another resource, or another version of it, was expected" if expected == -1 else f"expected {expected}"
        )
        super().__init__("precondition_failed", f"{wanted}, the resource is at version {actual}")
        self.expected = expected
        self.actual = actual


class Moved(Rejected):
    """What was to be undone was changed since, by the event at `position`."""

    def __init__(self, position: int, detail: str) -> None:
        super().__init__("undo_stale", detail)
        self.position = position


class Unavailable(AhError):
    """Not now. `retry_after_s` is what the caller is told to wait."""

    def __init__(self, code: str, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class EngineAway(Unavailable):
    """The engine does not answer. Deadlines pause while it is away."""

    def __init__(self, detail: str) -> None:
        super().__init__("engine_unavailable", detail, retry_after_s=5)


class Unreadable(AhError):
    """A sealed field does not open: its key is destroyed, or it is not what was sealed here."""

    def __init__(self, detail: str) -> None:
        super().__init__("unreadable", detail)


class Unknown(AhError):
    """It may or may not have happened. A repeat with the same idempotency key tells."""


class Broken(AhError):
    """An invariant does not hold. Going on would make it worse."""


class CannotStart(Exception):
    """What is missing or wrong, and the remedy, in one line: the server does not start. Exit code 2."""
