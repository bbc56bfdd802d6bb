"""What happened to the work that an intent asked for. Each intent has a stream of its own, `effect-<position>`.

`subject` is the stream that the work is about. An attempt is recorded before it touches anything: a handler that kills
the process is counted too, and does not loop for ever.
"""

from events.event import Event


class EffectAttempted(Event, frozen=True, tag="effect.attempted"):
    """Attempt number `attempt` (from 1) of the work begins."""

    intent: int
    subject: str
    attempt: int


class EffectPostponed(Event, frozen=True, tag="effect.postponed"):
    """The attempt could not be ended and is made again at `due_us`. While the engine is `away` deadlines rest."""

    intent: int
    subject: str
    attempt: int
    code: str
    due_us: int
    away: bool = False
    detail: bytes = b""  # sealed


class EffectParked(Event, frozen=True, tag="effect.parked"):
    """Tried too often and too long: an operator has to look. The work stays open and is not tried again."""

    intent: int
    subject: str
    attempt: int
    code: str


class EffectUnparked(Event, frozen=True, tag="effect.unparked"):
    """An operator looked: the work is tried again, with all its attempts before it."""

    intent: int
    subject: str


EVENTS = (EffectAttempted, EffectPostponed, EffectParked, EffectUnparked)
