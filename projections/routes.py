"""Where the router is to send a service's requests: where they go, and where they are to go once the router has it.

A deployment's health says what comes next; only the router's word moves the route. What was seen to be gone is no target
any more, so that requests go to its replicas, or are refused at once: an address that nobody has keeps them waiting, and
may be the next container's.
"""

import msgspec
from apsw import Connection
from msgspec import Struct

from events.database import read_sql
from events.event import Event, Recorded, canonical
from events.services import (
    ServiceCrashed,
    ServiceDeleteRequested,
    ServiceDeployCancelled,
    ServiceDeploySuperseded,
    ServiceDrifted,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRouted,
    ServiceRouteFailed,
    ServiceStopped,
    Target,
)
from projections.tables import Table, Tables

TABLES = read_sql(__file__)

_TARGETS = msgspec.json.Decoder(list[Target])
_HOSTS = msgspec.json.Decoder(list[str])


class StoredRoute(Struct, frozen=True, gc=False):
    """One row of `route`, its columns in order."""

    service_id: str
    tenant_id: str
    deployment_id: str
    targets: bytes
    next_id: str | None
    next_targets: bytes | None


ROUTE = Table("route", StoredRoute, "service_id")


class RouteRow(Struct, frozen=True):
    """Where a service is to answer, and under which names. `targets` is empty when nothing answers at the moment."""

    service_id: str
    deployment_id: str  # "" while none was ever routed
    label: str
    tenant_label: str
    domains: list[str]  # further host names that were verified
    targets: list[Target]


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


def labels_of_domain(db: Connection, host: str) -> tuple[str, str] | None:
    """(service label, tenant label) of the service that a further host name was verified for."""
    for row in db.execute(
        "SELECT service.label, tenant.label FROM domain JOIN service USING (service_id)"
        " JOIN tenant ON tenant.tenant_id = service.tenant_id WHERE domain.host = ? AND domain.verified",
        (host,),
    ):
        return str(row[0]), str(row[1])
    return None


_ROUTES = (
    "SELECT route.service_id, route.deployment_id, service.label, tenant.label, (SELECT json_group_array(host) FROM"
    " (SELECT host FROM domain WHERE domain.service_id = route.service_id AND verified ORDER BY host)), route.targets"
    " FROM route JOIN service USING (service_id) JOIN tenant ON tenant.tenant_id = service.tenant_id"
    " WHERE service.desired = 'running'"
)


def find(db: Connection, service_id: str) -> RouteRow | None:
    """The route of a service that is to answer; None where it is not."""
    for row in db.execute(f"{_ROUTES} AND route.service_id = ?", (service_id,)):
        return _row(*row)
    return None


def list_all(db: Connection) -> list[RouteRow]:
    """The routes of all services that are to answer."""
    return [_row(*row) for row in db.execute(f"{_ROUTES} ORDER BY route.service_id")]


def _row(service_id: str, deployment_id: str, label: str, tenant_label: str, domains: str, targets: bytes) -> RouteRow:
    hosts = _HOSTS.decode(domains)
    return RouteRow(service_id, deployment_id, label, tenant_label, hosts, _TARGETS.decode(targets))


def _reached(targets: list[Target]) -> list[Target]:
    """Those that listen: a worker does not, so nothing goes to it."""
    return [target for target in targets if target.port]


def to_move(tables: Tables, at: Recorded, event: ServiceInstanceHealthy) -> None:
    reached = _reached(event.targets)
    if not reached:
        return
    if not tables.find(ROUTE, at.subject):
        tables.add(ROUTE, StoredRoute(at.subject, at.tenant, "", b"[]", None, None))
    tables.change(ROUTE, at.subject, next_id=event.deployment_id, next_targets=canonical(reached))


def moved(tables: Tables, at: Recorded, event: ServiceRouted) -> None:
    route = tables.find(ROUTE, at.subject)
    if route and route.next_id == event.deployment_id and route.next_targets is not None:
        moved_to = route.next_targets
        tables.change(ROUTE, at.subject, deployment_id=route.next_id, targets=moved_to, next_id=None, next_targets=None)
    elif route and route.deployment_id != event.deployment_id:  # a worker took over: it is not reached
        tables.put(ROUTE, at.subject, ())


def stays(
    tables: Tables, at: Recorded, event: ServiceRouteFailed | ServiceDeploySuperseded | ServiceDeployCancelled
) -> None:
    route = tables.find(ROUTE, at.subject)
    if route is None or route.next_id not in (None, event.deployment_id):
        return
    if route.deployment_id:
        tables.change(ROUTE, at.subject, next_id=None, next_targets=None)
    else:
        tables.put(ROUTE, at.subject, ())


def repaired(tables: Tables, at: Recorded, event: ServiceRepaired) -> None:
    reached = _reached(event.targets)
    if reached:
        route = StoredRoute(at.subject, at.tenant, event.deployment_id, canonical(reached), None, None)
        tables.put(ROUTE, at.subject, [route])
    elif event.targets:  # a worker, which listens nowhere
        removed(tables, at, event)


def lost(tables: Tables, at: Recorded, event: ServiceCrashed | ServiceDrifted) -> None:
    if isinstance(event, ServiceDrifted) and event.finding == "foreign_epoch":  # it answers until it is replaced
        return
    route = tables.find(ROUTE, at.subject)
    if route:
        left = [target for target in _TARGETS.decode(route.targets) if target.instance != event.instance]
        tables.change(ROUTE, at.subject, targets=canonical(left))


def removed(tables: Tables, at: Recorded, _: Event) -> None:
    tables.put(ROUTE, at.subject, ())


APPLY = {
    ServiceInstanceHealthy: to_move,
    ServiceRouted: moved,
    ServiceRouteFailed: stays,
    ServiceDeploySuperseded: stays,
    ServiceDeployCancelled: stays,
    ServiceRepaired: repaired,
    ServiceCrashed: lost,
    ServiceDrifted: lost,
    ServiceStopped: removed,  # not before: a deploy that takes over from the stop may fail, and leave what served
    ServiceDeleteRequested: removed,
}
