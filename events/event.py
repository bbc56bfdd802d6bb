"""What an event is: an immutable fact with a wire name, and the record that the log keeps of it.

Events are past tense and never change once a release has written them; a field that is added has a default. The wire
name is the tag of the struct and stays for ever. Two roles are told apart by type, for the to-do list is built of them:
an `Intent` is work to be done, an `Outcome` closes the intent that it names. A fact may be both.
"""

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="type", omit_defaults=True):
    """A fact. Subclasses give `tag="noun.past_tense"`. It is a tree of values, so the garbage collector need not look."""


class Intent(Event, frozen=True):
    """A fact that asks for work: open in the to-do view until an outcome names its position."""

    def subject_in(self, stream: str) -> str:
        """What the work is about, whose works are done one at a time: the stream's own, unless the fact knows better."""
        return stream


class Outcome(Event, frozen=True):
    """A fact that ends work: `intent` is the position of the event that asked for it."""

    intent: int


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who, why and on whose behalf. `cause` is the position of the event that led to this one, 0 for a request.

    `correlation` is the request id at the beginning of the chain; `traceparent` as W3C Trace Context has it. `agent` and
    `run` are what the caller calls itself and the piece of work that it is at; nobody has checked them.
    """

    actor: str = ""
    command: str = ""
    cause: int = 0
    correlation: str = ""
    traceparent: str = ""
    build: str = ""
    agent: str = ""
    run: str = ""


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event in its place. `position` is in the whole log, `version` in its stream; both start at 1.

    `data` and `meta` are the JSON bytes exactly as hashed, `link` the chain's hash up to and including this event.
    """

    position: int
    stream: str
    version: int
    type: str
    at_us: int  # unix time in microseconds
    tenant: str  # "" for what belongs to no tenant
    data: bytes
    meta: bytes
    link: bytes

    @property
    def subject(self) -> str:
        """The id in the stream's name: `service-018f…` is about 018f…."""
        return self.stream.partition("-")[2]

    @property
    def at_s(self) -> int:
        """Unix time in seconds, as the API gives it."""
        return self.at_us // 1_000_000

    def decoded_meta(self) -> Meta:
        """The metadata as a struct."""
        return _META.decode(self.meta)


_META = msgspec.json.Decoder(Meta)
_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """Canonical JSON, the form that is hashed: keys sorted, no spaces, bytes as base64."""
    return _ENCODER.encode(value)


def wire_name(event: type[Event]) -> str:
    """The name an event type has in the log."""
    return str(event.__struct_config__.tag)
