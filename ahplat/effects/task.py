"""One attempt at the work of one intent, as an effect sees it.

Every engine call is a step: before it the task looks whether its intent is still wanted and its time is not over. The
steps are also where a process may die; whatever was done by then is found by the next attempt, which probes first.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.backups.database_files import DatabaseFiles
from ahplat.builders.build_logs import BuildLogs
from ahplat.builders.builder import Builder
from ahplat.clock import Clock
from ahplat.commands.command import Command
from ahplat.commands.effects import Conclude
from ahplat.engines.engine import Engine
from ahplat.errors import AhError, Rejected, Unreadable
from ahplat.names.responders import Responders
from ahplat.names.upstream import Upstreams
from ahplat.routers.router import Router
from ahplat.sealing import Keyring
from ahplat.writer import Writer
from events.event import Event, Intent, Meta
from projections.todo import TodoRow

if TYPE_CHECKING:
    from ahplat.effects.metering import Meter

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I", bound=Intent, covariant=True)  # noqa: E741 — I for intent


class CalledOff(Exception):
    """The intent has its outcome: something newer was accepted, or it was cancelled."""


class Expired(AhError):
    """The work did not come to an end within its deadline."""


class Failed(AhError):
    """The work cannot succeed. `tail` is the last of what the instance said."""

    def __init__(self, code: str, detail: str, tail: str = "") -> None:
        super().__init__(code, detail)
        self.tail = tail


class Platform(Struct, frozen=True):
    """What effects work with. `views` is the loop's own read connection."""

    writer: Writer
    views: Connection
    engine: Engine
    router: Router
    keyring: Keyring
    clock: Clock
    names: Responders
    upstreams: Upstreams
    installation: str
    epoch: int
    domain: str
    drain_s: float
    deploy_timeout_s: float
    meter: "Meter"
    builder: Builder
    build_logs: BuildLogs
    database_files: DatabaseFiles
    build_timeout_s: float = limits.BUILD_DEADLINE_S
    keep_suspended_s: float = limits.KEEP_SUSPENDED_S


class Task(Generic[I]):
    """See the module."""

    def __init__(
        self, platform: Platform, work: TodoRow, intent: I, attempt: int, deadline_us: int, origin: Meta
    ) -> None:
        self.platform = platform
        self.engine = platform.engine
        self.work = work
        self.intent = intent
        self.attempt = attempt
        self.deadline_us = deadline_us
        self._origin = origin
        self.outcome_stream = work.subject  # where its facts go
        self.called_off = asyncio.Event()
        self.interrupted = False  # the engine was away since it began, however briefly

    @property
    def request_id(self) -> str:
        """Of the request that set it in motion, however long ago; "" where none did."""
        return self._origin.correlation

    @property
    def traceparent(self) -> str:
        """The trace of that request."""
        return self._origin.traceparent

    @property
    def tenant_id(self) -> str:
        """Whose work it is."""
        return self.work.tenant_id

    @property
    def position(self) -> int:
        """The intent's."""
        return self.work.intent

    @property
    def subject(self) -> str:
        """The id that the work is about."""
        return self.work.subject.partition("-")[2]

    def over(self) -> bool:
        """Whether to go on would be in vain."""
        return self.called_off.is_set() or self.platform.clock.now_us() > self.deadline_us

    def check(self) -> None:
        """Raises CalledOff or Expired when to go on would be in vain."""
        if self.called_off.is_set():
            raise CalledOff
        if self.platform.clock.now_us() > self.deadline_us:
            raise Expired("deadline", "it did not come to an end within its deadline")

    async def step(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """One call of the engine, if the work is still wanted. What it refuses because `over` says so, ends as `check`."""
        self.check()
        try:
            return await call(*args, **kwargs)
        except Rejected as refused:
            if refused.code == "cancelled":
                self.check()
            raise

    async def pause(self, seconds: float) -> None:
        """Waits; ends at once with CalledOff when the work is called off meanwhile."""
        await self.rest(seconds)
        self.check()

    async def rest(self, seconds: float) -> None:
        """Waits; ends at once, and says nothing, when the work is called off meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.called_off.wait()

    async def unless_called_off(self, call: Coroutine[Any, Any, T]) -> T:
        """What a call says that can be dropped half-way, and is at once when the work is called off."""
        waiting, off = asyncio.ensure_future(call), asyncio.ensure_future(self.called_off.wait())
        try:
            await asyncio.wait({waiting, off}, return_when=asyncio.FIRST_COMPLETED)
            self.check()
            return await waiting
        finally:
            waiting.cancel()
            off.cancel()
            await asyncio.gather(waiting, off, return_exceptions=True)

    async def submit(self, command: Command) -> None:
        """Has a command decided on behalf of the intent: what it appends names that as its cause, and keeps its origin."""
        await self.platform.writer.submit(
            command,
            actor="system",
            cause=self.work.intent,
            correlation=self.request_id,
            traceparent=self.traceparent,
            agent=self._origin.agent,
            run=self._origin.run,
        )

    def conclusion(self, outcome: list[Event]) -> Conclude:
        """The command that records how this attempt ended, in the stream that its outcome goes to."""
        return Conclude(
            tenant_id=self.work.tenant_id,
            intent=self.work.intent,
            attempt=self.attempt,
            stream=self.outcome_stream,
            outcome=outcome,
        )

    def seal(self, field: str, text: str, stream: str = "") -> bytes:
        """Seals a field of the outcome for the tenant; empty where there is nothing, or no key any more."""
        if not text:
            return b""
        try:
            return self.platform.keyring.seal(self.work.tenant_id, stream or self.work.subject, field, text.encode())
        except Unreadable:
            return b""


class Effect(Struct, frozen=True):
    """What carries an intent to its outcome.

    `run` returns the facts that end it, or the command that decides what they are. `fail` is the command that records its
    failure; without one the work cannot fail: it is tried again until it is done, or parked. `clean_up` takes away what it
    made, once it was called off or failed. `has_turn`, given the views, the work and the subjects that are being worked
    on, says whether it may begin yet. `of_its_server`: what it waits for ends with the server that began it, so an earlier
    server's is due at once.
    """

    run: Callable[[Task[Any]], Awaitable[list[Event] | Command]]
    fail: Callable[[Task[Any], Failed], Command] | None = None
    clean_up: Callable[[Task[Any]], Awaitable[None]] | None = None
    deadline_s: float = float("inf")
    has_turn: Callable[[Connection, TodoRow, Collection[str]], bool] | None = None
    of_its_server: bool = False
