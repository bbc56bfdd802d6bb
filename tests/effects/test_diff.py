"""`diff`, a function of values: what should be, what is, and the difference in words of the log."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ahplat.effects.reconcile import Crash, Finding, Wanted, diff
from ahplat.effects.specs import name_of
from ahplat.engines.engine import Identity, Instance
from events.services import ServiceDrifted
from projections.instances import InstanceRow
from projections.services import ServiceRow

EPOCH = 3
FAST = settings(max_examples=60, deadline=None)


def a_service(deployment_id: str | None = "d1") -> ServiceRow:
    fields: dict[str, Any] = dict.fromkeys(ServiceRow.__struct_fields__)
    return ServiceRow(**(fields | {"service_id": "s", "tenant_id": "t", "deployment_id": deployment_id}))


def an_instance(replica: int, **changes: Any) -> Instance:
    """Replica `replica` of d1 as it should be."""
    of_identity = {key: changes.pop(key) for key in ("epoch", "deployment") if key in changes}
    identity = Identity("i", EPOCH, "t", "s", "d1", 1, replica, 7, "spec", 1)
    identity = msgspec.structs.replace(identity, **of_identity)
    as_it_should = Instance(f"n{replica}.1", name_of(identity), identity, "running", f"10.0.0.{replica}", 8000)
    return msgspec.structs.replace(as_it_should, **changes)


def a_row(replica: int) -> InstanceRow:
    return InstanceRow("s", replica, "d1", f"n{replica}.1", f"10.0.0.{replica}", 8000)


def wanted(replicas: int) -> Wanted:
    return Wanted(a_service(), replicas, [a_row(n) for n in range(1, replicas + 1)])


def found(*instances: Instance, replicas: int = 1, watched: bool = True) -> list[Finding]:
    return diff(wanted(replicas), [*instances], EPOCH, watched)


def drifted(finding: str, replica: int = 1, deployment: str = "d1", instance: str | None = None) -> ServiceDrifted:
    return ServiceDrifted(deployment, finding, replica, f"n{replica}.1" if instance is None else instance)


def test_when_all_is_well_nothing_is_said() -> None:
    assert found(an_instance(1)) == []
    assert found(an_instance(2), an_instance(1), replicas=2) == []
    assert found(replicas=0) == []


def test_what_somebody_is_taking_away_is_missing_and_has_not_crashed() -> None:
    assert found(an_instance(1, state="removing", host="", port=0)) == [drifted("missing")]


def test_what_ended_by_itself_has_crashed() -> None:
    ended = an_instance(1, state="exited", host="", port=0, exit_code=3)
    assert found(ended) == [Crash(ended)]


def test_an_end_that_nobody_watched_is_no_crash() -> None:
    assert found(an_instance(1, state="exited"), watched=False) == [drifted("exited")]


def test_what_is_not_there_is_missing() -> None:
    assert found() == [drifted("missing")]


def test_a_replica_that_has_no_place_is_missing_too() -> None:
    """Its repair was superseded by a deployment that failed: nothing else would ever bring it back."""
    lacks = Wanted(a_service(), 2, [a_row(1)])
    assert diff(lacks, [an_instance(1)], EPOCH) == [drifted("missing", 2, instance="")]


def test_what_nobody_asked_for_is_a_stray() -> None:
    stray = an_instance(1, id="other", deployment="d0")
    assert found(an_instance(1), stray) == [drifted("stray", 1, "d0", "other")]
    assert found(stray, replicas=0) == [drifted("stray", 1, "d0", "other")]


def test_what_does_not_run_is_named_by_its_state() -> None:
    assert found(an_instance(1, state="paused")) == [drifted("paused")]
    assert found(an_instance(1, state="created")) == [drifted("created")]


def test_what_answers_elsewhere_has_moved() -> None:
    assert found(an_instance(1, host="10.0.0.99")) == [drifted("moved")]
    assert found(an_instance(1, port=8001)) == [drifted("moved")]


def test_what_has_another_name_was_renamed() -> None:
    assert found(an_instance(1, name="mine")) == [drifted("renamed")]


def test_what_an_earlier_life_of_the_log_made_is_told() -> None:
    assert found(an_instance(1, epoch=EPOCH - 1)) == [drifted("foreign_epoch")]


def test_a_service_that_never_came_to_run_wants_nothing() -> None:
    nothing = Wanted(a_service(None), 0, [])
    assert diff(nothing, [], EPOCH) == []


# of any world

STATES = st.sampled_from(["created", "running", "paused", "exited"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Wanted, list[Instance]]:
    """What should be and what is, as they may come to differ."""
    replicas = draw(st.integers(0, 4))
    placed = [a_row(n) for n in range(1, replicas + 1) if draw(st.integers(0, 5))]
    actual = []
    for replica in range(1, 6):
        if draw(st.booleans()):
            changes: dict[str, Any] = {"state": draw(STATES)}
            if draw(st.integers(0, 4)) == 0:
                changes["epoch"] = draw(st.integers(1, 3))
            if draw(st.integers(0, 4)) == 0:
                changes["host"] = "10.9.9.9"
            if draw(st.integers(0, 4)) == 0:
                changes["name"] = "mine"
            if draw(st.integers(0, 4)) == 0:
                changes |= {"id": f"n{replica}.2", "deployment": draw(st.sampled_from(["d0", "d1", "d2"]))}
            actual.append(an_instance(replica, **changes))
    return Wanted(a_service(), replicas, placed), draw(st.permutations(actual))


@given(worlds(), st.booleans())
@FAST
def test_looking_twice_says_the_same(world: tuple[Wanted, list[Instance]], watched: bool) -> None:
    assert diff(*world, EPOCH, watched) == diff(*world, EPOCH, watched)


@given(worlds())
@FAST
def test_the_order_in_which_an_engine_lists_does_not_matter(world: tuple[Wanted, list[Instance]]) -> None:
    asked, actual = world

    def words(findings: list[Finding]) -> set[str]:
        return {str(finding) for finding in findings}

    assert words(diff(asked, actual, EPOCH)) == words(diff(asked, actual[::-1], EPOCH))


@given(worlds())
@FAST
def test_nothing_is_named_that_neither_the_log_nor_the_engine_knows(world: tuple[Wanted, list[Instance]]) -> None:
    asked, actual = world
    known = {row.instance for row in asked.placed} | {one.id for one in actual} | {""}
    for finding in diff(asked, actual, EPOCH):
        named = finding.instance.id if isinstance(finding, Crash) else finding.instance
        assert named in known
        assert isinstance(finding, Crash) or finding.deployment_id


@given(worlds(), st.booleans())
@FAST
def test_each_instance_and_each_replica_is_named_at_most_once(
    world: tuple[Wanted, list[Instance]], watched: bool
) -> None:
    findings = diff(*world, EPOCH, watched)
    named = [finding.instance.id if isinstance(finding, Crash) else finding.instance for finding in findings]
    assert len([name for name in named if name]) == len({name for name in named if name})


def repair(asked: Wanted, actual: list[Instance]) -> tuple[Wanted, list[Instance]]:
    """What follows findings, as `effects/services.py` does it: every replica is adopted or made anew, the rest goes.

    Adopted is what is of the deployment that should run and of this life of the log; places are what the engine says then.
    """
    after = []
    for replica in range(1, asked.replicas + 1):
        made = an_instance(replica, id=f"n{replica}.9", host="10.0.0.200")
        same = [one for one in actual if one.identity == made.identity]
        adopted = [
            msgspec.structs.replace(one, state="running", name=made.name, host=one.host or made.host) for one in same
        ]
        after += adopted[:1] or [made]
    placed = [InstanceRow("s", one.identity.replica, "d1", one.id, one.host, one.port) for one in after]
    return Wanted(asked.service, asked.replicas, placed), after


@given(worlds(), st.booleans())
@FAST
def test_what_is_found_and_repaired_is_found_no_more(world: tuple[Wanted, list[Instance]], watched: bool) -> None:
    if diff(*world, EPOCH, watched):
        assert diff(*repair(*world), EPOCH, watched) == []


@given(worlds(), st.booleans())
@FAST
def test_what_no_finding_names_is_left_as_it_is(world: tuple[Wanted, list[Instance]], watched: bool) -> None:
    """Nothing goes, and nothing is touched, but what was said in the log before."""
    asked, actual = world
    findings = diff(asked, actual, EPOCH, watched)
    named = {finding.instance.id if isinstance(finding, Crash) else finding.instance for finding in findings}
    _, after = repair(asked, actual)
    for one in actual:
        assert one.id in named or one in after


@given(worlds())
@FAST
def test_where_something_differs_something_is_said(world: tuple[Wanted, list[Instance]]) -> None:
    asked, actual = world
    should = {(row.instance, row.replica, row.host, row.port, "running", EPOCH) for row in asked.placed}
    missing = asked.replicas - len(asked.placed)
    is_ = {(one.id, one.identity.replica, one.host, one.port, one.state, one.identity.epoch) for one in actual}
    is_renamed = any(one.name == "mine" for one in actual)
    assert bool(diff(asked, actual, EPOCH)) == (should != is_ or missing > 0 or is_renamed)
