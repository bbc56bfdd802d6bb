"""What is done about a tenant's volumes."""

from ahplat.effects.task import Effect, Task
from ahplat.engines.engine import Volume
from events.event import Event, Intent
from events.volumes import VolumePurged, VolumePurgeRequested


def volume_of(volume_id: str, tenant_id: str, installation: str) -> Volume:
    """The engine's volume: deterministic, so that a retry finds what is there."""
    return Volume(f"ah-vol-{volume_id}", installation, tenant_id)


async def purge(task: Task[VolumePurgeRequested]) -> list[Event]:
    """Removes it. While a container that is on its way out still has it, this is tried again."""
    volume = volume_of(task.subject, task.work.tenant_id, task.platform.installation)
    await task.step(task.engine.remove_volume, volume)
    return [VolumePurged(task.work.intent)]


EFFECTS: dict[type[Intent], Effect] = {
    VolumePurgeRequested: Effect(purge),
}
