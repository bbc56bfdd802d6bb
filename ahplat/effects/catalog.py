"""Every intent and what is done about it. An intent that is not here could never have an outcome: a test forbids it."""

from ahplat.effects import (
    builds,
    database_backups,
    database_restores,
    databases,
    domains,
    execs,
    services,
    tenants,
    volumes,
)
from ahplat.effects.task import Effect
from events.event import Intent

EFFECTS: dict[type[Intent], Effect] = {
    **services.EFFECTS,
    **builds.EFFECTS,
    **databases.EFFECTS,
    **database_backups.EFFECTS,
    **database_restores.EFFECTS,
    **volumes.EFFECTS,
    **tenants.EFFECTS,
    **execs.EFFECTS,
    **domains.EFFECTS,
}
