"""`ahc`: the table of its commands, and the one place where whatever ends a command becomes an exit code."""

import os
import sys
import traceback

import click

from ahplat.ahc.account import login, register, usage, whoami
from ahplat.ahc.builds import builds
from ahplat.ahc.completion import completion
from ahplat.ahc.databases import db, link
from ahplat.ahc.deploy import deploy
from ahplat.ahc.env import env
from ahplat.ahc.events import events
from ahplat.ahc.execs import execute
from ahplat.ahc.failures import EXIT_CODES, FAILED, INTERRUPTED, OK, USAGE, Failure
from ahplat.ahc.logs import logs
from ahplat.ahc.services import delete, open_service, restart, rollback, services, start_service, stop
from ahplat.ahc.session import Session, World
from ahplat.ahc.status import status
from ahplat.ahc.undo import undo
from ahplat.version import VERSION

COMMANDS: tuple[click.Command, ...] = (
    *(login, register, whoami, usage, status),
    *(services, deploy, rollback, start_service, stop, restart, delete, open_service),
    *(logs, env, db, link, execute, builds, events, undo, completion),
)

_MISUNDERSTOOD = (LookupError, TypeError, ValueError, AttributeError)  # what is no such JSON ends in

HELP = """Operate an ahplat server: deploy images, repositories and folders, wire databases to them, and watch.

\b
Begin:            ahc login https://api.example.org      (a key you have)
                  ahc register acme me@example.org       (a tenant of your own)
An image:         ahc deploy ah/hello web
A repository:     ahc deploy https://github.com/acme/web
This folder:      ahc deploy . --port 3000
A database:       ahc db create postgres data && ahc link data web
Look:             ahc status    ahc logs web -f    ahc events -f
Look back:        ahc status --as-of 120    ahc env web --as-of 2026-01-31T12:00:00Z
Go back:          ahc rollback web    ahc undo POSITION

Services and databases go by name or id. With --json every command prints what the server answered, on stdout and
nothing else there, its problem included. --dry-run shows what a command would do. What changes something is asked for
with an Idempotency-Key, so that a lost answer is asked for again and nothing is done twice.

AH_URL and AH_KEY win over ~/.ah/config.json. NO_COLOR is respected. AH_AGENT_NAME and AH_AGENT_RUN say who does what is
done, in its events.

\b
Exit codes:
"""
HELP += "\n".join(f"  {code:<4} {text}" for code, text in EXIT_CODES.items())


@click.group(
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
)
@click.version_option(package_name=None, version=VERSION, prog_name="ahc")
def main() -> None:
    """See HELP."""


for one in COMMANDS:
    main.add_command(one)


def start() -> None:
    """Runs `ahc` with the process's arguments, and ends the process."""
    sys.exit(run(sys.argv[1:], World()))


def run(arguments: list[str], world: World) -> int:
    """The exit code. Nothing that goes wrong shows a traceback, unless AH_TRACE is set."""
    session = Session(world)
    screen = session.screen
    try:
        result = main.main(arguments, prog_name="ahc", standalone_mode=False, obj=session)
        return result if isinstance(result, int) else OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(world.err)
        return error.exit_code
    except click.ClickException as error:
        screen.as_json = "--json" in arguments  # it may have been wrong before that was read
        if not screen.as_json:
            error.show(world.err)
            return error.exit_code
        screen.failure(Failure(error.exit_code, error.format_message()))
        return error.exit_code
    except Failure as failure:
        screen.failure(failure)
        return failure.code
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(session)
    except BrokenPipeError:  # whoever read has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if world.environ.get("AH_TRACE"):
            traceback.print_exc(file=world.err)
        broken = _broken(error, session.heard)
        screen.failure(broken)
        return broken.code
    finally:
        session.close()


def _broken(error: Exception, answered: str) -> Failure:
    """What broke: how an answer of the server's was understood, where there was one, or something else."""
    told = f"{type(error).__name__}: {error}"[:200]
    if answered and isinstance(error, _MISUNDERSTOOD):
        hint = "check AH_URL, and that server and ahc are of one release; AH_TRACE=1 shows where"
        return Failure(USAGE, f"{answered} speaks another dialect than this ahc {VERSION} ({told})", hint)
    hint = "AH_TRACE=1 shows where; whether it was done, `ahc status` shows"
    return Failure(FAILED, f"something broke in ahc: {told}", hint)


def _interrupted(session: Session) -> int:
    hint = session.screen.hint
    what = "interrupted"
    if session.screen.is_ordering:
        again = f"run it again with --idempotency-key {session.invocation}: it is not done twice"
        what = f"interrupted before the answer came: it may or may not have been done; {again}"
    elif hint:
        what = f"not waiting any more; the work goes on. Look again: {hint}"
    session.screen.warn(what)
    if session.screen.as_json and (session.screen.is_ordering or hint):
        session.screen.document(Failure(INTERRUPTED, what).problem)
    return INTERRUPTED
