"""What happened to tenants' networks."""

from events.event import Event


class NetworkRouterRejoined(Event, frozen=True, tag="network.router_rejoined"):
    """The router's container was not where it belongs in the tenant's network, and was put there.

    `container` is its id: one that was made anew has another than before. `found` is the address at which it was found
    in the network, "" where it was not in it.
    """

    container: str
    found: str


EVENTS = (NetworkRouterRejoined,)
