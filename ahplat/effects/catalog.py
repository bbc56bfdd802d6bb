"""Every intent and what is done about it. An intent that is not here could never have an outcome: a test forbids it."""

from ahplat.effects import builds, execs, services, tenants
from ahplat.effects.task import Effect
from events.event import Intent

EFFECTS: dict[type[Intent], Effect] = {
    **services.EFFECTS,
    **builds.EFFECTS,
    **tenants.EFFECTS,
    **execs.EFFECTS,
}
