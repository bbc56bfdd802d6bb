"""The log against a model of it: a list of what was committed, and a list of what is in the open batch."""

from contextlib import ExitStack

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import Struct

from events import chain
from events.catalog import decode
from events.event import Event, Meta, Recorded
from events.log import EventLog, Expected, VersionConflict, read_all, read_stream, read_tenant, read_tenant_backwards
from events.platform import LogCreated
from events.services import ServiceEnvUnset
from events.tenants import TenantQuotasSet
from tests.folders import memory_folder

STREAMS = ["service-1", "service-2", "tenant-1"]
TENANTS = ["", "one", "two"]
EVENTS = strategies.one_of(
    strategies.builds(ServiceEnvUnset, strategies.text(max_size=4)),
    strategies.builds(TenantQuotasSet, strategies.dictionaries(strategies.text(max_size=2), strategies.integers(0, 9))),
)


class Written(Struct, frozen=True):
    """What the model knows of an event."""

    position: int
    stream: str
    version: int
    tenant: str
    at_us: int
    actor: str
    event: Event


def as_written(at: Recorded) -> Written:
    """What was read, in the model's words."""
    event = decode(at.type, at.data)
    return Written(at.position, at.stream, at.version, at.tenant, at.at_us, at.decoded_meta().actor, event)


def fits(expected: Expected, version: int) -> bool:
    """What the model thinks of an expected version."""
    return {"any": True, "none": version == 0, "exists": version > 0}.get(str(expected), expected == version > 0)


class LogMachine(RuleBasedStateMachine):
    """Appends, commits, rolls back, closes and opens again; reads all the while."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.path = self.stack.enter_context(memory_folder()) / "events.db"
        self.log = EventLog(self.path, "me", 5)
        self.committed = [Written(1, "log-1", 1, "", 5, "system", LogCreated("me"))]
        self.batch: list[Written] = []
        self.is_open = False
        self.at_us = 5

    @property
    def all(self) -> list[Written]:
        return self.committed + self.batch

    def version(self, stream: str) -> int:
        return sum(written.stream == stream for written in self.all)

    @rule(
        stream=strategies.sampled_from(STREAMS),
        tenant=strategies.sampled_from(TENANTS),
        events=strategies.lists(EVENTS, max_size=3),
        expected=strategies.sampled_from(["any", "none", "exists", 0, 1, 2, 3]),
        actor=strategies.text(max_size=3),
    )
    def append(self, stream: str, tenant: str, events: list[Event], expected: Expected, actor: str) -> None:
        if not self.is_open:
            self.log.begin()
            self.is_open = True
        version = self.version(stream)
        self.at_us += 1
        try:
            recorded = self.log.append(stream, events, expected, tenant, self.at_us, Meta(actor=actor))
        except VersionConflict as conflict:
            assert not fits(expected, version)
            assert (conflict.expected, conflict.actual) == (expected, version)
            return
        assert fits(expected, version)
        new = [
            Written(len(self.all) + n, stream, version + n, tenant, self.at_us, actor, event)
            for n, event in enumerate(events, 1)
        ]
        assert [as_written(at) for at in recorded] == new
        self.batch += new

    @precondition(lambda self: self.is_open)
    @rule()
    def commit(self) -> None:
        self.log.commit()
        self.committed, self.batch, self.is_open = self.all, [], False

    @precondition(lambda self: self.is_open)
    @rule()
    def rollback(self) -> None:
        self.log.rollback()
        self.batch, self.is_open = [], False

    @rule()
    def reopen(self) -> None:
        """What was not committed is gone, as after a crash."""
        self.log.close()
        self.log = EventLog(self.path, "somebody else", 0)
        self.batch, self.is_open = [], False

    @rule(after=strategies.integers(0, 8), limit=strategies.integers(0, 4))
    def read(self, after: int, limit: int) -> None:
        db = self.log.db
        assert [as_written(at) for at in read_all(db, after, limit)] == self.all[after : after + limit]
        for stream in ("log-1", *STREAMS):
            expected = [w for w in self.all if w.stream == stream and w.version > after][:limit]
            assert [as_written(at) for at in read_stream(db, stream, after, limit)] == expected

    @rule(at=strategies.integers(0, 8), limit=strategies.integers(0, 4))
    def read_of_a_tenant(self, at: int, limit: int) -> None:
        db = self.log.db
        for tenant in TENANTS:
            after = [w for w in self.all if w.tenant == tenant and w.position > at][:limit]
            assert [as_written(found) for found in read_tenant(db, tenant, at, limit)] == after
            before = [w for w in reversed(self.all) if w.tenant == tenant and w.position < at][:limit]
            assert [as_written(found) for found in read_tenant_backwards(db, tenant, at, limit)] == before

    @invariant()
    def it_knows_its_place(self) -> None:
        assert self.log.position == self.log.last_position_in_file() == len(self.all)
        assert self.log.committed == len(self.committed)
        for stream in STREAMS:
            assert self.log.version(stream)[1] == self.version(stream)

    @invariant()
    def the_chain_holds(self) -> None:
        assert chain.verify(chain.GENESIS, 0, read_all(self.log.db, 0, 1000)) == self.log.link

    def teardown(self) -> None:
        self.log.close()
        self.stack.close()


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
