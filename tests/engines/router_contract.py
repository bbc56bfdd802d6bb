"""What every engine that was told of a router's container must do: the simulated one, and Docker, pass this.

A test module derives a class from `RouterContract` and gives the fixtures `engine`, told of a router that runs and is in
no network of ours, `network`, which does not stand yet, and `hands`.
"""

from typing import Protocol

from msgspec import structs

from ahplat.engines.engine import Engine, Network, RouterJoined, RouterSeen


class Hands(Protocol):
    """What somebody does to the router's container without us. Blocking."""

    def id(self) -> str: ...

    def address_in(self, network: Network) -> str:
        """Where it is, or will be once it starts; "" where it is not."""

    def take_out(self, network: Network) -> None: ...

    def put_elsewhere(self, network: Network) -> str:
        """Puts it in at another address than its own, and returns that."""

    def make_anew(self) -> None: ...

    def stop(self) -> None: ...

    def start(self) -> None: ...


class RouterContract:
    async def test_it_joins_a_network_that_is_made_and_that_is_nothing_to_tell(
        self, engine: Engine, network: Network, hands: Hands
    ) -> None:
        await engine.ensure_network(network)
        assert hands.address_in(network) == network.router
        assert await engine.join_router([network]) == RouterSeen()

    async def test_one_that_is_not_in_a_network_is_put_into_it_once(
        self, engine: Engine, network: Network, hands: Hands
    ) -> None:
        await engine.ensure_network(network)
        hands.take_out(network)
        await engine.ensure_network(network)
        assert hands.address_in(network) == ""  # a look repairs, and says so
        seen = await engine.join_router([network])
        assert seen == RouterSeen([RouterJoined(network.tenant, hands.id(), "")])
        assert hands.address_in(network) == network.router
        assert await engine.join_router([network]) == RouterSeen()

    async def test_one_at_another_address_is_put_to_its_own(
        self, engine: Engine, network: Network, hands: Hands
    ) -> None:
        await engine.ensure_network(network)
        hands.take_out(network)
        elsewhere = hands.put_elsewhere(network)
        seen = await engine.join_router([network])
        assert seen == RouterSeen([RouterJoined(network.tenant, hands.id(), elsewhere)])
        assert hands.address_in(network) == network.router

    async def test_one_that_was_made_anew_is_put_into_all_networks(
        self, engine: Engine, network: Network, hands: Hands
    ) -> None:
        await engine.ensure_network(network)
        old = hands.id()
        hands.make_anew()
        seen = await engine.join_router([network])
        assert seen == RouterSeen([RouterJoined(network.tenant, hands.id(), "")])
        assert hands.id() != old

    async def test_one_that_does_not_run_is_said_and_keeps_no_network_from_being_made(
        self, engine: Engine, network: Network, hands: Hands
    ) -> None:
        hands.stop()
        await engine.ensure_network(network)
        seen = await engine.join_router([network])
        assert not seen.joined and "no service is reached through it" in seen.problem
        hands.start()
        assert await engine.join_router([network]) == RouterSeen([RouterJoined(network.tenant, hands.id(), "")])

    async def test_networks_that_do_not_stand_are_passed_over(
        self, engine: Engine, network: Network, hands: Hands
    ) -> None:
        assert await engine.join_router([]) == await engine.join_router([network]) == RouterSeen()

    async def test_it_is_in_no_network_to_the_internet(self, engine: Engine, network: Network, hands: Hands) -> None:
        outside = structs.replace(
            network, name=f"{network.name}-out", bridge=f"aho{network.bridge[-8:]}", internal=False
        )
        await engine.ensure_network(outside)
        assert hands.address_in(outside) == ""

    async def test_it_leaves_a_network_that_goes_and_starts_again_though_it_was_stopped(
        self, engine: Engine, network: Network, hands: Hands
    ) -> None:
        await engine.ensure_network(network)
        hands.stop()
        await engine.remove_network(network)
        assert hands.address_in(network) == ""
        hands.start()
        assert await engine.join_router([network]) == RouterSeen()
