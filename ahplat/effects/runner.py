"""Carries every open intent to an outcome that the log records. Once for all effects, and the only way in.

Theory of operation. The to-do view is the queue. Whenever something was committed, a time has come or the engine is
back, the runner looks at it: for each subject that is not being worked on, the oldest work that is due begins. An
attempt is recorded before it touches anything. What then happens:

    the effect returns facts      they are appended, with the attempt as their fence
    CalledOff                     something newer closed the intent: clean up, say nothing
    EngineAway                    postponed until the engine is back; the deadline rests
    Unavailable                   postponed with back-off (full jitter)
    Rejected, Failed, Expired     the effect's `fail`; for work that cannot fail: as Unavailable
    the process dies              nothing: the next start finds the intent open, and the effect probes first

One attempt at a time for a subject, WORKERS in all. An attempt ends only when its engine calls have returned, so no
second one ever runs beside it in this process.
"""

import asyncio
import logging
import random
from typing import Any

from apsw import Connection

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.effects import BeginAttempt, Conclude, Park, Postpone
from ahplat.crashpoints import CrashPoints
from ahplat.effects.catalog import EFFECTS
from ahplat.effects.task import CalledOff, Effect, Expired, Failed, Platform, Task
from ahplat.errors import AhError, EngineAway, Rejected, Unavailable
from events.catalog import decode
from events.effects import EffectPostponed, EffectUnparked
from events.event import Event, Intent, Outcome, Recorded
from events.log import read_all
from projections import todo
from projections.todo import TodoRow

logger = logging.getLogger("ahplat.effects")


