"""Events as they go out: as JSON, as CloudEvents 1.0, and framed as server-sent events (WHATWG HTML, 9.2).

The invariant: no sealed field and nothing else of type `bytes` ever comes out, and nothing that is put into a frame
can end it. Which fields an event shows is worked out from its type, not from its value.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct, inspect

from events.event import Event, Recorded

CLOUDEVENTS_TYPE = "application/cloudevents+json"
TYPE_PREFIX = "dev.ahplat."  # of an event's type in CloudEvents, where names are reverse DNS

_encode = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PublicEvent(Struct, frozen=True, omit_defaults=True):
    """An event as a client sees it. `at` is unix seconds, `cause` the position of what led to it, absent for a request."""

    position: int
    stream: str
    version: int
    type: str
    at: int
    at_us: int
    data: dict[str, Any]
    tenant_id: str = ""
    actor: str = ""
    cause: int = 0
    correlation: str = ""
    traceparent: str = ""
    agent: str = ""
    run: str = ""


def public(at: Recorded, event: Event) -> PublicEvent:
    """What a client may see of an event: sealed fields left out, of sealed values the keys as `<field>_keys`."""
    data: dict[str, Any] = {}
    open_, keyed = _shown(type(event))
    for name in open_:
        if (value := getattr(event, name)) is not None:
            data[name] = value
    for name in keyed:
        data[f"{name}_keys"] = sorted(getattr(event, name) or ())
    meta = at.decoded_meta()
    return PublicEvent(
        position=at.position,
        stream=at.stream,
        version=at.version,
        type=at.type,
        at=at.at_s,
        at_us=at.at_us,
        data=data,
        tenant_id=at.tenant,
        actor=meta.actor,
        cause=meta.cause,
        correlation=meta.correlation,
        traceparent=meta.traceparent,
        agent=meta.agent,
        run=meta.run,
    )


@cache
def _shown(type_: type[Event]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(fields shown as they are, fields of which only the keys are shown)."""
    shape = inspect.type_info(type_)
    assert isinstance(shape, inspect.StructType), type_
    open_ = [field.name for field in shape.fields if not _secret(field.type)]
    keyed = [field.name for field in shape.fields if _secret(field.type) and _keys_are_open(field.type)]
    return tuple(open_), tuple(keyed)


def _secret(shape: inspect.Type) -> bool:
    """Whether bytes can be anywhere in it, or anything of which that cannot be told."""
    match shape:
        case inspect.Metadata(type=inner) | inspect.CollectionType(item_type=inner):
            return _secret(inner)
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            return any(_secret(one) for one in types)
        case inspect.DictType(key_type=key, value_type=value):
            return _secret(key) or _secret(value)
        case inspect.StructType(fields=fields):
            return any(_secret(field.type) for field in fields)
        case inspect.NoneType() | inspect.BoolType() | inspect.IntType() | inspect.FloatType():
            return False
        case inspect.StrType() | inspect.LiteralType():
            return False
        case _:
            return True


def _keys_are_open(shape: inspect.Type) -> bool:
    return isinstance(shape, inspect.DictType) and isinstance(shape.key_type, inspect.StrType)


def encode(event: PublicEvent) -> bytes:
    """Compact JSON, on one line."""
    return _encode(event)


def cloudevent(event: PublicEvent, source: str) -> bytes:
    """The event in the structured mode of CloudEvents 1.0 (JSON format). `source` is a URI of this installation.

    `id` is the position, unique under its source. Extension attributes are strings: an integer has 32 bits there.
    """
    extensions = {
        "position": str(event.position),
        "streamversion": str(event.version),
        "tenantid": event.tenant_id,
        "actor": event.actor,
        "causationid": str(event.cause) if event.cause else "",
        "correlationid": event.correlation,
        "traceparent": event.traceparent,
        "agent": event.agent,
        "agentrun": event.run,
    }
    return _encode(
        {
            "specversion": "1.0",
            "id": str(event.position),
            "source": source,
            "type": TYPE_PREFIX + event.type,
            "subject": event.stream,
            "time": rfc3339(event.at_us),
            "datacontenttype": "application/json",
            **{name: value for name, value in extensions.items() if value},
            "data": event.data,
        }
    )


def rfc3339(at_us: int) -> str:
    """
    >>> rfc3339(1_700_000_000_000_001)
    '2023-11-14T22:13:20.000001Z'
    """
    return (_EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# frames

_ENDS = {ord("\r"): None, ord("\n"): None, 0: None}  # none of which is printable


def frame(id: int | str, event: str, data: bytes) -> bytes:
    """One event. Line ends in `data` become lines of their own; `id` and `event` lose theirs.

    >>> frame(7, "service.created", b"{}")
    b'id: 7\\nevent: service.created\\ndata: {}\\n\\n'
    """
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (_line(str(id)), _line(event), data)


def ping(id: int | str) -> bytes:
    """A comment that keeps the connection open, and moves the client's cursor to `id`."""
    return b": ping\nid: %b\n\n" % _line(str(id))


def opening(retry_ms: int, id: int | str) -> bytes:
    """The first frame: how long to wait before coming back, and where the stream begins."""
    return b"retry: %d\nid: %b\n\n" % (retry_ms, _line(str(id)))


def _line(text: str) -> bytes:
    return (text if text.isprintable() else text.translate(_ENDS)).encode("utf-8", "replace")
