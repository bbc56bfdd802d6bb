"""All in Docker that carries an installation's label: containers, networks, volumes. Blocking.

A label is asked for with its value, so what is another installation's is not even seen. Nothing is removed here.
"""

import msgspec
from docker import APIClient
from msgspec import Struct

from ahplat.engines import bridges, volumes
from ahplat.engines.engine import Belonging, identity_of


class _Listed(Struct, rename="pascal"):
    """The part of Docker's list of containers that is read."""

    names: list[str] = []  # with a slash before them; none of one that is being removed
    labels: dict[str, str] | None = None


def listed(client: APIClient, installation: str) -> list[Belonging]:
    """What says that it is this installation's, by kind and name."""
    ours = {"label": f"ah.instance={installation}"}
    containers = msgspec.convert(client.containers(all=True, filters=ours), list[_Listed])
    networks = msgspec.convert(client.networks(filters=ours), list[bridges.Found])
    kept = msgspec.convert(client.volumes(filters=ours)["Volumes"] or [], list[volumes.Found])
    found = [_container(one) for one in containers if one.names]
    found += [Belonging("network", one.name, _tenant(one.labels)) for one in networks]
    found += [Belonging("volume", one.name, _tenant(one.labels)) for one in kept]
    return sorted(found, key=lambda one: (one.kind, one.name))


def _container(found: _Listed) -> Belonging:
    identity = identity_of(found.labels or {})
    name = found.names[0].removeprefix("/")
    return Belonging("container", name, _tenant(found.labels), identity.subject if identity else "")


def _tenant(labels: dict[str, str] | None) -> str:
    return (labels or {}).get("ah.tenant", "")
