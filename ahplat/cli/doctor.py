"""`ah doctor`: whether this machine has what a server needs, and what to do where it has not."""

import asyncio
import logging
import sys
from typing import Any

import click
import msgspec

from ahplat import checkup
from ahplat.checkup import Finding
from ahplat.cli.serve import SETTINGS, check, config_of
from ahplat.clock import SystemClock
from ahplat.errors import CannotStart

_AS_JSON = click.Option(["--json", "as_json"], is_flag=True, help="One JSON object for each part, in an array.")


@click.command(params=[_AS_JSON, *SETTINGS], context_settings={"auto_envvar_prefix": "AH"})
def doctor(as_json: bool, **settings: Any) -> None:
    """Check this machine, with or without a server on it.

    Give it the options and variables of the server. Under gVisor a container is started, of the smallest image that is
    here, and removed; nothing else is touched. Exit code 1 where something is missing; each fault has its remedy.
    """
    logging.disable()  # what there is to say is in the findings
    found = asyncio.run(_look(settings))
    click.echo(msgspec.json.encode(found).decode() if as_json else "\n".join(lines(found)))
    sys.exit(1 if any(one.state == "fault" for one in found) else 0)


async def _look(settings: dict[str, Any]) -> list[Finding]:
    found = [_checked(settings)]
    try:
        config = config_of(settings)
    except CannotStart as error:
        return [_refused(error)]
    return [*found, *await checkup.look(config, SystemClock())]


def _checked(settings: dict[str, Any]) -> Finding:
    try:
        check(settings)
    except CannotStart as error:
        return _refused(error)
    return checkup.ok("settings", "go together")


def _refused(error: CannotStart) -> Finding:
    said, _, remedy = str(error).partition(": ")
    return checkup.fault("settings", said, remedy)


def lines(found: list[Finding]) -> list[str]:
    """One line for each part, and below a fault what to do.

    >>> print(*lines([Finding("disk", "ok", "12 % used"), Finding("runsc", "fault", "is not there", "install it")]), sep="\\n")
    ok       disk         12 % used
    FAULT    runsc        is not there
                          → install it
    """
    told = []
    for one in found:
        state = one.state.upper() if one.state == "fault" else one.state
        told.append(f"{state:8} {one.name:12} {one.said}")
        if one.remedy:
            told.append(f"{'':21} → {one.remedy}")
    return told
