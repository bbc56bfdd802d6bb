"""The docker engine keeps the contract of those that have a router in a container, and sees what happens to it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import ROUTER, Image, Network
from tests.engines.router_contract import RouterContract
from tests.parts.parts import Parts
from tests.real.engine.instances import a_network, a_spec

pytestmark = pytest.mark.real


class OnDocker:
    """Hands on a container that stands for the router."""

    def __init__(self, sdk: docker.DockerClient) -> None:
        self.sdk = sdk
        self.name = f"router-{secrets.token_hex(4)}"
        self.make_anew()

    @property
    def container(self) -> Container:
        """As it is now."""
        return self.sdk.containers.get(self.name)

    def id(self) -> str:
        return str(self.container.id)

    def address_in(self, network: Network) -> str:
        found = self.container.attrs["NetworkSettings"]["Networks"].get(network.name)
        return (found["IPAddress"] or (found["IPAMConfig"] or {}).get("IPv4Address", "?")) if found else ""

    def take_out(self, network: Network) -> None:
        self.sdk.networks.get(network.name).disconnect(self.container, force=True)

    def put_elsewhere(self, network: Network) -> str:
        self.sdk.networks.get(network.name).connect(self.container)
        return self.address_in(network)

    def make_anew(self) -> None:
        self.end()
        self.sdk.containers.run("hello:1", ["sleep", "600"], detach=True, name=self.name, runtime="runc", init=True)

    def stop(self) -> None:
        self.container.stop(timeout=5)

    def start(self) -> None:
        self.container.start()

    def end(self) -> None:
        try:
            self.container.remove(force=True)
        except NotFound:
            return


@pytest.fixture
def hands(sdk: docker.DockerClient) -> Iterator[OnDocker]:
    made = OnDocker(sdk)
    yield made
    made.end()


@pytest.fixture
async def engine(running: Parts, installation: str, tmp_path: Path, hands: OnDocker) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(installation, tmp_path, base_url=running.docker_host, router=hands.name)
    yield engine
    await engine.close()


@pytest.fixture
def network(installation: str) -> Network:
    return a_network(installation, 1)


class TestRouterContainer(RouterContract):
    """It keeps the contract."""


async def test_a_network_that_it_cannot_join_keeps_it_out_of_no_other(
    engine: DockerEngine, network: Network, installation: str, hands: OnDocker, hello: Image
) -> None:
    other = a_network(installation, 2)
    hands.stop()
    for each in (network, other):
        await engine.ensure_network(each)
    squatter = await engine.find_or_start(a_spec(network, address=network.router), hello)
    hands.start()
    seen = await engine.join_router([network, other])
    assert [(one.tenant, one.found) for one in seen.joined] == [(other.tenant, "")]
    assert network.name in seen.problem and "in use" in seen.problem.lower()
    await engine.remove(squatter.id)
    seen = await engine.join_router([network, other])
    assert ([one.tenant for one in seen.joined], seen.problem) == ([network.tenant], "")


async def test_a_watcher_hears_of_the_router_whatever_happens_to_it_and_of_no_other_container(
    engine: DockerEngine, network: Network, hands: OnDocker, sdk: docker.DockerClient
) -> None:
    await engine.ensure_network(network)
    changes = engine.watch()
    change = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(1)  # nobody says when a watch has begun
    for happens in (lambda: hands.take_out(network), hands.stop, hands.start, hands.make_anew):
        beside = sdk.containers.run("hello:1", ["true"], detach=True, name=f"{hands.name}-beside")
        beside.remove(force=True)
        assert not change.done()
        await asyncio.to_thread(happens)
        assert await asyncio.wait_for(change, 5) == ROUTER
        await asyncio.sleep(0.5)
        change = asyncio.ensure_future(anext(changes))
        while await asyncio.wait([change], timeout=0.5) != (set(), {change}):  # it may say so more than once
            change = asyncio.ensure_future(anext(changes))
    change.cancel()
    await asyncio.wait([change])
    await changes.aclose()
