"""The hash chain, by hand and by chance."""

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings, strategies

from events import chain
from events.event import Recorded

TEXT = strategies.text(max_size=5)
BYTES = strategies.binary(max_size=5)
NUMBER = strategies.integers(0, 2**63 - 1)
PARTS = strategies.tuples(NUMBER, TEXT, NUMBER, TEXT, NUMBER, TEXT, BYTES, BYTES)


def chained(count: int) -> list[Recorded]:
    """Events that follow one another from the beginning."""
    events, before = [], chain.GENESIS
    for position in range(1, count + 1):
        fields = (position, "service-1", position, "service.created", 5, "t", b"{}", b"{}")
        before = chain.link(before, chain.leaf(*fields))
        events.append(Recorded(*fields, before))
    return events


def test_a_leaf_is_the_hash_of_its_parts_each_with_its_length() -> None:
    parts = [b"1\x002\x003", b"log-1", b"log.created", b"t", b"{}", b"[]"]
    frame = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert chain.leaf(1, "log-1", 2, "log.created", 3, "t", b"{}", b"[]") == sha256(b"\x00" + frame).digest()


def test_a_link_is_the_hash_of_the_link_before_and_the_leaf() -> None:
    assert chain.link(b"a" * 32, b"b" * 32) == sha256(b"\x01" + b"a" * 32 + b"b" * 32).digest()


def test_a_leaf_never_passes_for_a_link() -> None:
    assert chain.link(b"", b"") != sha256(b"\x00").digest()


@settings(max_examples=40)
@given(PARTS, PARTS)
def test_different_events_have_different_leaves_wherever_a_part_ends(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    assert (one == other) == (chain.leaf(*one) == chain.leaf(*other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, "ab", 1, "c", 1, "", b"", b""), (1, "a", 1, "bc", 1, "", b"", b"")),
        ((1, "", 1, "", 1, "", b"ab", b"c"), (1, "", 1, "", 1, "", b"a", b"bc")),
        ((11, "", 1, "", 1, "", b"", b""), (1, "", 11, "", 1, "", b"", b"")),
        ((1, "", 11, "", 1, "", b"", b""), (1, "", 1, "", 11, "", b"", b"")),
    ],
)
def test_what_moves_from_one_part_to_the_next_is_seen(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    assert chain.leaf(*one) != chain.leaf(*other)


def test_what_follows_verifies_from_any_place() -> None:
    events = chained(6)
    assert chain.verify(chain.GENESIS, 0, events) == events[-1].link
    assert chain.verify(events[2].link, 3, events[3:]) == events[-1].link


def test_nothing_verifies_as_what_came_before() -> None:
    assert chain.verify(b"x" * 32, 7, []) == b"x" * 32


@pytest.mark.parametrize("at", [1, 3, 6])
@pytest.mark.parametrize(
    "change",
    [
        {"stream": "service-2"},
        {"version": 99},
        {"type": "service.deleted"},
        {"at_us": 6},
        {"tenant": "u"},
        {"data": b"[]"},
        {"meta": b"[]"},
        {"link": bytes(32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_event_is_named(at: int, change: dict[str, object]) -> None:
    events = chained(6)
    events[at - 1] = msgspec.structs.replace(events[at - 1], **change)
    with pytest.raises(chain.ChainBroken) as caught:
        chain.verify(chain.GENESIS, 0, events)
    assert caught.value.position == at


def test_a_dropped_event_is_named() -> None:
    events = chained(6)
    del events[2]
    with pytest.raises(chain.ChainBroken, match="expected position 3, found 4") as caught:
        chain.verify(chain.GENESIS, 0, events)
    assert caught.value.position == 3


def test_events_of_another_past_do_not_follow() -> None:
    with pytest.raises(chain.ChainBroken) as caught:
        chain.verify(b"x" * 32, 3, chained(6)[3:])
    assert caught.value.position == 4
