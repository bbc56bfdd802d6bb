"""Images that Docker keeps: found by their digest, gone with the tags by which they came, and never from under a container."""

import docker
import pytest

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Network
from tests.real.beside import REGISTRY, pushed
from tests.real.engine.instances import a_spec, never

pytestmark = pytest.mark.real


async def test_an_image_goes_with_its_tag_and_not_while_a_container_has_it(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient
) -> None:
    reference = pushed(sdk, "hello:1", f"{REGISTRY}/test/garbage", ["ENV MARK=garbage"])
    image = await engine.fetch(reference, never)
    missing = image.pinned.replace(image.digest, "sha256:" + "0" * 64)
    sizes = await engine.image_sizes([image.pinned, missing])
    assert list(sizes) == [image.pinned]
    assert sizes[image.pinned] > 1_000_000
    instance = await engine.find_or_start(a_spec(network), image)
    assert not await engine.remove_image(image.pinned, [reference])
    await engine.stop(instance.id, 0)
    assert not await engine.remove_image(image.pinned, [reference]), "a container that ended has it, too"
    await engine.remove(instance.id)
    assert await engine.remove_image(image.pinned, [reference])
    assert await engine.image_sizes([image.pinned]) == {}
    assert await engine.remove_image(image.pinned, [reference]), "it is gone already"


async def test_a_tag_of_somebody_elses_keeps_the_image(engine: DockerEngine, sdk: docker.DockerClient) -> None:
    reference = pushed(sdk, "hello:1", f"{REGISTRY}/test/shared", ["ENV MARK=shared"])
    image = await engine.fetch(reference, never)
    kept = sdk.images.get(reference)
    kept.tag(f"{REGISTRY}/test/somebody-elses", "1")
    await engine.remove_image(image.pinned, [reference])
    assert sdk.images.get(f"{REGISTRY}/test/somebody-elses:1").id == kept.id
