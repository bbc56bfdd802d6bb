"""Facts to begin with: what a test says only in part is filled in here."""

from typing import Any

from events.builds import BuildRequested
from events.databases import DatabaseCreateRequested, DatabaseStarted
from events.effects import EffectAttempted
from events.event import Event, wire_name
from events.keys import KeyCreated
from events.services import (
    ServiceCreated,
    ServiceDeployRequested,
    ServiceDrained,
    ServiceEnvSet,
    ServiceInstanceHealthy,
    ServiceRouted,
    Target,
)
from events.tenants import TenantRegistered
from projections import services, todo
from projections.todo import TodoRow
from tests.commands.given import BUILD, SERVICE, TENANT, given, of, world

SETTINGS: dict[str, Any] = {
    "image": "web:1",
    "port": 8000,
    "memory_mb": 256,
    "cpu_milli": 500,
    "health_path": "/health",
    "egress": "internet",
    "replicas": 1,
}


def a_tenant(label: str = "acme", email_index: bytes = b"acme@", subnet: str = "10.128.0.0/26") -> TenantRegistered:
    """A tenant is registered."""
    return TenantRegistered(name=b"name", email=b"email", email_index=email_index, label=label, subnet=subnet)


def a_key(key_id: str = "k1", **fields: Any) -> KeyCreated:
    """A key is handed out."""
    return KeyCreated(**{"key_id": key_id, "name": b"name", "digest": b"digest", "scopes": ["admin"]} | fields)


def a_service(name: str = "web", label: str = "", **settings: Any) -> ServiceCreated:
    """A service exists; nothing of it runs."""
    return ServiceCreated(name=name, label=label or name, **(SETTINGS | settings))


def a_database(name: str = "orders", **fields: Any) -> DatabaseCreateRequested:
    """A database is asked for."""
    wanted: dict[str, Any] = {
        "name": name,
        "label": name,
        "kind": "postgres",
        "image": "postgres:16-alpine",
        "memory_mb": 512,
        "cpu_milli": 1000,
        "port": 5432,
        "db_name": f"u_{name}",
        "username": f"u_{name}",
        "password": b"password",
        "address": "10.128.0.62",
    }
    return DatabaseCreateRequested(**(wanted | fields))


def database_started(intent: int) -> DatabaseStarted:
    """A database answers."""
    return DatabaseStarted(intent, "server-1", "10.128.0.62", 5432, "sha256:db", "postgres@sha256:db")


def env_set(*keys: str, value: bytes = b"sealed") -> ServiceEnvSet:
    """Variables are set."""
    return ServiceEnvSet(dict.fromkeys(keys, value))


def a_deploy(deployment_id: str = "d1", number: int = 1, **settings: Any) -> ServiceDeployRequested:
    """A deployment is asked for."""
    fields = SETTINGS | {"trigger": "create", "env_version": 0} | settings
    return ServiceDeployRequested(deployment_id=deployment_id, number=number, **fields)


def work(kind: type[Event], service: str = SERVICE) -> TodoRow:
    """The open work of a kind about a service."""
    found = [row for row in todo.open_of(world().views.db, f"service-{service}") if row.type == wire_name(kind)]
    assert len(found) == 1, f"{len(found)} open {wire_name(kind)} of {service}"
    return found[0]


def intent(kind: type[Event], service: str = SERVICE) -> int:
    """The position of the open work of a kind about a service."""
    return work(kind, service).intent


def a_build(deployment_id: str = "b1", **fields: Any) -> BuildRequested:
    """A build of the service is asked for."""
    wanted = {"service_id": SERVICE, "url": b"url", "ref": "", "source": b"s", "builder": "nixpacks", "image": "web:b"}
    return BuildRequested(deployment_id=deployment_id, **(wanted | fields))


def step_of(build: str = BUILD) -> int:
    """The position of what asks for a build's next step."""
    (row,) = todo.open_of(world().views.db, f"build-{build}")
    return row.intent


def begun(kind: type[Event], service: str = SERVICE) -> None:
    """An attempt at the open work begins."""
    row = work(kind, service)
    given(EffectAttempted(row.intent, row.subject, row.attempt + 1))


def healthy(service: str = SERVICE, tenant: str = TENANT) -> None:
    """The deployment that is under way passes its health check: instance `<deployment>-0` and so on."""
    begun(ServiceDeployRequested, service)
    row = work(ServiceDeployRequested, service)
    found = services.find(world().views.db, service)
    assert found
    targets = [Target(n, f"{row.deployment_id}-{n}", "10.0.0.2", 8000) for n in range(found.replicas)]
    fact = ServiceInstanceHealthy(
        row.intent, row.deployment_id, f"sha256:{row.deployment_id}", f"web@sha256:{row.deployment_id}", targets
    )
    given(of(fact, service, tenant))


def routed(service: str = SERVICE, tenant: str = TENANT) -> None:
    """The router confirms what is healthy."""
    row = work(ServiceInstanceHealthy, service)
    given(of(ServiceRouted(row.intent, row.deployment_id), service, tenant))


def drained(service: str = SERVICE, tenant: str = TENANT) -> None:
    """What served before is gone."""
    row = work(ServiceRouted, service)
    given(of(ServiceDrained(row.intent, row.deployment_id, []), service, tenant))


def comes_to_serve(service: str = SERVICE, tenant: str = TENANT) -> None:
    """The deployment that is under way goes all its way."""
    healthy(service, tenant)
    routed(service, tenant)
    drained(service, tenant)


def a_running_service(name: str = "web", service: str = SERVICE, tenant: str = TENANT, **settings: Any) -> None:
    """A service with one deployment, `d1` or `d1` with the first digit of another service's id, that serves."""
    deployment_id = "d1" if service == SERVICE else f"d1-{service[0]}"
    given(of(a_service(name, **settings), service, tenant), of(a_deploy(deployment_id, **settings), service, tenant))
    comes_to_serve(service, tenant)


def redeployed(deployment_id: str, number: int, service: str = SERVICE, **settings: Any) -> None:
    """One more deployment that comes to serve."""
    given(of(a_deploy(deployment_id, number, **settings), service))
    comes_to_serve(service)
