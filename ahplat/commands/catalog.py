"""Every command and how it is decided. What is not in COMMANDS cannot be done."""

from ahplat.commands import builds, deployments, effects, execs, instances, keys, services, tenants
from ahplat.commands.command import Command, Decision

COMMANDS: dict[type[Command], Decision] = {
    **tenants.COMMANDS,
    **keys.COMMANDS,
    **services.COMMANDS,
    **deployments.COMMANDS,
    **builds.COMMANDS,
    **instances.COMMANDS,
    **effects.COMMANDS,
    **execs.COMMANDS,
}
