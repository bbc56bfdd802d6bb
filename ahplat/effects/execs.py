"""What is done about commands whose server ended before they did. One that runs is its request's own: see `api/execs.py`."""

from ahplat.effects.task import Effect, Task
from events.event import Event, Intent
from events.execs import ExecEnded, ExecStarted


async def end(task: Task[ExecStarted]) -> list[Event]:
    """Begins when it is overdue, or its server is gone: ends what is left of it, for nobody waits for it any more."""
    await task.step(task.engine.end_execution, task.intent.instance, task.subject)
    return [ExecEnded(task.work.intent, task.intent.subject, "unknown")]


EFFECTS: dict[type[Intent], Effect] = {ExecStarted: Effect(end, of_its_server=True)}
