"""Images: pulled with their digest, refused, cut short."""

import asyncio

import docker
import msgspec
import pytest

from ahplat.engines import pulls
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Network
from ahplat.errors import Rejected, Unavailable
from tests.real.beside import REGISTRY, pushed
from tests.real.engine.instances import a_spec, never
from tests.real.engine.slow_registry import a_slow_registry

pytestmark = pytest.mark.real


async def test_a_pull_tells_the_digest_and_the_pinned_form_runs(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient
) -> None:
    image = await engine.fetch("hello:1", never)
    assert image.pinned == f"hello@{image.digest}"
    assert image.pinned in sdk.images.get("hello:1").attrs["RepoDigests"]
    instance = await engine.find_or_start(a_spec(network), image)
    assert sdk.containers.get(instance.id).attrs["Config"]["Image"] == image.pinned


async def test_an_image_is_the_same_by_each_of_its_names(engine: DockerEngine) -> None:
    names = ("hello:1", "library/hello:1", "docker.io/hello:1", "docker.io/library/hello:1")
    assert len({(await engine.fetch(name, never)).pinned for name in names}) == 1


async def test_a_tag_is_pulled_anew_and_a_digest_that_is_there_is_not(
    engine: DockerEngine, sdk: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = f"{REGISTRY}/test/moving"
    reference = pushed(sdk, "hello:1", repository, ["ENV GENERATION=1"])
    first = await engine.fetch(reference, never)
    pushed(sdk, "hello:1", repository, ["ENV GENERATION=2"])
    sdk.images.get(first.pinned).tag(repository, "1")  # what is here stays the old one: only a pull brings the new
    second = await engine.fetch(reference, never)
    assert second.digest != first.digest
    monkeypatch.setattr(pulls.Pull, "run", lambda *_: pytest.fail("it was pulled"))
    assert await engine.fetch(first.pinned, never) == msgspec.structs.replace(first, reference=first.pinned)


@pytest.mark.parametrize("reference", [f"{REGISTRY}/library/hello:nosuchtag", f"{REGISTRY}/no/such:1"])
async def test_an_image_that_does_not_exist_is_said_to_be_missing(engine: DockerEngine, reference: str) -> None:
    with pytest.raises(Rejected, match="image_not_found"):
        await engine.fetch(reference, never)


async def test_a_registry_that_does_not_answer_is_tried_again_later(engine: DockerEngine) -> None:
    with pytest.raises(Unavailable, match="registry_unavailable"):
        await engine.fetch("127.0.0.1:9/x:1", never)


@pytest.mark.parametrize("reference", ["labelled:1", "traefik-labelled:1"])
async def test_an_image_with_our_labels_is_refused(engine: DockerEngine, reference: str) -> None:
    with pytest.raises(Rejected, match="image_forbidden"):
        await engine.fetch(reference, never)


async def test_an_image_whose_command_does_not_exist_is_unusable_and_leaves_nothing(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient
) -> None:
    reference = pushed(sdk, "hello:1", f"{REGISTRY}/test/nocommand", ['CMD ["/no/such/program"]'])
    image = await engine.fetch(reference, never)
    with pytest.raises(Rejected, match="image_unusable"):
        await engine.find_or_start(a_spec(network), image)
    assert await engine.list() == []


async def test_an_error_in_the_stream_of_a_pull_is_an_error(engine: DockerEngine) -> None:
    with a_slow_registry(layer_code=404) as (address, asked, _), pytest.raises(Rejected, match="image_not_found"):
        await engine.fetch(f"{address}/slow:3", never)
    assert asked.is_set()


async def test_a_cancelled_pull_ends_at_once_here_and_in_docker(engine: DockerEngine, sdk: docker.DockerClient) -> None:
    with a_slow_registry() as (address, asked, gone):
        pull = asyncio.create_task(engine.fetch(f"{address}/slow:1", lambda: asked.is_set()))
        with pytest.raises(Rejected, match="cancelled"):
            await asyncio.wait_for(pull, 30)
        assert await asyncio.to_thread(gone.wait, 10), "Docker still waits for the layer"


async def test_a_pull_whose_caller_is_cancelled_ends_too(engine: DockerEngine) -> None:
    with a_slow_registry() as (address, asked, gone):
        pull = asyncio.create_task(engine.fetch(f"{address}/slow:2", never))
        assert await asyncio.to_thread(asked.wait, 30)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        assert await asyncio.to_thread(gone.wait, 10), "Docker still waits for the layer"
