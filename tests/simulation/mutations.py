"""Bugs of the kind that each rule forbids, made by hand: name → how it is made, and the rules that catch it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct

from ahplat import limits
from ahplat.commands import deployments, services
from ahplat.commands.catalog import COMMANDS
from ahplat.commands.command import Decision
from ahplat.commands.effects import Conclude
from ahplat.effects import reconcile, runner
from ahplat.effects.catalog import EFFECTS
from ahplat.effects.garbage import Collector
from ahplat.effects.runner import Runner
from ahplat.effects.services import end
from ahplat.effects.task import Effect, Task
from ahplat.engines.engine import Belonging
from ahplat.writer import Writer
from events.event import Outcome
from events.services import ServiceEnvSet, ServiceStopped, ServiceStopRequested
from projections import services as known_services
from projections import usage
from projections.views import Views
from tests.engines.simulated import SimulatedEngine

FAR_S = 1e9


class Mutation(Struct, frozen=True):
    """`make` brings the bug in; one of the rules in `caught_by` is then broken."""

    make: Callable[[pytest.MonkeyPatch], None]
    caught_by: frozenset[str]


MUTATIONS: dict[str, Mutation] = {}


def caught_by(*rules: str) -> Callable[[Callable[[pytest.MonkeyPatch], None]], Callable[[pytest.MonkeyPatch], None]]:
    """Enters a mutation into the table, under the name of its function."""

    def entered(make: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
        MUTATIONS[make.__name__.replace("_", " ")] = Mutation(make, frozenset(rules))
        return make

    return entered


@caught_by("what was acknowledged is there")
def acknowledged_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    def commit(self: Writer, batch: list[Any]) -> Any:
        self._begin()
        facts: list[Any] = []
        with self._undone_by_error():
            results = [self._decide(request, facts) for request in batch]
        for request, result in zip(batch, results, strict=True):
            if not isinstance(result, Exception) and not request.future.done():
                request.future.set_result(result)
        self._commit_log()
        self._commit_views()
        return results, facts

    patch.setattr(Writer, "_commit", commit)


@caught_by("views follow the log")
def views_committed_before_the_log(patch: pytest.MonkeyPatch) -> None:
    def commit(self: Writer, batch: list[Any]) -> Any:
        self._begin()
        facts: list[Any] = []
        with self._undone_by_error():
            results = [self._decide(request, facts) for request in batch]
        self.views.commit(self.log.position, self.log.link)
        self._commit_log()
        return results, facts

    patch.setattr(Writer, "_commit", commit)


@caught_by("each accepted command once")
def keys_of_commands_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "_answered", lambda self, key: None)
    patch.setattr(Writer, "_remember", lambda self, key, done: None)


@caught_by("views are what the log gives")
def views_that_miss_an_event(patch: pytest.MonkeyPatch) -> None:
    apply = Views.apply

    def missing(self: Views, at: Any, event: Any) -> None:
        if not isinstance(event, ServiceEnvSet):
            apply(self, at, event)

    patch.setattr(Views, "apply", missing)


@caught_by("one container a replica")
def no_probe_before_a_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        SimulatedEngine, "_place", lambda self, spec, image: self.host.create(spec, self.host.kept[image.digest])
    )


@caught_by("one outcome")
def no_fence(patch: pytest.MonkeyPatch) -> None:
    unfenced = Decision(
        lambda views, command: None, lambda state, command: command.outcome, COMMANDS[Conclude].stream, frees=True
    )
    patch.setitem(COMMANDS, Conclude, unfenced)


@caught_by("nothing for work that is over", "deadlines hold")
def steps_that_do_not_look_whether_they_are_wanted(patch: pytest.MonkeyPatch) -> None:
    async def step(self: Task[Any], call: Any, *args: Any, **named: Any) -> Any:
        return await call(*args, **named)

    patch.setattr(Task, "step", step)


@caught_by("the newer supersedes")
def no_superseding(patch: pytest.MonkeyPatch) -> None:
    for module in (deployments, services):
        patch.setattr(module, "superseded", lambda state, everything: [])


@caught_by("what is asked for begins at once")
def a_wake_up_is_lost(patch: pytest.MonkeyPatch) -> None:
    def committed(self: Runner, facts: list[Any]) -> None:
        closed = {event.intent for _, event in facts if isinstance(event, Outcome)}
        for task in self._tasks.values():
            if task.work.intent in closed:
                task.called_off.set()

    patch.setattr(Runner, "_committed", committed)


@caught_by("everything reaches an outcome")
def a_wait_that_does_not_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner, "_backoff_s", lambda attempt: FAR_S)


@caught_by("deadlines hold")
def deadlines_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner, "_deadline_us", lambda work, effect, now_us: 2**62)


@caught_by("the breaker opens")
def a_breaker_that_never_opens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "CRASHES", 10**6)


@caught_by("what runs is what should run")
def differences_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "diff", lambda *_: [])


@caught_by("nothing of another tenant is touched")
def a_stop_of_everything(patch: pytest.MonkeyPatch) -> None:
    async def stop(task: Task[Any]) -> list[Any]:
        return [ServiceStopped(task.work.intent, await end(task, await task.step(task.engine.list)))]

    patch.setitem(EFFECTS, ServiceStopRequested, Effect(stop))


@caught_by("a list has one tenant's")
def a_list_of_all_tenants(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(known_services, "list_of", lambda views, *_: known_services.list_all(views))


@caught_by("strangers are left alone")
def strangers_removed_as_garbage(patch: pytest.MonkeyPatch) -> None:
    def meet(self: Collector, strangers: list[Belonging]) -> None:
        engine: Any = self.platform.engine
        self.under_way = [  # type: ignore[attr-defined]
            asyncio.ensure_future(engine.remove_volume(engine.host.volumes[one.name]))
            for one in strangers
            if one.kind == "volume"
        ]

    patch.setattr(Collector, "_meet", meet)


@caught_by("garbage is old")
def garbage_without_an_age(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "GC_AGE_S", 0)


@caught_by("sums of metering hold")
def use_counted_twice(patch: pytest.MonkeyPatch) -> None:
    add = usage._add

    def again(db: Any, tenant_id: str, hour: int, reading: Any) -> None:
        db.execute("DELETE FROM counter WHERE instance = ?", (reading.instance,))
        add(db, tenant_id, hour, reading)

    patch.setattr(usage, "_add", again)
