"""What happened to commands that were run in an instance: who ran what, and how it ended. Each has a stream of its own.

`subject` is the stream of the service: a command changes nothing of the service, neither its version nor what may be done
with it meanwhile, but belongs to its story.
"""

from events.event import Event, Intent, Outcome


class ExecStarted(Intent, frozen=True, tag="exec.started"):
    """A command was about to be run; it never is again. Without an outcome by `due_us` it has an unknown one."""

    subject: str
    deployment_id: str
    instance: str
    timeout_s: int
    due_us: int
    command: bytes  # sealed


class ExecEnded(Outcome, frozen=True, tag="exec.ended"):
    """Nothing of the command runs any more. `outcome`: exited, timed_out, cut_off (its caller went, or may not any more),
    lost (its instance or the engine ended with it), unknown (the server ended with it)."""

    subject: str
    outcome: str
    exit_code: int | None = None
    truncated: bool = False
    duration_ms: int = 0


EVENTS: tuple[type[Event], ...] = (ExecStarted, ExecEnded)
