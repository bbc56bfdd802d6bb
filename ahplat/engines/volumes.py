"""Named volumes in Docker: a tenant's places to write that outlive its containers. Blocking.

Docker's answer to the making of a volume that exists is that volume, whoever made it; so its labels are looked at.
"""

from contextlib import suppress
from pathlib import Path

import msgspec
from docker import APIClient
from docker.errors import APIError, NotFound
from msgspec import Struct, field

from ahplat.engines.engine import Volume
from ahplat.errors import Rejected, Unavailable


class _Usage(Struct, rename="pascal"):
    size: int = -1


class Found(Struct, rename="pascal"):
    """The part of Docker's word on a volume that is read."""

    name: str
    mountpoint: str = ""  # on the machine that Docker is on
    labels: dict[str, str] | None = None
    usage: _Usage | None = field(default=None, name="UsageData")

    def is_of(self, volume: Volume) -> bool:
        """Whether its labels say that it is this one."""
        return labels_of(volume).items() <= (self.labels or {}).items()


class _DiskUsage(Struct, rename="pascal"):
    volumes: list[Found] | None = None


def labels_of(volume: Volume) -> dict[str, str]:
    """What says that a volume is ours and whose it is."""
    return {"ah.instance": volume.instance, "ah.tenant": volume.tenant}


def ensure(client: APIClient, volume: Volume) -> None:
    """Makes it where it is missing. Raises Rejected `name_taken`."""
    answer = client.create_volume(volume.name, driver="local", labels=labels_of(volume))
    found = msgspec.convert(answer, Found)
    if not found.is_of(volume):
        raise Rejected("name_taken", f"a volume {volume.name} that is not ours exists already")
    _open_up(Path(found.mountpoint))


def _open_up(folder: Path) -> None:
    """An empty one is root's alone, and the user of an image could write nothing to it. Only the tenant's own containers see it.

    Where the image has something at the path, Docker copies that into it with the first container, rights and all.
    """
    with suppress(OSError):  # Docker is on another machine
        if not any(folder.iterdir()):
            folder.chmod(0o777)


def remove(client: APIClient, volume: Volume) -> None:
    """Removes it, where it is there and ours. Raises Unavailable `volume_in_use`."""
    try:
        if msgspec.convert(client.inspect_volume(volume.name), Found).is_of(volume):
            client.remove_volume(volume.name)
    except NotFound:
        return
    except APIError as error:
        if error.status_code == 409:
            raise Unavailable("volume_in_use", f"volume {volume.name} is in use: {error.explanation}") from error
        raise


def measured(client: APIClient, installation: str) -> dict[str, int]:
    """Bytes by name, of an installation's volumes whose size Docker can tell."""
    usage = msgspec.convert(client.df(), _DiskUsage)
    return {
        found.name: found.usage.size
        for found in usage.volumes or ()
        if (found.labels or {}).get("ah.instance") == installation and found.usage and found.usage.size >= 0
    }
