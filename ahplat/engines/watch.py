"""Docker's events, read as hints: which service may have changed, or the router's container.

Container events carry the labels and so the service; network events name only a container, which is looked up. Docker
applies a label filter to both kinds and would drop every network event, so what is not ours is left out here.
"""

import msgspec
from docker import APIClient
from msgspec import Struct, field

from ahplat.engines import lifecycle
from ahplat.engines.changes import Changes
from ahplat.engines.dockerd import AWAY, Stream
from ahplat.engines.engine import ROUTER

FILTERS = {
    "type": ["container", "network"],
    "event": ["start", "die", "oom", "stop", "destroy", "pause", "unpause", "rename", "health_status", "disconnect"],
}


class _Actor(Struct, rename="pascal"):
    attributes: dict[str, str] = field(default_factory=dict)


class Event(Struct, rename="pascal"):
    """The part of one of Docker's events that is read."""

    type: str = ""
    actor: _Actor = field(default_factory=_Actor)


def service_in(labels: dict[str, str], installation: str) -> str | None:
    """The service or database that labels belong to; None when they are not of this installation.

    >>> labels = {"ah.instance": "a", "ah.service": "s"}
    >>> service_in(labels, "a"), service_in(labels, "b"), service_in({"ah.instance": "a", "ah.database": "d"}, "a")
    ('s', None, 'd')
    """
    return labels.get("ah.service", labels.get("ah.database")) if labels.get("ah.instance") == installation else None


def subject_of(client: APIClient, event: Event, installation: str, router: str = "") -> str | None:
    """The service that an event is about, ROUTER for the container of that name; None when it is none of ours."""
    attributes = event.actor.attributes
    if event.type == "container":
        name, labels = attributes.get("name", ""), attributes
    elif found := lifecycle.look(client, attributes["container"]) if "container" in attributes else None:
        name, labels = found.name.removeprefix("/"), found.labels
    else:
        return None
    return ROUTER if router and name == router else service_in(labels, installation)


def follow(client: APIClient, stream: Stream, installation: str, changes: Changes, router: str) -> None:
    """Reads events to their end, in a thread of its own; whatever ends them, the reader learns of it."""
    why = "Docker's events ended"
    try:
        for line in stream.lines():
            subject = subject_of(client, msgspec.json.decode(line, type=Event), installation, router)
            if subject is not None:
                changes.put(subject)
    except (*AWAY, msgspec.DecodeError) as error:
        why = f"Docker's events were cut off: {error}"
    finally:
        stream.close()
        changes.end(why)
