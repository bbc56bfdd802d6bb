"""Volumes outlive containers; addresses are given by us where they are asked for, also in networks that are older."""

import docker
import msgspec
import pytest

from ahplat.engines import bridges
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Mount, Network, Volume
from ahplat.errors import Unavailable
from tests.real.engine.instances import a_network, a_spec, ask

pytestmark = pytest.mark.real


@pytest.fixture
async def volume(engine: DockerEngine, network: Network, installation: str) -> Volume:
    volume = Volume(f"ah-vol-{installation}", installation, network.tenant)
    await engine.ensure_volume(volume)
    return volume


async def test_what_was_written_to_a_volume_is_there_in_the_next_container(
    engine: DockerEngine, network: Network, hello: Image, volume: Volume
) -> None:
    spec = a_spec(network, mounts=(Mount(volume.name, "/data"),))
    first = await engine.find_or_start(spec, hello)
    assert await ask(first, "/write?path=/data/kept") == "written\n"
    empty = (await engine.volume_bytes())[volume.name]
    await engine.remove(first.id)
    second = await engine.find_or_start(spec, hello)
    assert second.id != first.id
    assert "refused" in await ask(second, "/write?path=/data/kept/x")  # it is a file
    assert empty >= 1
    assert "refused" in await ask(second, "/write?path=/app/x")  # nothing else became writable


async def test_a_volume_in_use_is_not_removed(
    engine: DockerEngine, network: Network, hello: Image, volume: Volume
) -> None:
    instance = await engine.find_or_start(a_spec(network, mounts=(Mount(volume.name, "/data"),)), hello)
    with pytest.raises(Unavailable) as refused:
        await engine.remove_volume(volume)
    assert refused.value.code == "volume_in_use"
    await engine.remove(instance.id)
    await engine.remove_volume(volume)


async def test_a_fixed_address_is_kept_over_the_containers_end_while_others_come_and_go(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    base, _, last = network.subnet.partition("/")[0].rpartition(".")
    address = f"{base}.{int(last) + 62}"
    spec = a_spec(network, "db", address=address)
    fixed = await engine.find_or_start(spec, hello)
    assert fixed.host == address
    await engine.stop(fixed.id, 5)
    others = [await engine.find_or_start(a_spec(network, f"web{n}"), hello) for n in range(3)]
    assert all(int(one.host.rpartition(".")[2]) < int(last) + 32 for one in others)
    again = await engine.find_or_start(spec, hello)
    assert (again.id, again.host) == (fixed.id, address)


async def test_a_network_of_an_older_release_goes_on_and_gives_fixed_addresses(
    engine: DockerEngine, installation: str, hello: Image, sdk: docker.DockerClient
) -> None:
    network = a_network(installation, 2)
    older = bridges.create_arguments(network)
    older["ipam"]["Config"] = [{"Subnet": network.subnet}]
    sdk.api.create_network(**older)
    await engine.ensure_network(network)
    base, _, last = network.subnet.partition("/")[0].rpartition(".")
    address = f"{base}.{int(last) + 62}"
    instance = await engine.find_or_start(msgspec.structs.replace(a_spec(network), address=address), hello)
    assert instance.host == address
    assert (await ask(instance, "/")).startswith("hello 1")


async def test_names_that_a_spec_brings_are_known_in_the_container(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    instance = await engine.find_or_start(a_spec(network, hosts={"orders.db.internal": "10.128.0.62"}), hello)
    assert await ask(instance, "/resolve?host=orders.db.internal") == "10.128.0.62\n"
