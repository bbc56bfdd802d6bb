"""`ahc status`: everything on one screen, or one service with its deployments."""

from typing import Any

import click

from ahplat.ahc import names
from ahplat.ahc.databases import show_list as show_databases
from ahplat.ahc.screen import time_of
from ahplat.ahc.services import deployment_rows
from ahplat.ahc.services import show_list as show_services
from ahplat.ahc.session import Session, looks_back, not_empty, pass_session, reads

_DEPLOYMENTS = 10


@click.command()
@click.argument("service", default="", callback=not_empty)
@looks_back
@reads
@pass_session
def status(session: Session, service: str) -> None:
    """Show the server, the services and the databases; or one service, with its deployments.

    \b
      ahc status
      ahc status web
      ahc status --as-of 2026-01-31T12:00:00Z
    """
    if service:
        _of_service(session, names.find(session.client, "service", service))
        return
    client, screen = session.client, session.screen
    found: dict[str, Any] = {}
    if not session.as_of:  # how the server was nobody knows
        found["health"] = client.read("/v1/system/health/detailed")
    services, databases = client.pages("/v1/services"), client.pages("/v1/databases")

    def show() -> None:
        screen.facts(_server(session, found["health"]) if found else [("as of", session.as_of)])
        screen.line()
        show_services(session, services)
        screen.line()
        show_databases(session, databases)

    screen.result(found | {"services": services, "databases": databases}, show)


def _server(session: Session, health: dict[str, Any]) -> list[tuple[str, Any]]:
    disk, effects, engine = health.get("disk", {}), health.get("effects", {}), health.get("engine", {})
    isolation = "" if engine.get("isolated", True) else ", services are not isolated"
    parked = f", {effects['parked']} parked" if effects.get("parked") else ""
    return [
        ("server", session.client.url),
        ("status", health["status"]),
        ("engine", f"{engine.get('name', '')}{isolation}"),
        ("disk", f"{disk.get('used_percent')} % used, {disk.get('level', '')}"),
        ("open work", f"{effects.get('open', 0)}{parked}"),
    ]


def _of_service(session: Session, found: dict[str, Any]) -> None:
    screen = session.screen
    deployments = session.client.read(f"/v1/services/{found['id']}/deployments", limit=_DEPLOYMENTS)
    pairs = [
        ("name", found["name"]),
        ("status", "circuit_open" if found.get("circuit_open") else found["status"]),
        ("url", found["url"]),
        ("image", found["image"]),
        ("port", found["port"]),
        ("limits", f"{found['memory_mb']} MB, {found['cpu_count']} CPU, {found['replicas']} replicas"),
        ("variables", ", ".join(found.get("env_keys", []))),
        ("crashes", found["crash_count"] or ""),
        ("last error", found.get("last_error")),
        ("updated", time_of(found["updated_at"])),
        ("id", found["id"]),
    ]

    def show() -> None:
        screen.facts(pairs)
        screen.line()
        heads = ("NO.", "STATUS", "TRIGGER", "IMAGE", "CREATED", "ERROR", "ID")
        screen.table(heads, deployment_rows(deployments), "no deployments yet")

    screen.result({**found, "deployments": deployments}, show)
