"""A container with egress is on both networks before it starts, also where an earlier attempt was cut off between."""

import docker
import msgspec
import pytest

from ahplat.engines import container, lifecycle, resolver
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Network
from ahplat.errors import Unavailable
from tests.real.engine.instances import a_network, a_spec, ask

pytestmark = pytest.mark.real


@pytest.fixture
def outside(installation: str) -> Network:
    """The network to the internet that goes with `network`; not made yet."""
    inner = a_network(installation, 2)
    return msgspec.structs.replace(
        inner, name=f"ah-egress-{installation}", bridge=f"aho{installation[-8:]}2", tenant="ten1", internal=False
    )


def networks_of(sdk: docker.DockerClient, container_id: str) -> set[str]:
    return set(sdk.containers.get(container_id).attrs["NetworkSettings"]["Networks"])


async def test_it_is_on_both_networks_and_reached_over_its_tenants(
    engine: DockerEngine, network: Network, outside: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    await engine.ensure_network(outside)
    instance = await engine.find_or_start(a_spec(network, egress=outside), hello)
    assert networks_of(sdk, instance.id) == {network.name, outside.name}
    assert (
        instance.host == sdk.containers.get(instance.id).attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]
    )
    assert (await ask(instance, "/")).startswith("hello 1")


async def test_what_was_made_and_not_let_out_is_let_out_before_it_starts(
    engine: DockerEngine, network: Network, outside: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    await engine.ensure_network(outside)
    spec = a_spec(network, egress=outside)
    config = container.create_config(spec, hello, resolver.path_of(engine._resolvers, outside))
    made = lifecycle.create(sdk.api, spec.name, hello.pinned, config)
    instance = await engine.find_or_start(spec, hello)
    assert instance.id == made
    assert networks_of(sdk, instance.id) == {network.name, outside.name}


async def test_what_runs_and_is_no_longer_let_out_is_replaced(
    engine: DockerEngine, network: Network, outside: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    await engine.ensure_network(outside)
    spec = a_spec(network, egress=outside)
    first = await engine.find_or_start(spec, hello)
    assert (await engine.find_or_start(spec, hello)).id == first.id
    sdk.networks.get(outside.name).disconnect(first.id)
    second = await engine.find_or_start(spec, hello)
    assert second.id != first.id
    assert networks_of(sdk, second.id) == {network.name, outside.name}


async def test_without_its_network_nothing_starts_and_nothing_is_left(
    engine: DockerEngine, network: Network, outside: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    await engine.ensure_network(outside)
    sdk.networks.get(outside.name).remove()
    with pytest.raises(Unavailable, match="network ah-egress"):
        await engine.find_or_start(a_spec(network, egress=outside), hello)
    assert await engine.list() == []
