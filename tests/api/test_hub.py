"""Live push is only an optimisation: whatever the speeds, a subscriber is given exactly what the log holds for it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ahplat import limits
from ahplat.api.stream import Filter, Hub, Subscriber
from events.catalog import decode
from events.database import open_reader
from events.event import Event, Meta, Recorded
from events.keys import KeyRevoked
from events.log import EventLog, read_tenant
from events.services import ServiceCircuitReset, ServiceEnvUnset
from events.tenants import TenantSuspended
from tests.folders import memory_folder

TENANTS = ["acme", "other"]
FILTERS = [Filter(), Filter("service.env_unset"), Filter("service.circuit_*,nothing"), Filter("", "service:s1")]


class Pair:
    """A log and a hub that hears of its commits when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.log = EventLog(folder / "events.db", "f" * 32, 0)
        self.reader = open_reader(folder / "events.db")
        self.hub = Hub(self.reader, self.log.position)
        self._untold: list[list[tuple[Recorded, Event]]] = []

    def commit(self, events: list[tuple[str, str, Event]]) -> None:
        """One batch on the disk, of (tenant, stream, event)."""
        self.log.begin()
        facts = []
        for tenant, stream, event in events:
            recorded = self.log.append(stream, [event], "any", tenant, 0, Meta())
            facts += [(at, event) for at in recorded]
        self.log.commit()
        self._untold.append(facts)

    def tell(self) -> None:
        """The hub hears of all batches so far, in order."""
        for facts in self._untold:
            self.hub.committed(facts)
        self._untold.clear()

    def subscribe(self, tenant: str = "acme", cursor: int | None = None, wanted: Filter | None = None) -> Subscriber:
        made = Subscriber(tenant, "k1", self.hub.position if cursor is None else cursor, wanted or Filter())
        self.hub.subscribe(made)
        return made

    def close(self) -> None:
        self.reader.close()
        self.log.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with memory_folder() as folder:
        made = Pair(folder)
        yield made
        made.close()


async def test_a_queue_that_is_full_is_dropped_and_the_log_read_instead(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_QUEUE", 3)
    slow = pair.subscribe()
    assert pair.hub.take(slow) == [] and slow.live
    for _ in range(5):
        pair.commit([("acme", "service-s1", ServiceCircuitReset())] * 2)
        pair.tell()
    assert not slow.live and len(slow.queue) <= 3
    positions = [event.position for event in pair.hub.take(slow)]
    assert positions == list(range(2, 12)) and slow.live
    assert pair.hub.take(slow) == []


async def test_a_filtered_subscriber_moves_on_over_what_it_does_not_want(pair: Pair) -> None:
    one = pair.subscribe(wanted=Filter("service.env_unset"))
    pair.hub.take(one)
    pair.commit([("acme", "service-s1", ServiceCircuitReset()), ("other", "service-s2", ServiceCircuitReset())])
    pair.tell()
    assert pair.hub.take(one) == [] and one.cursor == pair.hub.position == 3


async def test_what_is_on_the_disk_is_given_only_once_it_was_told_of(pair: Pair) -> None:
    early = pair.subscribe()
    pair.commit([("acme", "service-s1", ServiceCircuitReset())])
    assert pair.hub.take(early) == []
    late = pair.subscribe()
    pair.tell()
    for subscriber in (early, late):
        assert [event.position for event in pair.hub.take(subscriber)] == [2]
        assert pair.hub.take(subscriber) == []


async def test_streams_end_with_their_key_and_with_their_tenant(pair: Pair) -> None:
    mine, theirs = pair.subscribe(), pair.subscribe("other")
    pair.commit([("acme", "tenant-acme", KeyRevoked("another"))])
    pair.tell()
    assert not mine.closed
    pair.commit([("acme", "tenant-acme", KeyRevoked("k1"))])
    pair.tell()
    assert mine.closed and mine.wake.is_set() and not theirs.closed
    pair.commit([("other", "tenant-other", TenantSuspended())])
    pair.tell()
    assert theirs.closed


# whatever the order of things

EVENTS = st.tuples(
    st.sampled_from(TENANTS),
    st.sampled_from(["service-s1", "service-s2"]),
    st.sampled_from([ServiceCircuitReset(), ServiceEnvUnset("A")]),
)
SUBSCRIPTIONS = st.tuples(st.just("subscribe"), st.sampled_from(TENANTS), st.sampled_from(FILTERS), st.integers(0, 20))
STEPS = st.one_of(
    st.tuples(st.just("commit"), st.lists(EVENTS, min_size=1, max_size=5)),
    st.tuples(st.just("tell")),
    st.tuples(st.just("take"), st.integers(0, 3)),
    SUBSCRIPTIONS,
)


def follow(pair: Pair, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    given_to: list[tuple[Subscriber, int, list[int]]] = []
    for step in steps:
        match step:
            case ("commit", events):
                pair.commit(events)
            case ("tell",):
                pair.tell()
            case ("take", number) if given_to:
                subscriber, _, seen = given_to[number % len(given_to)]
                seen += [event.position for event in pair.hub.take(subscriber)]
                assert subscriber.cursor <= pair.hub.position
            case ("subscribe", tenant, wanted, after):
                cursor = min(after, pair.hub.position)
                given_to.append((pair.subscribe(tenant, cursor, wanted), cursor, []))
    pair.tell()
    for subscriber, cursor, seen in given_to:
        while not subscriber.live or subscriber.queue:
            seen += [event.position for event in pair.hub.take(subscriber)]
        log = read_tenant(pair.reader, subscriber.tenant_id, cursor, 10_000)
        assert seen == [at.position for at in log if subscriber.wanted.wants(at, decode(at.type, at.data))]


def in_a_small_house(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    with pytest.MonkeyPatch.context() as patch, memory_folder() as folder:
        patch.setattr(limits, "STREAM_QUEUE", 3)
        patch.setattr(limits, "LIST_LIMIT", 4)
        pair = Pair(folder)
        try:
            follow(pair, steps)
        finally:
            pair.close()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=40))
def test_never_a_gap_never_a_duplicate_never_out_of_order(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    in_a_small_house(steps)


@pytest.mark.embedded
@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=80))
def test_never_a_gap_never_a_duplicate_in_many_histories(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    in_a_small_house(steps)


async def test_who_goes_leaves_no_alarm_behind(pair: Pair) -> None:
    subscriber = pair.subscribe()
    resting = asyncio.create_task(subscriber.rest(60))
    await asyncio.sleep(0)
    assert subscriber.alarm and not subscriber.alarm.cancelled()
    pair.hub.unsubscribe(subscriber)
    assert subscriber.alarm.cancelled()
    resting.cancel()
