"""What may happen to a tenant's volumes."""

from apsw import Connection
from msgspec import Struct

from ahplat.commands.command import Command, Decision
from ahplat.errors import Rejected
from events.event import Event
from events.volumes import VolumePurgeRequested
from projections import todo, volumes
from projections.volumes import VolumeRow


class PurgeVolume(Command, frozen=True, kw_only=True):
    """A volume that no service has is to go, with all that is in it."""

    volume_id: str


class VolumeState(Struct, frozen=True):
    """The volume, the service that has it ("" for none), and whether its removal is under way."""

    volume: VolumeRow
    service_id: str
    going: bool


def load(views: Connection, command: PurgeVolume) -> VolumeState:
    row = volumes.find(views, command.volume_id)
    if row is None or row.tenant_id != command.tenant_id:
        raise Rejected("volume_not_found", f"there is no volume {command.volume_id[:64]}")
    return VolumeState(
        volume=row,
        service_id=volumes.mounted_by(views, row.tenant_id).get(row.name, ""),
        going=bool(todo.open_of(views, f"volume-{row.volume_id}")),
    )


def purge(state: VolumeState, _: PurgeVolume) -> list[Event]:
    if state.service_id:
        raise Rejected(
            "volume_in_use", f"service {state.service_id} has the volume: delete it, or take the volume off it"
        )
    return [] if state.going else [VolumePurgeRequested(state.volume.name)]


COMMANDS: dict[type[Command], Decision] = {
    PurgeVolume: Decision(load, purge, "volume-{0.volume_id}", frees=True),
}
