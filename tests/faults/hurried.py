"""The server with short waits, which kills itself where a test wants it: a `Server.main`.

`AH_TEST_WAITS` is JSON, module:name → value. `AH_TEST_DIES` is "before" or "after", and the command at whose submission or
commit it dies; an event's name is the command that brings it as an outcome. Of several, with | between them, the first.
"""

import asyncio
import importlib
import json
import os
import signal
from typing import Any

from ahplat.answers import Done
from ahplat.cli.entry import run
from ahplat.commands.command import Command
from ahplat.commands.effects import Conclude
from ahplat.writer import Writer


def run_hurried() -> None:
    """`ah`, changed so."""
    hurry(json.loads(os.environ.get("AH_TEST_WAITS", "{}")))
    when, _, names = os.environ.get("AH_TEST_DIES", "").partition(" ")
    if when:
        die(when, frozenset(names.split("|")))
    run()


def hurry(waits: dict[str, Any]) -> None:
    """Sets what is waited for. What a module made of a limit when it was imported stays as it was."""
    for place, value in waits.items():
        module, _, name = place.partition(":")
        found = importlib.import_module(module)
        assert hasattr(found, name), place
        setattr(found, name, tuple(value) if isinstance(value, list) else value)


def die(when: str, names: frozenset[str]) -> None:
    """Has the writer kill the process."""
    submit = Writer.submit

    def deadly(writer: Writer, command: Command, **fields: Any) -> "asyncio.Future[Done]":
        outcome = command.outcome if isinstance(command, Conclude) else []
        if names.isdisjoint(type(one).__name__ for one in (command, *outcome)):
            return submit(writer, command, **fields)
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = submit(writer, command, **fields)
        done.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL))
        return done

    Writer.submit = deadly  # type: ignore[method-assign]
