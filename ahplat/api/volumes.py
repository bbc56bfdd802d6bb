"""A tenant's volumes over HTTP: which there are, who has them, how much is in them. They are made by naming them in a service."""

from msgspec import UNSET, Struct, UnsetType

from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.fields import At, Id
from ahplat.api.route import Route
from ahplat.commands.volumes import PurgeVolume
from ahplat.effects.volumes import volume_of
from ahplat.errors import Rejected
from projections import volumes
from projections.volumes import VolumeRow


class Volume(Struct, frozen=True):
    """A volume. `service_id` is absent where no service has it, `bytes` where the engine cannot tell.

    `bytes` is only known of now, not of the past (`as_of`).
    """

    id: Id
    tenant_id: Id
    name: str
    created_at: At
    service_id: Id | UnsetType = UNSET
    bytes: int | UnsetType = UNSET


async def _rendered(call: Call, rows: list[VolumeRow]) -> list[Volume]:
    sizes = await call.app.sizes.of(call.app.engine, call.app.clock) if rows and not call.past else {}
    mounted = volumes.mounted_by(call.views, call.tenant_id)
    return [
        Volume(
            id=row.volume_id,
            tenant_id=row.tenant_id,
            name=row.name,
            created_at=row.created_at,
            service_id=mounted.get(row.name, UNSET),
            bytes=sizes.get(volume_of(row.volume_id, row.tenant_id, call.app.installation).name, UNSET),
        )
        for row in rows
    ]


async def list_all(call: Call) -> Reply:
    """The caller's volumes, by name; those of deleted services, too."""
    return json_reply(await _rendered(call, volumes.list_of(call.views, call.tenant_id)))


async def get(call: Call) -> Reply:
    """One volume: who has it, and how much is in it."""
    row = volumes.find(call.views, call.path_id())
    if row is None or row.tenant_id != call.tenant_id:
        raise Rejected("volume_not_found", f"there is no volume {call.path_id()[:64]}")
    (volume,) = await _rendered(call, [row])
    return json_reply(volume)


async def delete(call: Call) -> Reply:
    """Removes a volume that no service has, with all that is in it."""
    command = PurgeVolume(tenant_id=call.tenant_id, volume_id=call.path_id())
    return await call.order(command, lambda _: None, 204)


ROUTES = [
    Route("GET", "/v1/volumes", list_all, "list_volumes", as_of=True, answer=list[Volume]),
    Route("GET", "/v1/volumes/{volume_id}", get, "get_volume", as_of=True, answer=Volume),
    Route(
        "DELETE",
        "/v1/volumes/{volume_id}",
        delete,
        "delete_volume",
        scope="deploy",
        status=204,
        codes=("volume_in_use",),
        destroys=True,
    ),
]
