"""What goes out of the log: never a secret, and never a frame that breaks."""

import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from ahplat.api import frames
from ahplat.api.frames import PublicEvent, cloudevent, encode, frame, opening, ping, public
from events.catalog import CATALOG
from events.event import Event, Meta, Recorded, canonical, wire_name
from events.services import ServiceEnvSet, ServiceInstanceHealthy, Target
from events.tenants import TenantProfileChanged, TenantRegistered

SECRET = b"\x01never to be seen"


class Odd(Event, frozen=True, tag="test.odd"):
    """Every way in which bytes can hide."""

    deep: dict[str, dict[str, bytes]]
    many: list[bytes]
    one_of: str | list[bytes] | None
    anything: Any
    open: list[int]


def recorded(event: Event, meta: Meta | None = None) -> Recorded:
    meta_bytes = canonical(meta or Meta(actor="key:k1", cause=41, correlation="r-1"))
    name = wire_name(type(event))
    return Recorded(42, "service-0af", 3, name, 1_700_000_000_123_456, "t1", canonical(event), meta_bytes, b"\0" * 32)


def shown(event: Event) -> dict[str, Any]:
    seen: dict[str, Any] = msgspec.json.decode(encode(public(recorded(event), event)))["data"]
    return seen


def filled(hint: Any) -> Any:
    """A value of a type with the secret wherever bytes can be."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is bytes:
        return SECRET
    if origin is dict:
        return {filled(args[0]): filled(args[1])}
    if origin is list:
        return [filled(args[0])]
    if origin is not None:  # a union, which bytes may be one of
        return filled(bytes if bytes in args else args[0])
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint(**{name: filled(inner) for name, inner in typing.get_type_hints(hint).items() if name[0] != "_"})
    return {str: "text", int: 7, bool: True, Any: SECRET}[hint]


def walk(value: Any) -> list[Any]:
    if isinstance(value, Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return [value, *(leaf for pair in value.items() for part in pair for leaf in walk(part))]
    if isinstance(value, list | tuple | set | frozenset):
        return [value, *(leaf for part in value for leaf in walk(part))]
    return [value]


@pytest.mark.parametrize("type_", [*CATALOG.values(), Odd], ids=wire_name)
def test_nothing_of_type_bytes_ever_comes_out(type_: type[Event]) -> None:
    hints = typing.get_type_hints(type_)
    event = type_(**{name: filled(hints[name]) for name in type_.__struct_fields__})
    seen = public(recorded(event), event)
    assert not [leaf for leaf in walk(seen) if isinstance(leaf, bytes | bytearray | memoryview)]
    text = encode(seen) + cloudevent(seen, "/")
    assert SECRET not in text
    assert msgspec.json.encode(SECRET)[1:-1] not in text


def test_fields_whose_types_hide_bytes_are_left_out() -> None:
    event = Odd({"a": {"b": SECRET}}, [SECRET], [SECRET], SECRET, [1])
    assert shown(event) == {"open": [1], "deep_keys": ["a"]}


def test_of_sealed_values_only_the_keys_are_shown_in_order() -> None:
    assert shown(ServiceEnvSet({"B": SECRET, "A": SECRET})) == {"sealed_keys": ["A", "B"]}


def test_what_was_not_given_is_absent() -> None:
    assert shown(TenantProfileChanged()) == {}
    assert shown(TenantRegistered(SECRET, SECRET, SECRET, "acme", "10.128.0.0/26", "10.128.0.64/26")) == {
        "label": "acme",
        "subnet": "10.128.0.0/26",
        "egress_subnet": "10.128.0.64/26",
    }


def test_structs_in_events_are_shown() -> None:
    event = ServiceInstanceHealthy(9, "d1", "sha256:ab", "x@sha256:ab", [Target(1, "i1", "127.0.0.1", 80)])
    assert shown(event)["targets"] == [{"replica": 1, "instance": "i1", "host": "127.0.0.1", "port": 80}]


def test_a_public_event_says_who_when_and_why() -> None:
    event = ServiceEnvSet({"A": SECRET})
    assert msgspec.json.decode(encode(public(recorded(event), event))) == {
        "position": 42,
        "stream": "service-0af",
        "version": 3,
        "type": "service.env_set",
        "at": 1_700_000_000,
        "at_us": 1_700_000_000_123_456,
        "tenant_id": "t1",
        "actor": "key:k1",
        "cause": 41,
        "correlation": "r-1",
        "data": {"sealed_keys": ["A"]},
    }


def test_a_cloudevent_has_the_required_attributes_and_only_allowed_names() -> None:
    event = ServiceEnvSet({"A": SECRET})
    sent = msgspec.json.decode(cloudevent(public(recorded(event), event), "/installations/i1"))
    assert sent == {
        "specversion": "1.0",
        "id": "42",
        "source": "/installations/i1",
        "type": "dev.ahplat.service.env_set",
        "subject": "service-0af",
        "time": "2023-11-14T22:13:20.123456Z",
        "datacontenttype": "application/json",
        "position": "42",
        "streamversion": "3",
        "tenantid": "t1",
        "actor": "key:k1",
        "causationid": "41",
        "correlationid": "r-1",
        "data": {"sealed_keys": ["A"]},
    }
    assert all(name.isalnum() and name == name.lower() and len(name) <= 20 for name in sent)


def test_a_cloudevent_leaves_out_attributes_that_would_be_empty() -> None:
    event = TenantProfileChanged()
    sent = msgspec.json.decode(cloudevent(public(recorded(event, Meta()), event), "/"))
    assert not sent.keys() & {"actor", "causationid", "correlationid", "traceparent"}


# frames, read back by the rules of WHATWG HTML, 9.2.6


class Seen(Struct):
    id: str
    event: str
    data: str


def read(stream: bytes) -> tuple[list[Seen], str, int | None]:
    """(dispatched events, last event id, retry) of a whole stream."""
    text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events, last_id, retry, name, data = [], "", None, "", ""
    for line in text.split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(Seen(last_id, name, data.removesuffix("\n")))
            name, data = "", ""
        elif field == "data":
            data += value + "\n"
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and value.isdigit():
            retry = int(value)
    return events, last_id, retry


def test_a_frame_is_read_as_it_was_meant() -> None:
    stream = opening(2000, 6) + frame(7, "service.created", b'{"a":1}') + ping(9)
    assert read(stream) == ([Seen("7", "service.created", '{"a":1}')], "9", 2000)


def test_pings_and_openings_dispatch_nothing() -> None:
    assert read(opening(2000, 6) + ping(9))[0] == []


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_nothing_that_is_put_into_a_frame_ends_it(id: str, event: str, data: str) -> None:
    clean = {ord("\r"): None, ord("\n"): None, 0: None}
    seen, last_id, _ = read(frame(id, event, data.encode()) + ping(id) + opening(1, id))
    assert last_id == id.translate(clean)
    assert seen == [
        Seen(last_id, event.translate(clean), data.replace("\r\n", "\n").replace("\r", "\n")),
    ]


def test_a_public_event_has_the_members_that_the_contract_names() -> None:
    promised = "position stream version type at tenant_id actor cause correlation data"
    assert set(promised.split()) <= set(PublicEvent.__struct_fields__)
    assert frames.rfc3339(0) == "1970-01-01T00:00:00.000000Z"
