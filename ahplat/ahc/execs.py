"""`ahc exec`: a command in a running service, once."""

import click

from ahplat.ahc import names
from ahplat.ahc.failures import UNKNOWN, USAGE, Failure
from ahplat.ahc.session import Session, changes, pass_session

TIMED_OUT = 124  # as timeout(1) has it
_LATE_S = 45.0  # after the command's own time


@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@click.option("--timeout", "timeout_s", type=click.IntRange(1, 300), default=25, show_default=True, help="In seconds.")
@changes
@click.argument("service")
@click.argument("command", nargs=-1, required=True, metavar="[--] COMMAND...")
@pass_session
def execute(session: Session, service: str, command: tuple[str, ...], timeout_s: int) -> None:
    """Run a command in a running instance of a service. Options stand before SERVICE.

    \b
      ahc exec web -- ls -la
      ahc exec --timeout 120 web -- python manage.py migrate

    ahc ends with the command's own exit code, 124 where its time was over. It runs once, however often the answer is
    asked for; where the answer is lost, a repeat tells the exit code, but not what it said.
    """
    argv = list(command[1:] if command[0] == "--" else command)
    if not argv:
        raise Failure(USAGE, "no command was given", "`ahc exec SERVICE -- ls -la`")
    found = names.find(session.client, "service", service)
    body = {"command": argv, "timeout_s": timeout_s}
    reply = session.order("POST", f"/v1/services/{found['id']}/exec", body, timeout_s=timeout_s + _LATE_S)
    done, screen = reply.json, session.screen
    if screen.as_json:
        screen.document(done)
    else:
        screen.raw(done["stdout"])
        screen.raw_error(done["stderr"])
        if done["truncated"]:
            screen.warn(
                "what it said was longer" if not reply.was_replayed else "what it said is lost, its end is known"
            )
    if done["timed_out"]:
        raise click.exceptions.Exit(TIMED_OUT)
    if "exit_code" not in done:
        raise Failure(
            UNKNOWN, f"how the command ended is not known: {done['outcome']}", "look at what it should have done"
        )
    raise click.exceptions.Exit(done["exit_code"])
