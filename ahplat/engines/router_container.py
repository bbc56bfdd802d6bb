"""The router where it runs as a container: in every tenant's internal network, at an address kept for it, in no other.

Its membership is desired state. A container that was made anew has a new id and is in none of the networks; one that
somebody took out, or put in at an address that services get, is put where it belongs. It must be able to join while it
runs, which runc can and gVisor cannot. Blocking, and not for two threads at once.
"""

from docker import APIClient
from docker.errors import APIError

from ahplat.engines import bridges, container, lifecycle
from ahplat.engines.engine import Network, RouterJoined, RouterSeen


def join(client: APIClient, name: str, wanted: list[Network]) -> RouterSeen:
    """Has it be in each of those that are there. One that it cannot join keeps it out of no other."""
    router = lifecycle.look(client, name)
    if router is None or router.status != "running":
        how = "is not there" if router is None else f"is {router.status}"
        return RouterSeen(problem=f"the container {name} {how}: no service is reached through it")
    joined, problem = [], ""
    for network_id, network in bridges.standing(client, wanted):
        found = container.address_in(router, network)
        if found == network.router:
            continue
        try:
            if found:  # without an address it is what Docker keeps of a try that failed: it can be joined, and not left
                client.disconnect_container_from_network(router.id, network_id, force=True)
            client.connect_container_to_network(router.id, network_id, ipv4_address=network.router)
        except APIError as error:  # either of them went meanwhile, or somebody has the address: the next look tells
            problem = f"the container {name} cannot be in the network {network.name}: {error.explanation}"
        else:
            joined.append(RouterJoined(network.tenant, router.id, found))
    return RouterSeen(joined, problem)


def leave(client: APIClient, name: str, network: Network) -> None:
    """Takes it out of a network that is to go, else one that is stopped could not start again."""
    router = lifecycle.look(client, name)
    if router is not None and container.joined(router, network):
        for found in bridges.find(client, network):
            client.disconnect_container_from_network(router.id, found.id, force=True)
