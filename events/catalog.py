"""Every event type by its wire name. What is not in CATALOG does not exist.

Old forms are lifted here, on reading: the log itself never changes.
"""

from collections.abc import Callable
from typing import Any, Union

import msgspec

from events import (
    builds,
    database_backups,
    databases,
    disks,
    domains,
    effects,
    execs,
    garbage,
    keys,
    networks,
    platform,
    services,
    tenants,
    usage,
    volumes,
)
from events.event import Event, wire_name

CATALOG: dict[str, type[Event]] = {
    wire_name(event): event
    for noun in (
        platform,
        tenants,
        keys,
        services,
        domains,
        builds,
        databases,
        database_backups,
        volumes,
        effects,
        execs,
        disks,
        networks,
        garbage,
        usage,
    )
    for event in noun.EVENTS
}

UPCASTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Old wire name → function from its old JSON object to one of today's, `type` included."""

_ANY: Any = Union[tuple(CATALOG.values())]  # noqa: UP007 — computed
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(_ANY)


class UnknownEvent(Exception):
    """The log holds an event that this code does not know: it was written by a newer release."""


def decode(type_name: str, data: bytes) -> Event:
    """The event that `data` holds. Raises UnknownEvent when it is of no form that this code knows."""
    try:
        if type_name in UPCASTS:
            lifted: Event = msgspec.convert(UPCASTS[type_name](msgspec.json.decode(data)), _ANY)
            return lifted
        return _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise UnknownEvent(f"{type_name} is not an event of this release: {error}") from error
