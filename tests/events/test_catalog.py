"""Every event type: what it is called, what it holds, and that it comes back as it was written."""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings, strategies

from events import (
    builds,
    catalog,
    database_backups,
    databases,
    disks,
    domains,
    effects,
    execs,
    garbage,
    keys,
    networks,
    platform,
    services,
    tenants,
    usage,
    volumes,
)
from events.catalog import CATALOG, UPCASTS, UnknownEvent, decode
from events.event import Event, Intent, Outcome, canonical, wire_name
from tests.events.samples import sample, strategy

GOLDEN = Path(__file__).with_name("golden.json")
NOUNS = (
    platform,
    tenants,
    keys,
    services,
    domains,
    builds,
    databases,
    database_backups,
    volumes,
    effects,
    execs,
    disks,
    networks,
    garbage,
    usage,
)
EACH = pytest.mark.parametrize("kind", CATALOG.values(), ids=CATALOG)


@EACH
@settings(max_examples=10, deadline=None)
@given(data=strategies.data())
def test_an_event_comes_back_as_it_was_written(kind: type[Event], data: strategies.DataObject) -> None:
    event = data.draw(strategy(kind))
    assert decode(wire_name(kind), canonical(event)) == event


@EACH
def test_what_comes_back_is_written_with_the_same_bytes(kind: type[Event]) -> None:
    written = canonical(sample(kind))
    assert canonical(decode(wire_name(kind), written)) == written


@EACH
def test_a_wire_name_is_a_noun_and_what_happened_to_it(kind: type[Event]) -> None:
    noun, _, happened = wire_name(kind).partition(".")
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)
    assert words == f"_{noun}_{happened}"


def test_every_event_that_is_written_down_is_in_the_catalog_under_a_name_of_its_own() -> None:
    known, written = [Event], set()
    while known:
        kind = known.pop()
        known += kind.__subclasses__()
        if kind not in (Event, Intent, Outcome) and kind.__module__.startswith("events."):
            written.add(kind)
    assert sorted(wire_name(kind) for kind in written) == sorted(CATALOG)
    assert sum(len(noun.EVENTS) for noun in NOUNS) == len(CATALOG) == len(written)


def shape() -> dict[str, dict[str, str]]:
    """Wire name → field → its type, and its default where it has one; then the same of the structs that fields hold."""
    fields = {name: msgspec.structs.fields(kind) for name, kind in sorted(CATALOG.items())}
    held = {kind for all_of in fields.values() for field in all_of for kind in get_args(field.type)}
    for kind in sorted(filter(msgspec.inspect.is_struct_type, held), key=str):
        fields[f"{kind.__module__}.{kind.__name__}"] = msgspec.structs.fields(kind)
    return {name: {field.name: described(field) for field in all_of} for name, all_of in fields.items()}


def described(field: msgspec.structs.FieldInfo) -> str:
    kind: Any = field.type
    name = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return name if field.required else f"{name} = {field.default!r}"


def test_no_event_has_lost_its_name_or_a_field() -> None:
    golden = json.loads(GOLDEN.read_text())
    del golden["//"]
    assert shape() == golden, f"the events are not what {GOLDEN.name} says: how to change it stands at its top"


def test_an_event_that_this_release_does_not_know_is_said_to_be_unknown() -> None:
    with pytest.raises(UnknownEvent, match=r"service\.teleported"):
        decode("service.teleported", b'{"type":"service.teleported"}')


def test_an_event_that_lacks_a_field_is_said_to_be_unknown() -> None:
    with pytest.raises(UnknownEvent, match=r"key\.revoked.*key_id"):
        decode("key.revoked", b'{"type":"key.revoked"}')


def test_a_field_that_a_newer_release_added_is_passed_over() -> None:
    assert decode("key.revoked", b'{"key_id":"k","type":"key.revoked","why":"lost"}') == keys.KeyRevoked("k")


def test_an_old_form_is_lifted_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lift = {"type": "service.deploy_failed", "deployment_id": "d", "code": "unhealthy"}
    monkeypatch.setitem(UPCASTS, "service.deploy_broke", lambda old: lift | {"intent": old["of"], "tail": old["tail"]})
    old = b'{"of":3,"tail":"AQI=","type":"service.deploy_broke"}'
    lifted = services.ServiceDeployFailed(3, "d", "unhealthy", tail=b"\1\2")
    assert catalog.decode("service.deploy_broke", old) == lifted


def test_an_old_form_that_is_lifted_to_nothing_that_we_know_is_said_to_be_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(UPCASTS, "key.withdrawn", lambda old: {"type": "key.revoked"})
    with pytest.raises(UnknownEvent, match=r"key\.withdrawn"):
        catalog.decode("key.withdrawn", b'{"type":"key.withdrawn"}')
