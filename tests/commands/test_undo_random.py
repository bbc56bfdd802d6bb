"""Whatever was done to a service, undone from the newest on, leaves at each step what was before it."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahplat.commands.catalog import COMMANDS
from ahplat.commands.command import Command
from ahplat.commands.domains import AddDomain
from ahplat.commands.services import ConfigureService, SetEnv, UnsetEnv
from ahplat.errors import Moved, Rejected
from ahplat.undo import Fresh, compensation
from events.event import Meta
from events.log import event_at
from events.services import ServiceConfigured
from projections import domains, env, services
from tests.commands import given as writing
from tests.commands.facts import a_service, a_tenant
from tests.commands.given import MINE, SERVICE, World, a_world

FRESH = Fresh("d9", 0)
NAMES = st.sampled_from("ABC")
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "memory_mb": st.sampled_from([64, 65]),
        "port": st.sampled_from([0, 8001]),
        "volumes": st.sampled_from([{}, {"data": "/data"}]),
    },
)
WISHES = st.one_of(
    st.builds(lambda sealed: SetEnv(**MINE, sealed=sealed), st.dictionaries(NAMES, st.binary(max_size=2), min_size=1)),
    st.builds(lambda key: UnsetEnv(**MINE, key=key), NAMES),
    st.builds(lambda changes: ConfigureService(**MINE, changes=ServiceConfigured(**changes)), SETTINGS),
    st.builds(
        lambda host: AddDomain(**MINE, host=host, verified_by="dev"), st.sampled_from(["a.example", "b.example"])
    ),
)


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def do(world: World, command: Command, cause: int = 0) -> int:
    """Has a command decided, a second after the last; returns the position of its last event, 0 where it has none."""
    decision = COMMANDS[type(command)]
    try:
        events = decision.decide(decision.load(world.views.db, command), command)
    except Rejected:
        return 0
    world.now_us += 1_000_000
    world.log.begin()
    world.views.begin()
    meta = Meta("somebody", type(command).__name__, cause)
    recorded = world.log.append(decision.stream_of(command), events, "any", command.tenant_id, world.now_us, meta)
    for at, event in zip(recorded, events, strict=True):
        world.views.apply(at, event)
    world.log.commit()
    world.views.commit(world.log.position, world.log.link)
    return recorded[-1].position if recorded else 0


def undo(world: World, position: int) -> int:
    at = event_at(world.log.db, position)
    assert at
    return do(world, compensation(world.log.db, at, FRESH).command, position)


def find_type(world: World, position: int) -> str:
    at = event_at(world.log.db, position)
    return at.type if at else ""


def seen(world: World) -> Any:
    """What a tenant sees of its service, but for when and how often it was changed."""
    row = services.find(world.views.db, SERVICE)
    assert row
    values = env.values_at(world.views.db, SERVICE, row.env_version)
    hosts = [one.host for one in domains.list_of(world.views.db, SERVICE)]
    return row.name, row.memory_mb, row.port, row.volumes, values, hosts


@settings(max_examples=60, deadline=None)
@given(wishes=st.lists(WISHES, max_size=8), again=st.lists(st.booleans(), min_size=8, max_size=8))
def test_undone_from_the_newest_on_each_step_is_as_it_was_before(wishes: list[Command], again: list[bool]) -> None:
    with a_world() as world:
        writing.given(a_tenant(), a_service())
        steps = []
        for wish in wishes:
            before = seen(world)
            if position := do(world, wish):
                steps.append((position, before))
        for twice, (position, before) in zip(again, reversed(steps), strict=False):
            changed = seen(world)
            undone = undo(world, position)
            assert seen(world) == before
            with pytest.raises(Moved):
                undo(world, position)
            if twice and find_type(world, undone) != "service.domain_removed":
                undo(world, undone)
                assert seen(world) == changed
                undo(world, position)
                assert seen(world) == before


def test_what_was_changed_since_is_never_touched(world: World) -> None:
    writing.given(a_tenant(), a_service())
    first = do(world, SetEnv(**MINE, sealed={"A": b"1", "B": b"1"}))
    second = do(world, SetEnv(**MINE, sealed={"B": b"2"}))
    with pytest.raises(Moved) as moved:
        undo(world, first)
    assert moved.value.position == second
