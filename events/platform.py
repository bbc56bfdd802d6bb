"""What happened to the log itself."""

from events.event import Event

STREAM = "log-1"


class LogCreated(Event, frozen=True, tag="log.created"):
    """The first event of every log: which installation this is. Epoch 1 begins."""

    installation: str


class LogRestored(Event, frozen=True, tag="log.restored"):
    """The log came back from a backup: what was seen of a later past is no longer true, and a new epoch begins."""

    epoch: int


EVENTS = (LogCreated, LogRestored)
