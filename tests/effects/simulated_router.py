"""A router in memory: told like a real one, and away, slow, stubborn or meddled with where a test wants it."""

from collections.abc import Callable

from ahplat.errors import Unavailable
from ahplat.routers.router import Finding, Route, RouterStatus


class SimulatedRouter:
    """`told` is what it was told, `has` what it sends requests by; it outlives the servers that tell it.

    `away`: neither its API nor anything it is told comes through. `stubborn`: it is told, and stays as it was.
    `blind`: it does as it is told, and its API never shows it.
    """

    name = "simulated"

    def __init__(self) -> None:
        self.told: dict[str, Route] = {}
        self.has: dict[str, Route] = {}
        self.away = False
        self.stubborn = False
        self.blind = False
        self.meddled: dict[str, Finding] = {}
        self.history: list[Route] = []
        self._led: dict[str, tuple[int, Route]] = {}

    def restarted(self) -> None:
        """Another server tells it from now on."""
        self._led.clear()

    def come_back(self) -> None:
        """It is there again, and reads what it was told meanwhile."""
        self.away = False
        for service_id in list(self.told):
            self._take(service_id)

    def servers(self, service_id: str) -> tuple[str, ...]:
        """Where it sends a service's requests."""
        return self.has[service_id].servers if service_id in self.has else ()

    async def status(self) -> RouterStatus:
        return RouterStatus(self.name, not self.away)

    async def lead(self, intent: int, route: Route) -> None:
        self._led[route.service_id] = (intent, route)
        self._tell(route)

    def let_go(self, intent: int) -> str | None:
        for service_id, (led_by, _) in self._led.items():
            if led_by == intent:
                del self._led[service_id]
                return service_id
        return None

    async def shows(self, route: Route) -> bool:
        if self.away:
            raise Unavailable("router_away", "nobody answers")
        return not self.blind and self.has.get(route.service_id, Route(route.service_id)) == route

    async def follow(self, read: Callable[[], list[Route]], everything: bool) -> list[tuple[str, Finding]]:
        for route in read():
            self._tell(self._led[route.service_id][1] if route.service_id in self._led else route)
        found, self.meddled = list(self.meddled.items()), {}
        return found

    def labels(self, route: Route, port: int, network: str) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        """Nothing is open."""

    def _tell(self, route: Route) -> None:
        if self.told.get(route.service_id, Route(route.service_id)) != route:
            self.history.append(route)
        self.told[route.service_id] = route
        if not self.away and not self.stubborn:
            self._take(route.service_id)

    def _take(self, service_id: str) -> None:
        if self.told[service_id].hosts:
            self.has[service_id] = self.told[service_id]
        else:
            self.has.pop(service_id, None)
