"""Carries every open intent to an outcome that the log records. Once for all effects, and the only way in.

Theory of operation. The to-do view is the queue. Whenever something was committed, a time has come or the engine is
back, the runner looks at it: for each subject that is not being worked on, the oldest work that is due begins. An
attempt is recorded before it touches anything. What then happens:

    the effect returns facts      they are appended, with the attempt as their fence
    CalledOff                     something newer closed the intent: clean up, say nothing
    EngineAway, and it is         postponed until the engine is back; the deadline rests
    Unavailable                   postponed with back-off (full jitter)
    Rejected, Failed, Expired     cleaned up, and the effect's `fail`; for work that cannot fail: as Unavailable
    the writer cannot take it     nothing: the intent is open, and is looked at again after a while
    the process dies              nothing: the next start finds the intent open, and the effect probes first

One attempt at a time for a subject, WORKERS in all, and tenants in turn: who has the least under way is next, and no
tenant has more than there are places left for others, so that whoever comes finds one. An attempt ends only when its
engine calls have returned, so no second one ever runs beside it in this process. Whether the engine is away is what its
own `status` says, asked when a call failed: while it is, nothing begins, and it is asked again until it answers.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from heapq import heapify, heappop, heappush
from typing import Any

from apsw import Connection

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.effects import BeginAttempt, Park, Postpone
from ahplat.crashpoints import CrashPoints
from ahplat.effects.catalog import EFFECTS
from ahplat.effects.task import CalledOff, Effect, Failed, Platform, Task
from ahplat.errors import AhError, EngineAway, Rejected, Unavailable
from ahplat.log_lines import about, nobodys
from events.catalog import decode
from events.effects import EffectPostponed, EffectUnparked
from events.event import Event, Intent, Outcome, Recorded, wire_name
from events.log import head, read_all
from projections import todo
from projections.todo import TodoRow
from projections.views import DAMAGE

logger = logging.getLogger("ahplat.effects")

OUTCOMES = ("done", "failed", "called_off", "postponed", "parked")  # how attempts end

_BY_NAME = {wire_name(intent): effect for intent, effect in EFFECTS.items()}


class Runner:
    """See the module. `begin` after start-up; everything runs on the loop's thread."""

    def __init__(self, platform: Platform, log: Connection, crash: CrashPoints) -> None:
        self.platform = platform
        self.attempts = 0
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.on_free: Callable[[str], None] = lambda subject: None  # no attempt at its work is under way any longer
        self.on_broken: Callable[[Exception], None] = lambda error: None
        self._log = log
        self._crash = crash
        self._wake = asyncio.Event()
        self._inherited = head(log)  # what stands up to here was begun by an earlier server
        self._tasks: dict[str, Task[Any]] = {}  # by subject
        self._running: set[asyncio.Task[None]] = set()
        self._why: dict[int, str] = {}  # what was last in the way of an open intent, as far as this process saw it
        self._waiting: dict[int, float] = {}  # intents that are not due yet: since when, on the clock that is never set
        self._looking: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None  # while the engine is away

    def begin(self) -> None:
        """Starts to look at the list, now and whenever something changes."""
        self.platform.writer.on_commit.append(self._committed)
        self.platform.writer.on_caught_up.append(self._wake.set)
        self._looking = asyncio.create_task(self._look(), name="effects")

    async def close(self) -> None:
        """Stops looking, and leaves what is under way where it is: it is still open in the log."""
        tasks = [task for task in (*self._running, self._looking, self._probing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def busy(self) -> int:
        """Attempts under way."""
        return len(self._tasks)

    @property
    def under_way(self) -> list[TodoRow]:
        """The work that is being attempted."""
        return [task.work for task in self._tasks.values()]

    def is_at(self, subject: str) -> bool:
        """Whether an attempt at work on the subject is under way; it may be cleaning up after it was called off."""
        return subject in self._tasks

    # the engine

    @property
    def engine_away(self) -> bool:
        """Whether the engine is known to be away: then nothing begins."""
        return self._probing is not None

    def interrupted(self) -> None:
        """The engine was away, however briefly: what ended meanwhile may have ended with it."""
        for task in self._tasks.values():
            task.interrupted = True

    async def is_engine_away(self) -> bool:
        """Asks the engine, after a call of it failed. While it is away, nothing begins."""
        if not self.engine_away and not (await self.platform.engine.status()).available:
            with nobodys():
                self._probing = self._probing or asyncio.create_task(self._probe(), name="engine away")
        return self.engine_away

    async def engine_back(self) -> None:
        """Returns once the engine answers."""
        if await self.is_engine_away() and self._probing:
            await asyncio.wait({self._probing})

    async def _probe(self) -> None:
        """Asks until the engine answers; then what waited for it is due."""
        logger.warning("the engine is away: what needs it waits")
        is_back = False
        while not is_back:
            await asyncio.sleep(limits.ENGINE_PROBE_S)
            is_back = (await self.platform.engine.status()).available
        logger.warning("the engine is back")
        self._probing = None
        self._wake.set()

    # the list

    def _committed(self, facts: list[tuple[Recorded, Event]]) -> None:
        for _, event in facts:
            if isinstance(event, Outcome):
                self._why.pop(event.intent, None)
                for task in self._tasks.values():
                    if task.work.intent == event.intent:
                        task.called_off.set()
            if isinstance(event, Intent | Outcome | EffectPostponed | EffectUnparked):
                self._wake.set()

    async def _look(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait_s = self._dispatch()
            except DAMAGE as error:
                return self.on_broken(error)
            except Exception:
                logger.exception("the to-do list could not be worked on")
                wait_s = limits.BACKOFF_AT_MOST_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # not wait_for, which may swallow a cancellation (Python < 3.12)
                    await self._wake.wait()

    def _dispatch(self) -> float:
        """Begins what is due and free; returns in how many seconds to look again."""
        wait_us, waiting = 60_000_000, self._waiting
        self._waiting = {}
        seen = set(self._tasks)
        due: dict[str, deque[TodoRow]] = {}  # by tenant
        for work in todo.open_of_all(self.platform.views):
            if work.parked or work.subject in seen:
                continue
            seen.add(work.subject)
            if self.engine_away or not self._has_turn(work):
                continue
            left_us = self._left_us(work, waiting)
            if left_us > 0 and work.away_since_us is None:
                wait_us = min(wait_us, left_us)
            else:
                due.setdefault(work.tenant_id, deque()).append(work)
        self._start_in_turn(due)
        return wait_us / 1e6

    def _start_in_turn(self, due: dict[str, deque[TodoRow]]) -> None:
        """Tenants in turn, among equals whose work is older; nobody takes more places than are left after that."""
        taken = Counter(task.work.tenant_id for task in self._tasks.values())
        turns = [(taken[tenant_id], works[0].intent, tenant_id) for tenant_id, works in due.items()]
        heapify(turns)
        while turns:
            places, _, tenant_id = heappop(turns)
            if places >= limits.WORKERS - len(self._tasks):
                return
            work = due[tenant_id].popleft()
            if self._has_turn(work):  # what began just now may have taken it
                self._start(work)
                places += 1
            if due[tenant_id]:
                heappush(turns, (places, due[tenant_id][0].intent, tenant_id))

    def _left_us(self, work: TodoRow, waiting: dict[int, float]) -> int:
        """Until the work is due; never longer than was meant when it was put off, though the clock be set back."""
        if work.intent <= self._inherited and _BY_NAME[work.type].of_its_server:
            return 0
        now = self.platform.clock.monotonic()
        since = self._waiting[work.intent] = waiting.get(work.intent, now)
        meant_us = work.due_us - work.opened_us - int((now - since) * 1e6)
        return min(work.due_us - self.platform.clock.now_us(), meant_us)

    def _has_turn(self, work: TodoRow) -> bool:
        has_turn = _BY_NAME[work.type].has_turn
        return has_turn is None or has_turn(self.platform.views, work, self._tasks.keys())

    def _start(self, work: TodoRow) -> None:
        at = read_all(self._log, work.intent - 1, 1)[0]
        intent = decode(at.type, at.data)
        assert isinstance(intent, Intent), at
        effect = EFFECTS[type(intent)]
        deadline_us = _deadline_us(work, effect, self.platform.clock.now_us())
        task = Task(self.platform, work, intent, work.attempt + 1, deadline_us, at.decoded_meta())
        self._tasks[work.subject] = task
        running = asyncio.create_task(self._carry(task, effect), name=f"{at.type} {work.subject}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _carry(self, task: Task[Any], effect: Effect) -> None:
        """One attempt, from its beginning to whatever ends it."""
        about.set(task)
        try:
            await self._attempt(task, effect)
        except Rejected as refused:  # the fence: its outcome came from elsewhere
            logger.info("%s: %s", task.work.subject, refused.detail)
        except Unavailable as error:  # the writer cannot take it now: the work stays open, and is looked at again
            logger.warning("%s: %s", task.work.subject, error)
            await task.rest(_backoff_s(task.attempt))
        except Exception:
            logger.exception("%s: what became of %s was not recorded", task.work.subject, task.work.type)
            await task.rest(limits.BACKOFF_AT_MOST_S)
        finally:
            del self._tasks[task.work.subject]
            self._wake.set()
            self.on_free(task.work.subject)

    async def _attempt(self, task: Task[Any], effect: Effect) -> None:
        work = task.work
        self._crash.reached("after-intent", (work.type,))
        if self._is_tired(work, effect):
            return await self._give_up(task, effect)
        await task.submit(BeginAttempt(tenant_id=work.tenant_id, intent=work.intent))
        self.attempts += 1
        self._crash.reached("after-attempt", (work.type,))
        try:
            facts = await effect.run(task)
        except CalledOff:
            return await self._called_off(task, effect)
        except Unavailable as error:
            return await self._again(task, error)
        except AhError as error:
            return await self._fail(task, effect, error)
        except Exception as error:
            logger.exception("%s: attempt %d of %s broke", work.subject, task.attempt, work.type)
            return await self._fail(task, effect, Failed("internal", f"{type(error).__name__}: {error}"))
        self._crash.reached("after-effect", (work.type,))
        await self._conclude(task, facts)
        self._crash.reached("after-outcome", (work.type,))
        return self._count("done")

    def _is_tired(self, work: TodoRow, effect: Effect) -> bool:
        """Whether it was tried often enough, and long enough where it cannot fail."""
        now_us = self.platform.clock.now_us()
        is_old = now_us - (work.first_attempt_us or now_us) > limits.PARK_AFTER_S * 1_000_000
        return work.tries >= (limits.ATTEMPTS if effect.fail or is_old else limits.ATTEMPTS_AT_MOST)

    async def _give_up(self, task: Task[Any], effect: Effect) -> None:
        work = task.work
        if effect.fail:
            task.attempt = work.attempt  # no further one begins
            why = self._why.get(work.intent, "")
            last = f", the last time it was {work.code}" + (f": {why}" if why else "") if work.code else ""
            return await self._fail(
                task, effect, Failed("too_many_attempts", f"it was tried {work.attempt} times{last}")
            )
        await task.submit(Park(tenant_id=work.tenant_id, intent=work.intent, code="too_many_attempts"))
        return self._count("parked")

    async def _called_off(self, task: Task[Any], effect: Effect) -> None:
        try:
            await self._clean_up(task, effect)
        except Unavailable as error:  # what serves next, or the reconciler, removes what is left
            logger.warning("%s: called off, and not all is cleaned up: %s", task.work.subject, error)
        self._count("called_off")

    async def _again(self, task: Task[Any], error: Unavailable) -> None:
        self._why[task.work.intent] = error.detail
        if isinstance(error, EngineAway) and await self.is_engine_away():
            return await self._postpone(task, error, 0, away=True)
        return await self._postpone(task, error, _backoff_s(task.attempt))

    async def _fail(self, task: Task[Any], effect: Effect, error: AhError) -> None:
        if effect.fail is None:
            return await self._postpone(task, error, _backoff_s(task.attempt))
        try:
            await self._clean_up(task, effect)
        except Unavailable as unavailable:
            if task.work.tries < limits.ATTEMPTS or await self.is_engine_away():
                return await self._again(task, unavailable)
            logger.warning("%s: failed, and not all is cleaned up: %s", task.work.subject, unavailable)
        failed = error if isinstance(error, Failed) else Failed(error.code, error.detail)
        await task.submit(effect.fail(task, failed))
        return self._count("failed")

    async def _clean_up(self, task: Task[Any], effect: Effect) -> None:
        try:
            if effect.clean_up:
                await effect.clean_up(task)
        except Unavailable:
            raise
        except Exception:
            logger.exception("%s: attempt %d could not be cleaned up", task.work.subject, task.attempt)

    async def _conclude(self, task: Task[Any], facts: list[Event] | Command) -> None:
        await task.submit(facts if isinstance(facts, Command) else task.conclusion(facts))

    async def _postpone(self, task: Task[Any], error: AhError, wait_s: float, away: bool = False) -> None:
        await task.submit(
            Postpone(
                tenant_id=task.work.tenant_id,
                intent=task.work.intent,
                attempt=task.attempt,
                code=error.code,
                due_us=self.platform.clock.now_us() + int(wait_s * 1e6),
                away=away,
                detail=task.seal("detail", error.detail),
            ),
        )
        self._count("postponed")

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1


def _deadline_us(work: TodoRow, effect: Effect, now_us: int) -> int:
    """Counted from the first attempt; the time that the engine was away does not count."""
    if effect.deadline_s == float("inf"):
        return 2**63 - 1
    first_us = work.first_attempt_us or now_us
    away_us = work.away_us + (now_us - work.away_since_us if work.away_since_us else 0)
    return first_us + away_us + int(effect.deadline_s * 1e6)


def _backoff_s(attempt: int) -> float:
    """Full jitter: anywhere between nothing and the doubled wait."""
    return random.uniform(0, min(limits.BACKOFF_AT_MOST_S, limits.BACKOFF_S * 2**attempt))  # noqa: S311 — no secret
