"""What we know of tenants' volumes: which there are. Who mounts one is said by the services and their deployments."""

import hashlib

import msgspec
from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.event import Recorded
from events.services import ServiceConfigured, ServiceCreated
from events.volumes import VolumePurged

TABLES = read_sql(__file__)

_PATHS = msgspec.json.Decoder(dict[str, str])


class VolumeRow(Struct, frozen=True):
    """One row of `volume`, its columns in order."""

    volume_id: str
    tenant_id: str
    name: str
    created_at: int


def volume_id(tenant_id: str, name: str) -> str:
    """A tenant's volume is the one of that name, whenever it was made.

    >>> volume_id("t", "data")
    '49af98e6f2bdad6bea440136ace68bfa'
    """
    return hashlib.sha256(f"{tenant_id} {name}".encode()).hexdigest()[:32]


def paths_of(column: str) -> dict[str, str]:
    """Name → path, from the column of a service or a deployment."""
    return _PATHS.decode(column)


def find(db: Connection, volume: str) -> VolumeRow | None:
    """The volume, by its id."""
    for row in db.execute("SELECT * FROM volume WHERE volume_id = ?", (volume,)):
        return VolumeRow(*row)
    return None


def list_of(db: Connection, tenant_id: str) -> list[VolumeRow]:
    """A tenant's volumes, by name."""
    return [
        VolumeRow(*row) for row in db.execute("SELECT * FROM volume WHERE tenant_id = ? ORDER BY name", (tenant_id,))
    ]


def owners(db: Connection) -> list[tuple[str, str]]:
    """(volume's id, tenant's id) of all that there are."""
    return [(volume, tenant) for volume, tenant in db.execute("SELECT volume_id, tenant_id FROM volume")]


def mounted_by(db: Connection, tenant_id: str) -> dict[str, str]:
    """Volume's name → the service that has it: by its settings, or as it serves."""
    rows = db.execute(
        "SELECT s.service_id, s.volumes, coalesce(d.volumes, '{}') FROM service s"
        " LEFT JOIN deployment d ON s.serving AND d.deployment_id = s.deployment_id"
        " WHERE s.tenant_id = ? AND s.desired <> 'deleted' AND (s.volumes <> '{}' OR d.volumes <> '{}')",
        (tenant_id,),
    )
    return {
        name: service_id
        for service_id, wanted, served in rows
        for name in (*_PATHS.decode(wanted), *_PATHS.decode(served))
    }


def named(db: Connection, at: Recorded, event: ServiceCreated | ServiceConfigured) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO volume VALUES (?, ?, ?, ?)",
        [(volume_id(at.tenant, name), at.tenant, name, at.at_s) for name in sorted(event.volumes or ())],
    )


def purged(db: Connection, at: Recorded, _: VolumePurged) -> None:
    db.execute("DELETE FROM volume WHERE volume_id = ?", (at.subject,))


APPLY = {
    ServiceCreated: named,
    ServiceConfigured: named,
    VolumePurged: purged,
}
