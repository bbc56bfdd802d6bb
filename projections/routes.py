"""Where the router is to send a service's requests. A deployment's health moves the target; the router confirms it.

What was seen to be gone is no target any more, so that requests go to its replicas, or are refused at once: an address
that nobody has keeps them waiting, and may be the next container's.
"""

import msgspec
from apsw import Connection

from events.database import read_sql
from events.event import Event, Recorded, canonical
from events.services import (
    ServiceCrashed,
    ServiceDeleteRequested,
    ServiceDrifted,
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


def is_routed(db: Connection, service_label: str, tenant_label: str) -> bool:
    """Whether the name is a service's that is to answer, though nothing of it may at the moment."""
    found = db.execute(
        "SELECT 1 FROM tenant JOIN service USING (tenant_id) JOIN route USING (service_id)"
        " WHERE tenant.label = ? AND service.label = ? AND service.desired = 'running'",
        (tenant_label, service_label),
    )
    return found.fetchone() is not None


def addresses_of(db: Connection, tenant_id: str, service_label: str) -> list[str] | None:
    """The addresses of a service's healthy instances in its tenant's network; None when there is no such service."""
    for desired, targets in db.execute(
        "SELECT service.desired, route.targets FROM service LEFT JOIN route USING (service_id)"
        " WHERE service.tenant_id = ? AND service.label = ? AND service.desired <> 'deleted'",
        (tenant_id, service_label),
    ):
        healthy = _TARGETS.decode(targets) if targets is not None and desired == "running" else []
        return [target.host for target in healthy if target.host]
    return None


def moved(db: Connection, at: Recorded, event: ServiceInstanceHealthy | ServiceRepaired) -> None:
    reached = [target for target in event.targets if target.port]
    if reached:
        db.execute(
            "REPLACE INTO route VALUES (?, ?, ?, ?, ?)",
            (at.subject, at.tenant, event.deployment_id, canonical(reached), isinstance(event, ServiceRepaired)),
        )
    elif event.targets:  # a worker, which listens nowhere
        removed(db, at, event)


def confirmed(db: Connection, at: Recorded, event: ServiceRouted) -> None:
    db.execute(
        "UPDATE route SET confirmed = 1 WHERE service_id = ? AND deployment_id = ?", (at.subject, event.deployment_id)
    )


def lost(db: Connection, at: Recorded, event: ServiceCrashed | ServiceDrifted) -> None:
    if isinstance(event, ServiceDrifted) and event.finding == "foreign_epoch":  # it answers until it is replaced
        return
    for (targets,) in list(db.execute("SELECT targets FROM route WHERE service_id = ?", (at.subject,))):
        left = [target for target in _TARGETS.decode(targets) if target.instance != event.instance]
        db.execute("UPDATE route SET targets = ? WHERE service_id = ?", (canonical(left), at.subject))


def removed(db: Connection, at: Recorded, _: Event) -> None:
    db.execute("DELETE FROM route WHERE service_id = ?", (at.subject,))


APPLY = {
    ServiceInstanceHealthy: moved,
    ServiceRepaired: moved,
    ServiceRouted: confirmed,
    ServiceCrashed: lost,
    ServiceDrifted: lost,
    ServiceStopped: removed,  # not before: a deploy that takes over from the stop may fail, and leave what served
    ServiceDeleteRequested: removed,
}
