"""Whether what clients were told and what the log holds can both be true.

`faults` takes what clients recorded, the log, and what runs, and says in words what does not fit; nothing where all does:

    gap     the positions of the log, or the versions of a stream, are not 1, 2, 3, …
    lost    a command was acknowledged, and the log does not have it where the answer said
    twice   a command stands in the log more than once, or nobody asked for it, or an intent has two outcomes
    never   somebody read a version of a resource that the log does not have
    back    somebody read an older version of a resource after another had read, or was told, a newer one
    late    an intent came to no outcome in its time
    orphan  something runs that nothing in the log wants

A client names each request as its idempotency key is named, so the log says whose command an event is of.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ahplat.effects.catalog import EFFECTS
from events.databases import DatabaseDeleted, DatabasePurged, DatabaseStarted, DatabaseStopped
from events.event import Event, Intent, Outcome, Recorded
from events.services import ServiceDeleted, ServiceInstanceHealthy, ServiceRepaired, ServiceStopped

WITHIN_S = 120.0  # for intents without a deadline of their own, and for those whose own is longer

Log = Sequence[tuple[Recorded, Event]]
Range = tuple[int, int]  # the first and the last position of one command


@dataclass(frozen=True)
class Told:
    """A command that was acknowledged, and the position that the answer named."""

    key: str
    position: int


@dataclass(frozen=True)
class Seen:
    """An answer that showed a resource in a version; between those two moments it was asked for and came."""

    client: str
    resource: str
    version: int
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class History:
    """`commands` are the ranges that the log keeps for repeats; `asked` all keys, those of commands without answer too."""

    log: Log
    commands: Sequence[Range] = ()
    asked: frozenset[str] = frozenset()
    told: Sequence[Told] = ()
    seen: Sequence[Seen] = ()
    running: frozenset[str] = frozenset()  # ids of instances
    waiting: frozenset[int] = field(default_factory=frozenset)  # intents that are to wait: put off, or parked


def faults(history: History) -> list[str]:
    """All that is wrong, in words; see the module."""
    return [
        *gaps(history.log),
        *commands_astray(history),
        *never_there(history.log, history.seen),
        *steps_back(history.seen),
        *outcomes_astray(history.log, history.waiting),
        *orphans(history.log, history.running),
    ]


def gaps(log: Log) -> list[str]:
    """Where the log's positions, or a stream's versions, are not contiguous."""
    found = [
        f"gap: position {at.position} where {expected} was expected"
        for expected, (at, _) in enumerate(log, 1)
        if at.position != expected
    ]
    versions: dict[str, int] = defaultdict(int)
    for at, _ in log:
        versions[at.stream] += 1
        if at.version != versions[at.stream]:
            found.append(f"gap: {at.stream} has version {at.version} where {versions[at.stream]} was expected")
    return found


def commands_astray(history: History) -> list[str]:
    """Commands that are not exactly once where they were said to be, or that nobody asked for."""
    found = []
    by_last = {last: first for first, last in history.commands}
    mine: dict[str, list[int]] = defaultdict(list)
    for at, _ in history.log:
        meta = at.decoded_meta()
        if meta.cause == 0 and (meta.actor.startswith("key:") or meta.correlation in history.asked):
            mine[meta.correlation].append(at.position)
    for told in history.told:
        positions = mine.get(told.key, [])
        if told.position not in positions:
            found.append(f"lost: {told.key} was told position {told.position}, the log has it at {positions}")
    for key, positions in mine.items():
        if key not in history.asked:
            found.append(f"twice: nobody asked for {key!r}, which is at {positions}")
        elif positions != list(range(by_last.get(positions[-1], 0), positions[-1] + 1)):
            found.append(f"twice: {key} is more than one command: it is at {positions}")
    return found


def never_there(log: Log, seen: Iterable[Seen]) -> list[str]:
    """Answers that show more than the log has."""
    newest: dict[str, int] = defaultdict(int)
    for at, _ in log:
        newest[at.stream] = max(newest[at.stream], at.version)
    return [
        f"never: {one.client} saw version {one.version} of {one.resource}, the log has {newest[one.resource]}"
        for one in seen
        if one.version > newest[one.resource]
    ]


def steps_back(seen: Iterable[Seen]) -> list[str]:
    """Answers that are older than one which had come before they were asked for, to whomever."""
    found = []
    of_resource: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        of_resource[one.resource].append(one)
    for resource, all_of_it in of_resource.items():
        ended = sorted(all_of_it, key=lambda one: one.ended_s)
        known, newest = 0, 0
        for one in sorted(all_of_it, key=lambda one: one.began_s):
            while known < len(ended) and ended[known].ended_s < one.began_s:
                newest = max(newest, ended[known].version)
                known += 1
            if one.version < newest:
                found.append(f"back: {one.client} saw version {one.version} of {resource} after version {newest}")
    return found


def outcomes_astray(log: Log, waiting: frozenset[int] = frozenset()) -> list[str]:
    """Intents with no outcome in their time, or with two."""
    found = []
    intents = {at.position: (at, event) for at, event in log if isinstance(event, Intent)}
    ended: dict[int, int] = {}
    for at, event in log:
        if not isinstance(event, Outcome):
            continue
        if event.intent in ended:
            found.append(f"twice: {event.intent} has outcomes at {ended[event.intent]} and {at.position}")
        ended[event.intent] = at.position
        if event.intent not in intents:
            found.append(f"gap: the outcome at {at.position} is of {event.intent}, where no intent is")
            continue
        intent_at, intent = intents[event.intent]
        since_us = max(intent_at.at_us, getattr(intent, "due_us", 0))
        within_s = min(EFFECTS[type(intent)].deadline_s, WITHIN_S)
        if at.at_us - since_us > within_s * 1e6:
            found.append(f"late: {intent_at.type} at {intent_at.position} took {(at.at_us - since_us) / 1e6:.1f} s")
    still = [f"{at.type} at {at.position}" for at, _ in intents.values() if at.position not in {*ended, *waiting}]
    return found + [f"late: {what} has no outcome" for what in still]


def orphans(log: Log, running: frozenset[str]) -> list[str]:
    """What runs though nothing in the log wants it."""
    return [f"orphan: {instance}" for instance in sorted(running - wanted(log))]


def wanted(log: Log) -> frozenset[str]:
    """The ids of the instances that are to run, as the log has it."""
    up: dict[str, frozenset[str]] = {}
    for at, event in log:
        match event:
            case ServiceInstanceHealthy() | ServiceRepaired():
                up[at.stream] = frozenset(target.instance for target in event.targets)
            case DatabaseStarted():
                up[at.stream] = frozenset({event.instance})
            case ServiceStopped() | ServiceDeleted() | DatabaseStopped() | DatabaseDeleted() | DatabasePurged():
                up.pop(at.stream, None)
    return frozenset().union(*up.values())
