"""Where the router is to send a service's requests. A deployment's health moves the target; the router confirms it."""

import msgspec
from apsw import Connection

from events.database import read_sql
from events.event import Event, Recorded, canonical
from events.services import (
    ServiceDeleteRequested,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRouted,
    ServiceStopped,
    Target,
)

TABLES = read_sql(__file__)

_TARGETS = msgspec.json.Decoder(list[Target])


def targets_of(db: Connection, service_label: str, tenant_label: str) -> list[Target]:
    """Where requests for `<service>.<tenant>.<domain>` go; empty when nothing answers there."""
    for (targets,) in db.execute(
        "SELECT route.targets FROM tenant JOIN service USING (tenant_id) JOIN route USING (service_id)"
        " WHERE tenant.label = ? AND service.label = ? AND service.desired = 'running'",
        (tenant_label, service_label),
    ):
        return _TARGETS.decode(targets)
    return []


def moved(db: Connection, at: Recorded, event: ServiceInstanceHealthy | ServiceRepaired) -> None:
    if event.targets:
        db.execute(
            "REPLACE INTO route VALUES (?, ?, ?, ?, ?)",
            (at.subject, at.tenant, event.deployment_id, canonical(event.targets), isinstance(event, ServiceRepaired)),
        )


def confirmed(db: Connection, at: Recorded, event: ServiceRouted) -> None:
    db.execute(
        "UPDATE route SET confirmed = 1 WHERE service_id = ? AND deployment_id = ?", (at.subject, event.deployment_id)
    )


def removed(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM route WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceInstanceHealthy: moved,
    ServiceRepaired: moved,
    ServiceRouted: confirmed,
    ServiceStopped: removed,  # not before: a deploy that takes over from the stop may fail, and leave what served
    ServiceDeleteRequested: removed,
}
