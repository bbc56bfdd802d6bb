"""given / when / then, for deciders: a real log and the real views, in memory, and nothing else.

    given(a_service(), env_set("A"))
    when(SetEnv(**MINE, sealed={"B": b"…"}))
    then(ServiceEnvSet({"B": b"…"}))              or then_rejected("quota_exceeded")

`given` appends facts and folds them; `when` loads, decides, and appends and folds what follows, so that one `when` may
come after another. A bare event goes to the stream that it is about: the service S of the tenant T, the tenant T itself,
or the effect of its intent; `of` names another. Time stands still unless `later` moves it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from ahplat.commands.catalog import COMMANDS
from ahplat.commands.command import Command
from ahplat.errors import Rejected
from events.event import Event, Meta, Recorded, wire_name
from events.log import EventLog
from projections.views import Views, digests, open_views
from tests.folders import memory_folder
from tests.folds import digests_in_shares

TENANT, OTHER_TENANT = "a" * 32, "b" * 32
BUILD, OTHER_BUILD, THIRD_BUILD = "7" * 32, "8" * 32, "9" * 32
SERVICE, OTHER_SERVICE, THIRD_SERVICE = "1" * 32, "2" * 32, "3" * 32
DATABASE = "d" * 32
VOLUME = "e" * 32
BACKUP = "c" * 32
MINE = {"tenant_id": TENANT, "service_id": SERVICE}
INSTALLATION = "f" * 32
START_US = 1_700_000_000_000_000


class Fact(Struct, frozen=True):
    """An event, and the stream and tenant that it belongs to."""

    stream: str
    tenant_id: str
    event: Event


def of(event: Event, service: str = SERVICE, tenant: str = TENANT, build: str = BUILD) -> Fact:
    """Says which service, tenant or build an event is about."""
    noun = wire_name(type(event)).partition(".")[0]
    subjects = {"service": service, "tenant": tenant, "key": tenant, "build": build, "log": "1", "exec": service}
    subjects |= {"database": DATABASE, "volume": VOLUME, "disk": "log", "backup": BACKUP, "usage": tenant}
    noun = {"database_backup": "backup"}.get(noun, noun)
    stream = f"effect-{event.intent}" if noun == "effect" else f"{noun.replace('key', 'tenant')}-{subjects[noun]}"
    return Fact(stream, "" if noun in ("log", "disk") else tenant, event)


class World:
    """A log and its views."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, content in _new_files().items():
            (folder / name).write_bytes(content)
        self.log = EventLog(folder / "events.db", INSTALLATION, START_US)
        self.views = Views(folder / "views.db")
        self.now_us = START_US
        self.outcome: list[Event] | Rejected | None = None

    def append(self, stream: str, events: list[Event], tenant_id: str) -> list[Recorded]:
        """Appends and folds, in one batch."""
        self.log.begin()
        self.views.begin()
        recorded = self.log.append(stream, events, "any", tenant_id, self.now_us, Meta(actor="test"))
        for at, event in zip(recorded, events, strict=True):
            self.views.apply(at, event)
        self.log.commit()
        self.views.commit(self.log.position, self.log.link)
        return recorded

    def decide(self, command: Command) -> list[Event]:
        """What follows of a command, appended. Raises Rejected."""
        decision = COMMANDS[type(command)]
        events = decision.decide(decision.load(self.views.db, command), command)
        self.append(decision.stream_of(command), events, command.tenant_id)
        return events

    def digests(self) -> dict[str, str]:
        """Of the views as they were folded event by event."""
        return digests(self.views.db)

    def digests_folded_again(self) -> dict[str, str]:
        """Of views that are made from the whole log."""
        path = self.folder / "again.db"
        path.unlink(missing_ok=True)
        again = open_views(path, self.log.db, INSTALLATION, lambda done, of: None)
        try:
            return digests(again.db)
        finally:
            again.close()

    def digests_in_shares(self) -> dict[str, str]:
        """Of views that are made from the whole log in shares."""
        return digests_in_shares(self.log.db, self.folder)

    def close(self) -> None:
        """Closes the files."""
        self.log.close()
        self.views.close()


@cache
def _new_files() -> dict[str, bytes]:
    """A new log and its views, made once."""
    with memory_folder() as made:
        log = EventLog(made / "events.db", INSTALLATION, START_US)
        open_views(made / "views.db", log.db, INSTALLATION, lambda done, of: None).close()
        log.close()
        return {name: (made / name).read_bytes() for name in ("events.db", "views.db")}


_worlds: list[World] = []
WorldKind = TypeVar("WorldKind", bound=World)


@contextmanager
def a_world(kind: type[WorldKind] = World) -> Iterator[WorldKind]:  # type: ignore[assignment]
    """A new world, which given, when and then are about until it ends."""
    with memory_folder() as made:
        world = kind(made)
        _worlds.append(world)
        try:
            yield world
        finally:
            _worlds.pop().close()


def world() -> World:
    """The world of this test."""
    return _worlds[-1]


def given(*facts: Event | Fact) -> None:
    """What has happened."""
    for fact in (fact if isinstance(fact, Fact) else of(fact) for fact in facts):
        world().append(fact.stream, [fact.event], fact.tenant_id)


def later(seconds: float) -> None:
    """Time goes by."""
    world().now_us += int(seconds * 1_000_000)


def when(command: Command) -> None:
    """Somebody wants something."""
    try:
        world().outcome = world().decide(command)
    except Rejected as rejected:
        world().outcome = rejected


def then(*events: Event) -> None:
    """Exactly this follows, in this order; nothing, where nothing is named."""
    assert world().outcome == list(events)


def then_rejected(code: str, *words: str) -> None:
    """It is refused with this code, for a reason that holds these words."""
    outcome = world().outcome
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code == code
    for word in words:
        assert word in outcome.detail


def then_accepted(*types: type[Event]) -> list[Any]:
    """Events of exactly these types follow; returns them, for a closer look."""
    outcome = world().outcome
    assert isinstance(outcome, list), outcome
    assert [type(event) for event in outcome] == list(types)
    return outcome
