"""An address that a container left is not the next one's: on neither network, and not for another process either."""

from pathlib import Path

import docker
import msgspec
import pytest

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Network
from tests.parts.parts import Parts
from tests.real.engine.instances import a_network, a_spec, ask

pytestmark = pytest.mark.real


@pytest.fixture
async def outside(engine: DockerEngine, installation: str) -> Network:
    """The network to the internet that goes with `network`."""
    inner = a_network(installation, 2)
    made = msgspec.structs.replace(
        inner, name=f"ah-egress-{installation}", bridge=f"aho{installation[-8:]}2", tenant="ten1", internal=False
    )
    await engine.ensure_network(made)
    return made


def addresses(sdk: docker.DockerClient, container_id: str) -> set[str]:
    networks = sdk.containers.get(container_id).attrs["NetworkSettings"]["Networks"]
    return {endpoint["IPAddress"] for endpoint in networks.values()}


async def test_each_container_in_a_row_has_addresses_that_none_before_had(
    engine: DockerEngine, network: Network, outside: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec, seen = a_spec(network, egress=outside), list[str]()
    for _ in range(4):
        instance = await engine.find_or_start(spec, hello)
        assert instance.host in addresses(sdk, instance.id)
        assert (await ask(instance, "/")).startswith("hello 1")
        seen += addresses(sdk, instance.id)
        await engine.remove(instance.id)
    assert len(seen) == len(set(seen)) == 8


async def test_after_a_restart_the_next_one_gets_what_is_free_the_longest(
    engine: DockerEngine, network: Network, hello: Image, running: Parts, tmp_path: Path
) -> None:
    gone = await engine.find_or_start(a_spec(network, "gone", name=f"{network.name}-gone"), hello)
    stays = await engine.find_or_start(a_spec(network, "stays", name=f"{network.name}-stays"), hello)
    await engine.remove(gone.id)
    again = DockerEngine(network.instance, tmp_path, base_url=running.docker_host)
    try:
        new = await again.find_or_start(a_spec(network, "new", name=f"{network.name}-new"), hello)
    finally:
        await again.close()
    assert len({gone.host, stays.host, new.host}) == 3
