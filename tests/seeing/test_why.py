"""The tree of causes and effects, on a log that is written by hand."""

from collections.abc import Iterator

import pytest

from ahplat import limits
from ahplat.why import Node, explain
from events.event import Event, Meta
from events.services import ServiceDeploySuperseded, ServiceRouteRepaired
from tests.commands.facts import a_deploy, a_service
from tests.commands.given import SERVICE, TENANT, World, a_world, given


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def caused(world: World, cause: int, event: Event, tenant: str = TENANT) -> int:
    """Appends an event that another one led to, a second after the last; returns its position."""
    world.now_us += 1_000_000
    world.log.begin()
    [at] = world.log.append(f"service-{SERVICE}", [event], "any", tenant, world.now_us, Meta("system", cause=cause))
    world.log.commit()
    return at.position


def tree(node: Node) -> list[object]:
    """Positions: an event, and the trees of what it led to."""
    return [node.at.position, *(tree(one) for one in node.effects)]


def test_what_ended_an_intent_hangs_under_it_whoever_asked_for_it(world: World) -> None:
    given(a_service(), a_deploy("d1"))
    intent = world.log.position
    given(ServiceDeploySuperseded(intent, "d1"), a_deploy("d2"))
    found = explain(world.log.db, intent, world.log.position)
    assert found and tree(found.event) == [intent, [intent + 1]]


def test_each_effect_hangs_under_its_cause_in_order_with_the_time_between(world: World) -> None:
    given(a_service())
    root = world.log.position
    first = caused(world, root, ServiceRouteRepaired("a"))
    stranger = caused(world, 0, ServiceRouteRepaired("b"))
    second = caused(world, root, ServiceRouteRepaired("c"))
    below = caused(world, first, ServiceRouteRepaired("d"))
    found = explain(world.log.db, root, world.log.position)
    assert found and tree(found.event) == [root, [first, [below]], [second]]
    assert [one.after_us for one in found.event.effects] == [1_000_000, 3_000_000]
    assert found.event.effects[0].effects[0].after_us == 3_000_000
    back = explain(world.log.db, below, world.log.position)
    assert back and [one.at.position for one in back.causes] == [root, first]
    alone = explain(world.log.db, stranger, world.log.position)
    assert alone and (alone.causes, alone.event.effects) == ([], [])


def test_what_lies_beyond_the_head_is_not_told(world: World) -> None:
    given(a_service())
    root = world.log.position
    after = caused(world, root, ServiceRouteRepaired("a"))
    found = explain(world.log.db, root, root)
    assert found and tree(found.event) == [root]
    assert explain(world.log.db, after, root) is None and explain(world.log.db, 0, after) is None


def test_a_cause_of_another_tenant_ends_the_chain_and_is_said(world: World) -> None:
    given(a_service())
    root = world.log.position
    theirs = caused(world, root, ServiceRouteRepaired("a"), tenant="other")
    found = explain(world.log.db, theirs, theirs, tenant="other")
    assert found and (found.causes, found.cut) == ([], ["causes"])
    for_all = explain(world.log.db, theirs, theirs)
    assert for_all and [one.at.position for one in for_all.causes] == [root]
    assert explain(world.log.db, theirs, theirs, tenant=TENANT) is None


def test_effects_are_found_past_a_chunk_and_up_to_a_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ahplat.why._CHUNK", 2)
    given(a_service())
    root = world.log.position
    for _ in range(5):
        caused(world, 0, ServiceRouteRepaired("b"))
    last = caused(world, root, ServiceRouteRepaired("a"))
    found = explain(world.log.db, root, last)
    assert found and (tree(found.event), found.cut) == ([root, [last]], [])
    monkeypatch.setattr(limits, "WHY_SCANNED", 4)
    found = explain(world.log.db, root, last)
    assert found and (tree(found.event), found.cut, found.read_to) == ([root], ["reading"], root + 4)