class Runner:
    """See the module. `begin` after start-up; everything runs on the loop's thread."""

    def __init__(self, platform: Platform, log: Connection, crash: CrashPoints) -> None:
        self.platform = platform
        self.attempts = 0
        self.outcomes: dict[str, int] = {}
        self.engine_away = False
        self._log = log
        self._crash = crash
        self._wake = asyncio.Event()
        self._tasks: dict[str, Task[Any]] = {}  # by subject
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts to look at the list, now and whenever something changes."""
        self.platform.writer.on_commit.append(self._committed)
        self._loop = asyncio.create_task(self._look(), name="effects")
        self._wake.set()

    async def close(self) -> None:
        """Stops looking, and leaves what is under way where it is: it is still open in the log."""
        tasks = [*self._running, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def busy(self) -> int:
        """Attempts under way."""
        return len(self._tasks)

    def engine_back(self) -> None:
        """The engine answers again: what waited for it is due."""
        self.engine_away = False
        self._wake.set()

    def _committed(self, facts: list[tuple[Recorded, Event]]) -> None:
        for _, event in facts:
            if isinstance(event, Outcome):
                for task in self._tasks.values():
                    if task.work.intent == event.intent:
                        task.called_off.set()
            if isinstance(event, Intent | Outcome | EffectPostponed | EffectUnparked):
                self._wake.set()

    async def _look(self) -> None:
        while True:
            self._wake.clear()
            wait_s = self._dispatch()
            try:
                await asyncio.wait_for(self._wake.wait(), wait_s)
            except TimeoutError:
                continue

    def _dispatch(self) -> float:
        """Begins what is due and free; returns in how many seconds to look again."""
        now_us = self.platform.clock.now_us()
        next_us = now_us + 60_000_000
        seen = set(self._tasks)
        for work in todo.open_of_all(self.platform.views):
            if work.parked or work.subject in seen:
                continue
            seen.add(work.subject)
            if self.engine_away:
                continue
            if work.due_us > now_us and work.away_since_us is None:
                next_us = min(next_us, work.due_us)
            elif len(self._tasks) < limits.WORKERS:
                self._start(work)
        return max(0.0, (next_us - now_us) / 1e6)

    def _start(self, work: TodoRow) -> None:
        at = read_all(self._log, work.intent - 1, 1)[0]
        intent = decode(at.type, at.data)
        assert isinstance(intent, Intent), at
        effect = EFFECTS[type(intent)]
        deadline_us = _deadline_us(work, effect, self.platform.clock.now_us())
        task = Task(self.platform, work, intent, work.attempt + 1, deadline_us, at.decoded_meta().correlation)
        self._tasks[work.subject] = task
        running = asyncio.create_task(self._carry(task, effect), name=f"{at.type} {work.subject}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _carry(self, task: Task[Any], effect: Effect) -> None:
        """One attempt, from its beginning to whatever ends it."""
        try:
            await self._attempt(task, effect)
        except Rejected as refused:  # the fence: its outcome came from elsewhere
            logger.info("%s: %s", task.work.subject, refused.detail)
        except Unavailable as error:  # the writer cannot take it now: the work stays open, and is looked at again
            logger.warning("%s: %s", task.work.subject, error)
            await asyncio.sleep(error.retry_after_s)
        finally:
            del self._tasks[task.work.subject]
            self._wake.set()

    async def _attempt(self, task: Task[Any], effect: Effect) -> None:
        work = task.work
        self._crash.reached("after-intent")
        if tired := self._tired(work, effect):
            return await self._give_up(task, effect, tired)
        await self._submit(task, BeginAttempt(tenant_id=work.tenant_id, intent=work.intent))
        self.attempts += 1
        self._crash.reached("after-attempt")
        try:
            facts = await effect.run(task)
        except CalledOff:
            if effect.clean_up:
                await effect.clean_up(task)
            return self._count("called_off")
        except EngineAway as error:
            self.engine_away = True
            return await self._postpone(task, error, 0, away=True)
        except (Rejected, Failed, Expired) as error:
            return await self._fail(task, effect, error)
        except Unavailable as error:
            return await self._postpone(task, error, _backoff_s(task.attempt))
        except Exception as error:
            logger.exception("%s: attempt %d of %s broke", work.subject, task.attempt, work.type)
            return await self._fail(task, effect, Failed("internal", f"{type(error).__name__}: {error}"))
        self._crash.reached("after-effect")
        await self._conclude(task, facts)
        self._crash.reached("after-outcome")
        return self._count("done")

    def _tired(self, work: TodoRow, effect: Effect) -> str:
        """Why the work is not to be tried again; "" when it is."""
        now_us = self.platform.clock.now_us()
        is_old = now_us - (work.first_attempt_us or now_us) > limits.PARK_AFTER_S * 1_000_000
        if (work.attempt >= limits.ATTEMPTS and (effect.fail or is_old)) or work.attempt >= limits.ATTEMPTS_AT_MOST:
            return "too_many_attempts"
        return ""

    async def _give_up(self, task: Task[Any], effect: Effect, code: str) -> None:
        if effect.fail:
            task.attempt -= 1  # no further one began
            return await self._fail(task, effect, Failed(code, f"it was tried {task.attempt} times"))
        await self._submit(task, Park(tenant_id=task.work.tenant_id, intent=task.work.intent, code=code))
        return self._count("parked")

    async def _fail(self, task: Task[Any], effect: Effect, error: AhError) -> None:
        if effect.fail is None:
            return await self._postpone(task, error, _backoff_s(task.attempt))
        failed = error if isinstance(error, Failed) else Failed(error.code, error.detail)
        try:
            command = await effect.fail(task, failed)
        except Unavailable as away:
            return await self._postpone(task, away, 0, away=isinstance(away, EngineAway))
        await self._submit(task, command)
        return self._count("failed")

    async def _conclude(self, task: Task[Any], facts: list[Event]) -> None:
        work = task.work
        await self._submit(
            task,
            Conclude(
                tenant_id=work.tenant_id, intent=work.intent, attempt=task.attempt, stream=work.subject, outcome=facts
            ),
        )

    async def _postpone(self, task: Task[Any], error: AhError, wait_s: float, away: bool = False) -> None:
        await self._submit(
            task,
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

    async def _submit(self, task: Task[Any], command: Command) -> None:
        await self.platform.writer.submit(command, actor="system", cause=task.work.intent, correlation=task.correlation)

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


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
