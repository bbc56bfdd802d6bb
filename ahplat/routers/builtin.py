"""The built-in router: the API's own port forwards, by the routes view (ahplat/api/forward.py). It has all at once."""

from collections.abc import Callable

from ahplat.routers.router import Finding, Route, RouterStatus


class BuiltinRouter:
    """See the module: there is nobody to be told."""

    name = "builtin"

    async def status(self) -> RouterStatus:
        return RouterStatus(self.name, True, detail="built in: the API's port forwards to services")

    async def lead(self, intent: int, route: Route) -> None:
        """Nothing: it reads the view."""

    def let_go(self, intent: int) -> str | None:
        return None

    async def shows(self, route: Route) -> bool:
        return True

    async def follow(self, read: Callable[[], list[Route]], everything: bool) -> list[tuple[str, Finding]]:
        return []

    def labels(self, route: Route, port: int, network: str) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        """Nothing is open."""
