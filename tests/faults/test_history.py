"""The checker of histories: one that can be true is left alone, and each planted fault is found, and no other."""

from dataclasses import replace

import msgspec

from events.event import Event, Meta, Recorded, wire_name
from events.services import (
    ServiceDeployRequested,
    ServiceDrained,
    ServiceEnvSet,
    ServiceInstanceHealthy,
    ServiceRouted,
    Target,
)
from tests.faults.history import History, Log, Seen, Told, faults

WEB, API = "service-web", "service-api"
SECOND_US = 1_000_000
Entry = tuple[str, Event, str, int]  # stream, event, whose command it is ("" for an effect's), after how many seconds


def asked(stream: str, key: str, at_s: int = 0) -> Entry:
    return stream, ServiceEnvSet(sealed={}), key, at_s


def log_of(*entries: Entry) -> Log:
    """Those events, in their order, with positions and versions as a log gives them."""
    versions: dict[str, int] = {}
    log = []
    for position, (stream, event, key, at_s) in enumerate(entries, 1):
        version = versions[stream] = versions.get(stream, 0) + 1
        meta = Meta(actor="key:one", correlation=key) if key else Meta(actor="system", cause=1)
        at_us = at_s * SECOND_US
        log.append(
            (
                Recorded(
                    position, stream, version, wire_name(type(event)), at_us, "", b"", msgspec.json.encode(meta), b""
                ),
                event,
            )
        )
    return log


ENTRIES: list[Entry] = [
    asked(WEB, "a-0"),
    asked(API, "b-0"),
    (WEB, ServiceDeployRequested("d", 1, "deploy", "web:1", 0, 64, 100, "", "none", 1, 1), "a-1", 10),
    (WEB, ServiceInstanceHealthy(3, "d", "", "", [Target(1, "ah-web-1-1", "", 0)]), "", 11),
    (WEB, ServiceRouted(4, "d"), "", 12),
    (WEB, ServiceDrained(5, "d", []), "", 13),
    asked(WEB, "a-2", 14),
]
LOG = log_of(*ENTRIES)
TRUE = History(
    log=LOG,
    commands=[(1, 1), (2, 2), (3, 3), (7, 7)],
    asked=frozenset({"a-0", "a-1", "a-2", "b-0", "b-1"}),  # b-1 was never answered, and never came
    told=[Told("a-0", 1), Told("b-0", 2), Told("a-1", 3), Told("a-2", 7)],
    seen=[Seen("a", WEB, 1, 0, 1), Seen("b", WEB, 5, 2, 4), Seen("a", WEB, 3, 3, 5), Seen("a", WEB, 6, 6, 7)],
    running=frozenset({"ah-web-1-1"}),
)


def kinds(history: History) -> set[str]:
    return {fault.partition(":")[0] for fault in faults(history)}


def test_a_history_that_can_be_true_is_left_alone() -> None:
    assert faults(TRUE) == []


def test_a_command_that_was_told_and_is_not_in_the_log_is_lost() -> None:
    assert kinds(replace(TRUE, told=[*TRUE.told, Told("b-1", 7)])) == {"lost"}


def test_a_command_that_was_told_a_position_past_the_logs_end_is_lost() -> None:
    assert kinds(replace(TRUE, log=LOG[:6], commands=TRUE.commands[:3], seen=TRUE.seen[:3])) == {"lost"}


def test_a_command_that_stands_elsewhere_than_it_was_told_is_lost() -> None:
    assert kinds(replace(TRUE, told=[Told("a-0", 2), *TRUE.told[1:]])) == {"lost"}


def test_a_command_that_was_done_again_later_is_twice() -> None:
    log = log_of(*ENTRIES, asked(WEB, "a-0", 15))
    assert kinds(replace(TRUE, log=log, commands=[*TRUE.commands, (8, 8)])) == {"twice"}


def test_a_command_that_was_done_again_at_once_is_twice() -> None:
    log = log_of(asked(WEB, "a-0"), asked(WEB, "a-0"))
    history = History(log, [(1, 1), (2, 2)], frozenset({"a-0"}), [Told("a-0", 2)])
    assert kinds(history) == {"twice"}
    assert kinds(replace(history, commands=[(1, 2)])) == set(), "one command may be two events"


def test_a_command_that_nobody_asked_for_is_twice() -> None:
    assert kinds(replace(TRUE, asked=TRUE.asked - {"b-0"}, told=[*TRUE.told[:1], *TRUE.told[2:]])) == {"twice"}


def test_an_intent_with_two_outcomes_is_twice() -> None:
    log = log_of(*ENTRIES, (WEB, ServiceDrained(5, "d", []), "", 15))
    assert kinds(replace(TRUE, log=log)) == {"twice"}


def test_a_position_that_is_missing_is_a_gap() -> None:
    at, event = LOG[6]
    moved = (msgspec.structs.replace(at, position=8), event)
    history = replace(TRUE, log=[*LOG[:6], moved], commands=[*TRUE.commands[:3], (8, 8)], told=TRUE.told[:3])
    assert kinds(history) == {"gap"}


def test_a_version_that_is_missing_or_comes_again_is_a_gap() -> None:
    at, event = LOG[6]
    for version in (at.version - 1, at.version + 1):
        log = [*LOG[:6], (msgspec.structs.replace(at, version=version), event)]
        assert kinds(replace(TRUE, log=log, seen=TRUE.seen[:3])) == {"gap"}


def test_a_client_that_reads_older_than_it_read_is_back() -> None:
    assert kinds(replace(TRUE, seen=[*TRUE.seen, Seen("a", WEB, 5, 8, 9)])) == {"back"}


def test_a_client_that_reads_older_than_another_had_read_before_is_back() -> None:
    assert kinds(replace(TRUE, seen=[Seen("a", WEB, 2, 0, 1), Seen("b", WEB, 1, 2, 3)])) == {"back"}


def test_a_client_that_reads_what_the_log_never_had_is_told_of() -> None:
    for seen in (Seen("a", WEB, 7, 8, 9), Seen("a", "service-gone", 1, 8, 9)):
        assert kinds(replace(TRUE, seen=[*TRUE.seen, seen])) == {"never"}


def test_an_outcome_of_no_intent_is_a_gap() -> None:
    log = log_of(*ENTRIES, (WEB, ServiceDrained(2, "d", []), "", 15))
    assert kinds(replace(TRUE, log=log)) == {"gap"}


def test_reads_at_the_same_time_may_come_in_any_order_and_resources_are_each_their_own() -> None:
    overlapping = [Seen("a", WEB, 2, 0, 3), Seen("b", WEB, 1, 2, 4), Seen("b", API, 1, 5, 6)]
    assert faults(replace(TRUE, seen=overlapping)) == []


def test_an_intent_without_outcome_is_late_unless_it_is_to_wait() -> None:
    open_one = replace(TRUE, log=LOG[:4], commands=TRUE.commands[:3], told=TRUE.told[:3], seen=TRUE.seen[:1])
    assert kinds(open_one) == {"late"}
    assert faults(replace(open_one, waiting=frozenset({4}))) == []


def test_an_outcome_after_its_time_is_late() -> None:
    at, event = LOG[5]
    late = [(msgspec.structs.replace(at, at_us=212 * SECOND_US), event)]
    assert kinds(replace(TRUE, log=[*LOG[:5], *late, LOG[6]])) == {"late"}


def test_what_runs_and_is_wanted_by_nothing_is_an_orphan() -> None:
    assert kinds(replace(TRUE, running=TRUE.running | {"ah-web-2-1"})) == {"orphan"}
