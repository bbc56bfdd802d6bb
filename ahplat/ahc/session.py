"""One invocation: whom to ask and with what key, where to say what comes of it, and what every command takes.

`World` is what a test puts in place of the machine.
"""

import io
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import IO, Any

import click
import httpx
from msgspec import Struct, field

from ahplat.ahc import settings
from ahplat.ahc.client import Client, Reply
from ahplat.ahc.failures import USAGE, Failure
from ahplat.ahc.plan import show_plan
from ahplat.ahc.screen import Screen
from ahplat.clock import Clock, SystemClock

Command = Callable[..., Any]
_AGENT = {"AH_AGENT_NAME": "X-Agent-Name", "AH_AGENT_RUN": "X-Agent-Run"}  # what stands in the events of what is done


class World(Struct, frozen=True):
    """What is outside."""

    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    out: IO[str] = field(default_factory=lambda: sys.stdout or io.StringIO())  # None where it is closed
    err: IO[str] = field(default_factory=lambda: sys.stderr or io.StringIO())
    clock: Clock = field(default_factory=SystemClock)
    sleep: Callable[[float], None] = time.sleep
    transport: httpx.BaseTransport | None = None


class Session:
    """See the module."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.screen = Screen(world.out, world.err, world.environ)
        self.dry_run = False
        self.as_of = ""  # what is shown is as it was then
        self.invocation = f"ahc-{secrets.token_hex(12)}"
        self.is_repeat = False  # somebody said with which key: what it made may be there already
        self._clients: list[Client] = []

    @property
    def environ(self) -> Mapping[str, str]:
        return self.world.environ

    @cached_property
    def client(self) -> Client:
        """For the server and the key that are set. Raises Failure."""
        found = settings.effective(self.environ)
        path = settings.path_of(self.environ)
        url = settings.wanted_url(found)
        if settings.is_readable_on_its_way(url):
            self.screen.warn(f"{url} is not https: whoever is on the way can read your key")
        if found.key and not self.environ.get("AH_KEY") and settings.is_open_to_others(path):
            self.screen.warn(f"{path} holds a key that others on this machine can read: chmod 600 {path}")
        made = self.client_of(url, settings.wanted_key(found))
        made.as_of = self.as_of
        return made

    def client_of(self, url: str, key: str) -> Client:
        """For any server and key."""
        made = Client(
            url,
            key,
            invocation=self.invocation,
            agent={field: self.environ[name] for name, field in _AGENT.items() if self.environ.get(name)},
            sleep=self.world.sleep,
            tell=self.screen.progress,
            transport=self.world.transport,
        )
        self._clients.append(made)
        return made

    def order(
        self, method: str, path: str, body: Any = None, *, then: str = "", goes_on: bool = False, **options: Any
    ) -> Reply:
        """Has something done; with --dry-run shows what would be, and what would follow, and ends. Raises Failure.

        Where the dry run `goes_on` there is more to plan, and the answer says nothing of what was done.
        """
        if self.as_of:
            raise Failure(USAGE, "what was cannot be changed", "leave out --as-of, or what is to be done")
        if self.dry_run:
            query = {**(options.pop("query", None) or {}), "dry_run": "true"}
            reply = self.client.order(method, path, body, query=query, **options)
            show_plan(self.screen, method, path, reply.json, then)
            if goes_on:
                return reply
            raise click.exceptions.Exit(0)
        self.screen.is_ordering = True
        reply = self.client.order(method, path, body, **options)
        self.screen.is_ordering = False
        return reply

    def begin_anew(self) -> None:
        """From now on another key, that follows from the one before: what that one made was taken away again."""
        self.invocation += "+"
        self.client.invocation = self.invocation

    def going_on(self, command: str) -> None:
        """From now on something is under way that ends by itself; `command` looks at it."""
        self.screen.hint = command

    def settled(self) -> None:
        """Nothing is any more."""
        self.screen.hint = ""

    @property
    def heard(self) -> str:
        """Who answered anything that is no problem, "" where nobody did."""
        return next((client.url for client in self._clients if client.heard), "")

    def close(self) -> None:
        """Lets go of connections."""
        for client in self._clients:
            client.close()


pass_session = click.make_pass_decorator(Session)


def not_empty(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuses "" on the command line, which is a shell's variable that nobody set; for what may be left out."""
    source = context.get_parameter_source(parameter.name or "")
    if value == "" and source is click.core.ParameterSource.COMMANDLINE:
        raise click.BadParameter("it is empty; leave it out, or say one", context, parameter)
    return value


def _set(attribute: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if not_empty(context, parameter, value) and not context.resilient_parsing:
            session = context.find_object(Session)
            assert session
            if attribute == "as_json":
                session.screen.as_json = True
            else:
                setattr(session, attribute, value)
                session.is_repeat = session.is_repeat or attribute == "invocation"
        return value

    return remember


def reads(command: Command) -> Command:
    """What every command takes."""
    return click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set("as_json"),
        help="Print the server's answer, or its problem, as JSON on stdout.",
    )(command)


def looks_back(command: Command) -> Command:
    """What commands take that show what has a past."""
    return click.option(
        "--as-of",
        metavar="POSITION|TIME",
        expose_value=False,
        callback=_set("as_of"),
        help="Show it as it was right after that position of the log (see `ahc events`), or then: 2026-01-31T12:00:00Z.",
    )(command)


def changes(command: Command) -> Command:
    """What every command takes that changes something."""
    command = click.option(
        "--idempotency-key",
        metavar="KEY",
        expose_value=False,
        callback=_set("invocation"),
        help="Repeat an earlier invocation whose outcome is unknown: what it did is not done twice.",
    )(command)
    command = click.option(
        "--dry-run",
        is_flag=True,
        expose_value=False,
        callback=_set("dry_run"),
        help="Only show what would happen.",
    )(command)
    return reads(command)


def waits(command: Command) -> Command:
    """What commands take that set something in motion."""
    return click.option(
        "--wait/--no-wait", default=True, help="Return when it has ended (the default), or as soon as it is accepted."
    )(command)
