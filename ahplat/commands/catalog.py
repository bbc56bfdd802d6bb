"""Every command and how it is decided. What is not in COMMANDS cannot be done."""

from ahplat.commands import (
    builds,
    circuits,
    database_backups,
    database_servers,
    databases,
    deployments,
    disks,
    domains,
    effects,
    execs,
    garbage,
    instances,
    keys,
    networks,
    routes,
    services,
    tenants,
    volumes,
)
from ahplat.commands.command import Command, Decision

COMMANDS: dict[type[Command], Decision] = {
    **tenants.COMMANDS,
    **keys.COMMANDS,
    **services.COMMANDS,
    **deployments.COMMANDS,
    **builds.COMMANDS,
    **instances.COMMANDS,
    **circuits.COMMANDS,
    **volumes.COMMANDS,
    **databases.COMMANDS,
    **database_servers.COMMANDS,
    **database_backups.COMMANDS,
    **domains.COMMANDS,
    **routes.COMMANDS,
    **networks.COMMANDS,
    **effects.COMMANDS,
    **execs.COMMANDS,
    **disks.COMMANDS,
    **garbage.COMMANDS,
}
