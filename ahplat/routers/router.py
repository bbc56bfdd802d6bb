"""The port that every router implements: builtin, files, labels, and the simulated one of the tests.

A router is told where a service's requests go and says whether it has it. It knows hosts and addresses; it knows no
view, no event and no engine. Telling it twice changes nothing. The views say what is to be; a switch tells it what comes
next before they do (`lead`), and holds that against them until it has its outcome (`let_go`).
"""

from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

Finding = Literal["missing", "changed"]


class Route(Struct, frozen=True):
    """Where a service answers. `servers` are `host:port`, in order; without hosts it is not to be routed at all.

    `generation` differs wherever the instances do, for an address that one of them leaves is soon another's.
    """

    service_id: str
    hosts: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    generation: str = ""


class RouterStatus(Struct, frozen=True):
    """Which router, and whether it answers. `detail` is for people."""

    name: str
    available: bool
    version: str = ""
    detail: str = ""


class Router(Protocol):
    """See the module. What it raises is Unavailable: the router, or what it is told through, is not there for now."""

    name: str

    async def status(self) -> RouterStatus:
        """Never raises: a router that is away says so in the answer."""

    async def lead(self, intent: int, route: Route) -> None:
        """Tells it a route ahead of the views, which holds until `let_go(intent)`."""

    def let_go(self, intent: int) -> str | None:
        """The intent has its outcome: from here on the views say. Returns the service that it led, if it did."""

    async def shows(self, route: Route) -> bool:
        """Whether it sends the service's requests exactly there by now."""

    async def follow(self, read: Callable[[], list[Route]], everything: bool) -> list[tuple[str, Finding]]:
        """Tells it what the views say, of some services or of all that there are; `read` is asked when it is its turn.

        Returns what had been changed by somebody else since it was told last: (service id, what was found).
        """

    def labels(self, route: Route, port: int, network: str) -> dict[str, str]:
        """What an instance of the service carries for the router; empty where that does not look at instances."""

    async def close(self) -> None:
        """Lets go of connections. What it was told stays."""
