"""The writer: the one thread that decides, appends and projects. Group commit without a timer.

Theory of operation. Requests wait in a queue; those of one turn of the loop come into it together, so that the thread
does not begin with the first alone. The thread takes one, drains what else is there (bounded), opens one transaction in
the log and one in the views, and for each request in turn: looks whether its idempotency key was answered before, loads
the state through its own views connection (which sees what the requests before it did), decides, appends, projects, and
has the answer rendered from the views. Then COMMIT of the log, then COMMIT of the views: that order and never the other,
for views can be made from the log. Then one call into the loop resolves everybody.

What may go wrong, and what then:

    Rejected                  ends its own request; nothing was written for it
    any other exception       the whole batch is rolled back and its requests run one by one: only the bad one fails
    SQLITE_FULL               rolled back, the last position is unchanged; the reserve is given up, and from then on
                              only what frees room is decided, the rest is 503; with no reserve left, all is
    SQLITE_BUSY at BEGIN      somebody else holds the lock (a replicator): tried again for BUSY_S
    another error in COMMIT   the outcome is unknown: everybody is told so, the process ends, recovery decides
    an error in the views     the log holds the batch, so it counts; the views catch up before the next batch, or as
                              soon as they can where none comes

When the writer ends, whoever still waits is turned away: nobody waits for a thread that is gone.

The invariant: a future that was resolved with a result belongs to events that are on the disk.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import apsw
import msgspec

from ahplat import limits
from ahplat.answers import Answer, Done, Fact, Key, Rehearsal, Request, Result, answered
from ahplat.clock import Clock
from ahplat.commands.catalog import COMMANDS
from ahplat.commands.command import Command
from ahplat.crashpoints import CrashPoints
from ahplat.errors import AhError, Broken, PreconditionFailed, Rejected, Unavailable, Unknown
from ahplat.reserve import Reserve
from ahplat.sealing import Keyring
from ahplat.statistics import Statistics
from events.event import Meta
from events.log import EventLog, Expected, VersionConflict
from projections.views import DAMAGE, Views, catch_up

T = TypeVar("T")


class Writer:
    """See the module. Of each method the sections below say whose thread it belongs to."""

    def __init__(
        self,
        log: EventLog,
        views: Views,
        keyring: Keyring,
        clock: Clock,
        crash: CrashPoints,
        build: str,
        reserve: Reserve | None = None,
    ) -> None:
        self.log = log
        self.views = views
        self.statistics = Statistics()
        self.on_commit: list[Callable[[list[Fact]], None]] = []  # called on the loop, in order, before futures resolve
        self.on_caught_up: list[Callable[[], None]] = []  # called on the loop, once views that lagged are in step again
        self.on_broken: Callable[[Exception], None] = lambda error: None
        self._keyring = keyring
        self._clock = clock
        self._crash = crash
        self._reserve = reserve
        self._build = build
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._submitted: list[Request] = []  # in this turn of the loop, and not in the queue yet
        self.behind = False  # whether the views lack what was committed already: there was no room for it
        self._last_us = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    # the loop's side

    def submit(
        self,
        command: Command,
        *,
        actor: str,
        cause: int = 0,
        correlation: str = "",
        traceparent: str = "",
        agent: str = "",
        run: str = "",
        expected: Expected = "any",
        answer: Callable[[apsw.Connection], Answer] | None = None,
        key: Key | None = None,
    ) -> asyncio.Future[Done]:
        """Queues a command; the future resolves when its events are durable, or with why there are none.

        `answer` renders the answer from the views as they are right after the command; it runs on the writer's thread.
        Raises through the future: Rejected, Unavailable, Unknown.
        """
        future: asyncio.Future[Done] = self._loop.create_future()
        meta = Meta(actor, type(command).__name__, cause, correlation, traceparent, self._build, agent, run)
        self._queue_up(Request(command, meta, expected, answer, key, future))
        return future

    def rehearse(
        self, command: Command, look: Callable[[apsw.Connection], T], *, actor: str, expected: Expected, key: Key | None
    ) -> asyncio.Future[Rehearsal[T]]:
        """Has a command decided, appended and projected as `submit` does, and then all of it undone.

        `look` reads the views before and after, on the writer's thread. What came before with that key would not be
        done again: nothing is in its rehearsal. Raises through the future as `submit`.
        """
        future: asyncio.Future[Rehearsal[T]] = self._loop.create_future()
        meta = Meta(actor, type(command).__name__, build=self._build)
        self._queue_up(Request(command, meta, expected, None, key, future, look))
        return future

    def _queue_up(self, request: Request) -> None:
        if self._ended:
            request.future.set_exception(_stopping())
        elif self.waiting >= limits.QUEUE:
            request.future.set_exception(Unavailable("overloaded", f"{limits.QUEUE} commands are waiting"))
        else:
            if not self._submitted:
                self._loop.call_soon(self._hand_over)
            self._submitted.append(request)

    def _hand_over(self) -> None:
        """Gives the thread all that one turn of the loop brought, at once: it would else begin with the first alone."""
        for request in self._submitted:
            self._queue.put(request)
        self._submitted.clear()

    @property
    def waiting(self) -> int:
        """Commands in the queue, or on their way into it."""
        return self._queue.qsize() + len(self._submitted)

    async def close(self) -> None:
        """Lets what is queued be decided, then ends the thread. The files stay open for whoever opened them."""
        self._hand_over()
        self._ended = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _resolve(self, batch: list[Request], results: list[Result], facts: list[Fact]) -> None:
        try:
            if facts:
                for listener in self.on_commit:
                    listener(facts)
        finally:
            for request, result in zip(batch, results, strict=True):
                if request.future.done():  # the caller went away; the command stands
                    continue
                if isinstance(result, Exception):
                    request.future.set_exception(result)
                else:
                    request.future.set_result(result)

    def _turn_away(self) -> None:
        """Tells whoever still waits that the writer has stopped: none of it was decided."""
        self._hand_over()
        while not self._queue.empty():
            request = self._queue.get_nowait()
            if request is not None and not request.future.done():
                request.future.set_exception(_stopping())

    # the writer's side

    def _run(self) -> None:
        while (first := self._next()) is not None:
            batch = [first]
            closing = False
            while len(batch) < limits.BATCH and not closing:
                try:
                    request = self._queue.get_nowait()
                except queue.Empty:
                    break
                if request is None:
                    closing = True
                else:
                    batch.append(request)
            try:
                if orders := [request for request in batch if request.look is None]:
                    self._finish(orders)
                for request in batch:
                    if request.look is not None:
                        self._rehearse(request, request.look)
            except Exception as error:  # an invariant broke: say so, stop, let a restart recover
                self._stop(batch, error)
                return
            if closing:
                return

    def _next(self) -> Request | None:
        """The next request, None at the end. While the views lag, or the reserve is spent, it looks for room meanwhile."""
        while self.behind or (self._reserve and not self._reserve.may_grow()):
            try:
                return self._queue.get(timeout=limits.CATCH_UP_S)
            except queue.Empty:
                try:
                    if self.behind:
                        self._catch_up()
                except (apsw.FullError, apsw.BusyError):
                    self._rollback()
                except Exception as error:
                    self._stop([], error)
                    return None
        return self._queue.get()

    def _catch_up(self) -> None:
        catch_up(self.views, self.log.db, lambda done, of: None)
        self.behind = False
        self._loop.call_soon_threadsafe(self._tell_caught_up)

    def _tell_caught_up(self) -> None:
        for listener in self.on_caught_up:
            listener()

    def _stop(self, batch: list[Request], error: Exception) -> None:
        self._ended = True
        told = error if isinstance(error, AhError) else Unknown("outcome_unknown", f"the writer stopped: {error}")
        results: list[Result] = [told] * len(batch)
        self._loop.call_soon_threadsafe(self._resolve, batch, results, [])
        self._loop.call_soon_threadsafe(self._turn_away)
        self._loop.call_soon_threadsafe(self.on_broken, error)

    def _finish(self, batch: list[Request], may_retry: bool = True) -> None:
        """Commits a batch and resolves it; falls back to one by one when something in it is broken."""
        try:
            results, facts = self._commit(batch)
        except (Broken, Unknown, *DAMAGE):
            raise
        except Unavailable as error:
            if may_retry and error.code == "disk_full" and self._reserve and self._reserve.give_up():
                self._finish(batch, may_retry=False)
                return
            results, facts = [error] * len(batch), []
        except Exception as error:
            if len(batch) > 1:
                for request in batch:
                    self._finish([request])
                return
            results, facts = [error], []
        self._loop.call_soon_threadsafe(self._resolve, batch, results, facts)

    def _commit(self, batch: list[Request]) -> tuple[list[Result], list[Fact]]:
        """Decides, appends and projects each request, then commits the log, then the views."""
        self._begin()
        facts: list[Fact] = []
        with self._undone_by_error():
            results: list[Result] = [self._decide(request, facts) for request in batch]
        self._commit_log()
        if facts:
            self._crash.reached("between-commits", (at.type for at, _ in facts))
        self._commit_views()
        replayed = sum(isinstance(result, Done) and result.replayed for result in results)
        refused = sum(isinstance(result, Exception) for result in results)
        self.statistics.decided(len(results), refused, replayed, len(facts))
        return results, facts

    def _rehearse(self, request: Request, look: Callable[[apsw.Connection], Any]) -> None:
        """The same decision in a transaction of its own, which is rolled back whatever comes of it."""
        results: list[Result] = []
        facts: list[Fact] = []
        try:
            self._begin()
            with self._undone_by_error():
                position, before = self.log.position, look(self.views.db)
                _, version = self.log.version(COMMANDS[type(request.command)].stream_of(request.command))
                decided = self._decide(request, facts)
                rehearsal = Rehearsal(position, version, facts, before, look(self.views.db))
            results.append(decided if isinstance(decided, Exception) else rehearsal)
            self._rollback()
        except (Broken, Unknown, *DAMAGE):
            raise
        except Exception as error:
            results.append(error)
        self._loop.call_soon_threadsafe(self._resolve, [request], results, [])

    def _begin(self) -> None:
        deadline = self._clock.monotonic() + limits.BUSY_S
        while True:
            try:
                with self._undone_by_error():
                    if self.behind:
                        self._catch_up()
                    self.log.begin()
                    self.views.begin()
                return
            except apsw.BusyError as error:
                if self._clock.monotonic() > deadline:
                    raise Unavailable("log_busy", "another program holds the lock on the log") from error

    @contextmanager
    def _undone_by_error(self) -> Iterator[None]:
        """An error takes back what the batch did, and goes on as Unavailable where there is no room."""
        try:
            yield
        except BaseException as error:
            self._rollback()
            if isinstance(error, apsw.FullError):
                raise _full() from error
            raise

    def _decide(self, request: Request, facts: list[Fact]) -> Result:
        command, key = request.command, request.key
        if key and (before := self._answered(key)):
            return before
        decision = COMMANDS[type(command)]
        if self._reserve and not (decision.frees or self._reserve.may_grow()):
            return Unavailable(
                "disk_full", "the disk is full: what room is left is kept for what stops and deletes", 30
            )
        try:
            events = decision.decide(decision.load(self.views.db, command), command)
            recorded = self.log.append(
                decision.stream_of(command), events, request.expected, command.tenant_id, self._now_us(), request.meta
            )
        except Rejected as rejected:
            return rejected
        except VersionConflict as conflict:
            return PreconditionFailed(conflict.expected, conflict.actual)
        for fact in zip(recorded, events, strict=True):
            self.views.apply(*fact)
            facts.append(fact)
        answer = request.answer(self.views.db) if request.answer else Answer()
        first = recorded[0].position if recorded else self.log.position
        done = Done(first, self.log.position, answer)
        if key:
            self._remember(key, done)
        return done

    def _now_us(self) -> int:
        """Never goes back, whatever the machine's clock does."""
        self._last_us = max(self._last_us, self.log.last_us, self._clock.now_us())
        return self._last_us

    # what was answered before

    def _answered(self, key: Key) -> Result | None:
        return answered(self.log.db, self._keyring, key, self._clock.now_us())

    def _remember(self, key: Key, done: Done) -> None:
        now_us = self._now_us()
        answer = done.answer
        if answer.secret and key.keeps_secret:
            sealed = self._keyring.seal_answer(key.tenant_id, answer.secret, key.id)
            self.log.remember_secret(key.id, now_us, now_us + limits.SECRET_ANSWER_S * 1_000_000, sealed)
        if answer.secret:
            answer = msgspec.structs.replace(answer, secret=b"-")  # there was one; it is in a row of its own
        sealed = self._keyring.seal_answer(key.tenant_id, msgspec.json.encode(answer), key.id)
        self.log.remember(key.id, key.fingerprint, done.first_position, done.last_position, now_us, sealed)

    # commits

    def _commit_log(self) -> None:
        before = self.log.committed
        started = self._clock.monotonic()
        try:
            self.log.commit()
        except apsw.FullError as error:
            self._rollback()
            if self.log.last_position_in_file() != before:
                raise Unknown("outcome_unknown", "the disk is full and the log moved all the same") from error
            raise _full() from error
        except apsw.Error as error:
            raise Unknown("outcome_unknown", f"COMMIT of the log failed: {error}") from error
        self.statistics.commits.add(self._clock.monotonic() - started)

    def _commit_views(self) -> None:
        try:
            self.views.commit(self.log.position, self.log.link)
        except DAMAGE:
            raise
        except apsw.Error:
            self.views.rollback()
            self.behind = True

    def _rollback(self) -> None:
        self.views.rollback()
        self.log.rollback()


def _stopping() -> Unavailable:
    return Unavailable("stopping", "the writer has stopped; a restart recovers", 5)


def _full() -> Unavailable:
    return Unavailable("disk_full", "the disk is full: nothing was changed", 30)
