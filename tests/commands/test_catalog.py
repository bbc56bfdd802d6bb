"""Every command is found from the table, and goes to a stream that its fields name."""

import importlib
import pkgutil

from ahplat import commands
from ahplat.commands.catalog import COMMANDS
from ahplat.commands.command import Command

ABSTRACT = {
    "Command",
    "ServiceCommand",
    "DeploymentCommand",
    "BuildCommand",
    "DatabaseCommand",
    "DomainCommand",
    "WorkCommand",
}


def test_every_command_that_is_written_is_in_the_table() -> None:
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"ahplat.commands.{module.name}")
    known, written = [Command], set()
    while known:
        kind = known.pop()
        known += kind.__subclasses__()
        written.add(kind)
    assert {kind.__name__ for kind in written - COMMANDS.keys()} == ABSTRACT


def test_every_stream_is_made_of_a_field_that_its_command_has() -> None:
    for kind, decision in COMMANDS.items():
        field = decision.stream.partition("{0.")[2].partition("}")[0]
        assert field in kind.__struct_fields__, f"{kind.__name__} has no {field} for its stream {decision.stream}"
