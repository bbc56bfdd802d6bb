"""Traefik by Docker's labels: what an instance carries says where it answers. Best effort at a switch.

Labels cannot change. So the new instance takes a share of the requests as soon as Traefik sees it, healthy or not, and
the old one keeps its share until it is gone: a switch loses requests, and a name that is added holds from the next
deployment on. Whose promise is that none is lost is the router told by files.
"""

import hashlib
from collections.abc import Callable

from ahplat.errors import Unavailable
from ahplat.routers.dynamic import Entry, name_of, rule_of, urls_of
from ahplat.routers.router import Finding, Route, RouterStatus
from ahplat.routers.traefik import TraefikApi


class LabelsRouter:
    """See the module."""

    name = "labels"

    def __init__(self, api: TraefikApi, entry: Entry) -> None:
        self.api = api
        self.entry = entry

    async def status(self) -> RouterStatus:
        try:
            version = await self.api.version()
        except Unavailable as error:
            return RouterStatus(self.name, False, detail=error.detail)
        return RouterStatus(self.name, True, version, "Traefik, told by labels: best effort at a switch")

    async def lead(self, intent: int, route: Route) -> None:
        """Nothing: the instances say it themselves."""

    def let_go(self, intent: int) -> str | None:
        return None

    async def shows(self, route: Route) -> bool:
        """Whether it has all that is wanted; what serves beside that for now ends with its container."""
        found = await self.api.service(f"{name_of(route.service_id)}@docker")
        return found is not None and urls_of(route) <= found.servers if route.hosts else True

    async def follow(self, read: Callable[[], list[Route]], everything: bool) -> list[tuple[str, Finding]]:
        return []

    def labels(self, route: Route, port: int, network: str) -> dict[str, str]:
        """One router for each set of names, so that two deployments never contradict each other; one service for both."""
        if not route.hosts or not port:
            return {}
        name = name_of(route.service_id)
        router = f"{name}-{hashlib.sha256(rule_of(route.hosts).encode()).hexdigest()[:8]}"
        labels = {
            "traefik.enable": "true",
            "traefik.docker.network": network,
            f"traefik.http.routers.{router}.rule": rule_of(route.hosts),
            f"traefik.http.routers.{router}.entrypoints": self.entry.point,
            f"traefik.http.routers.{router}.service": name,
            f"traefik.http.services.{name}.loadbalancer.server.port": str(port),
        }
        if self.entry.resolver:
            labels[f"traefik.http.routers.{router}.tls.certresolver"] = self.entry.resolver
        return labels

    async def close(self) -> None:
        await self.api.close()
