"""All in Docker that carries an installation's label: containers, networks, volumes. Blocking.

A label is asked for with its value, so what is another installation's is not even seen. Nothing is removed here.
"""

import msgspec
from docker import APIClient

from ahplat.engines import bridges, volumes
from ahplat.engines.container import Summary, copies, summaries
from ahplat.engines.engine import Belonging, identity_of


def listed(client: APIClient, installation: str) -> list[Belonging]:
    """What says that it is this installation's, by kind and name."""
    ours = {"label": f"ah.instance={installation}"}
    containers = summaries(client.containers(all=True, filters=ours))
    networks = msgspec.convert(client.networks(filters=ours), list[bridges.Found])
    kept = msgspec.convert(client.volumes(filters=ours)["Volumes"] or [], list[volumes.Found])
    copied = copies(containers)
    found = [_container(one, one.id in copied) for one in containers if one.names]
    found += [Belonging("network", one.name, _tenant(one.labels)) for one in networks]
    found += [Belonging("volume", one.name, _tenant(one.labels)) for one in kept]
    return sorted(found, key=lambda one: (one.kind, one.name))


def _container(found: Summary, is_copy: bool) -> Belonging:
    identity = None if is_copy else identity_of(found.labels or {})
    name = found.names[0].removeprefix("/")
    return Belonging("container", name, _tenant(found.labels), identity.subject if identity else "")


def _tenant(labels: dict[str, str] | None) -> str:
    return (labels or {}).get("ah.tenant", "")
