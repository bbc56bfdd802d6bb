"""The simulated engine keeps the contract of those that have a router in a container."""

import pytest

from ahplat.engines.engine import Network
from tests.engines.contract import EngineFixtures
from tests.engines.router_contract import Hands, RouterContract
from tests.engines.simulated import SimulatedEngine, SimulatedHost


class OnHost:
    """Hands on the simulated host."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.made = 1
        host.router = "r1"

    def id(self) -> str:
        return f"r{self.made}"

    def address_in(self, network: Network) -> str:
        return self.host.router_in.get(network.name, "")

    def take_out(self, network: Network) -> None:
        del self.host.router_in[network.name]

    def put_elsewhere(self, network: Network) -> str:
        elsewhere = self.host.router_in[network.name] = "10.128.7.2"
        return elsewhere

    def make_anew(self) -> None:
        self.made += 1
        self.host.router = self.id()
        self.host.router_in.clear()

    def stop(self) -> None:
        self.host.router = ""

    def start(self) -> None:
        self.host.router = self.id()


class TestSimulatedRouter(EngineFixtures, RouterContract):
    @pytest.fixture
    def host(self) -> SimulatedHost:
        return SimulatedHost()

    @pytest.fixture
    def engine(self, host: SimulatedHost, network: Network) -> SimulatedEngine:
        return SimulatedEngine(network.instance, host)

    @pytest.fixture
    def hands(self, host: SimulatedHost) -> Hands:
        return OnHost(host)
