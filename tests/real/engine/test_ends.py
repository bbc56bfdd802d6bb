"""How containers end, and what they say of it."""

import asyncio
import time

import pytest

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Network
from tests.real.engine.instances import a_spec, ask, never, until_exited

pytestmark = pytest.mark.real


async def test_a_container_that_exits_at_once_is_returned_with_its_code_and_its_words(
    engine: DockerEngine, network: Network
) -> None:
    instance = await engine.find_or_start(a_spec(network), await engine.fetch("crash:1", never))
    ended = await until_exited(engine, instance.id)
    assert (ended.exit_code, ended.oom_killed, ended.host, ended.port) == (3, False, "", 0)
    assert await engine.tail(ended.id, 50) == "one\ntwo\nthree\n"
    assert await engine.tail(ended.id, 2) == "two\nthree\n"


async def test_a_container_that_is_deaf_to_sigterm_is_killed_after_its_grace(
    engine: DockerEngine, network: Network
) -> None:
    instance = await engine.find_or_start(a_spec(network), await engine.fetch("deaf:1", never))
    await asyncio.sleep(1)
    began = time.monotonic()
    await engine.stop(instance.id, 2)
    assert 1.5 < time.monotonic() - began < 10
    ended = await engine.inspect(instance.id)
    assert ended is not None
    assert (ended.state, ended.exit_code) == ("exited", 137)
    await engine.stop(instance.id, 2)


async def test_a_stop_that_is_cancelled_ends_at_once(engine: DockerEngine, network: Network) -> None:
    instance = await engine.find_or_start(a_spec(network), await engine.fetch("deaf:1", never))
    await asyncio.sleep(1)
    stop = asyncio.create_task(engine.stop(instance.id, 300))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    assert time.monotonic() - began < 2
    found = await engine.inspect(instance.id)
    assert found is not None
    assert found.state == "running"


async def test_a_container_that_listens_to_sigterm_drains(engine: DockerEngine, network: Network, hello: Image) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    await ask(instance, "/healthz")
    await engine.stop(instance.id, 10)
    ended = await engine.inspect(instance.id)
    assert ended is not None
    assert ended.exit_code == 0
    assert (await engine.tail(instance.id, 1)) == "drained\n"


async def test_what_is_gone_is_gone_without_an_error(engine: DockerEngine, network: Network, hello: Image) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    await asyncio.gather(*(engine.remove(instance.id) for _ in range(4)))
    await engine.remove(instance.id)
    await engine.stop(instance.id, 1)
    assert await engine.inspect(instance.id) is None
    assert await engine.tail(instance.id, 5) == ""


@pytest.mark.parametrize(
    ("reference", "health"), [("healthcheck-good:1", "healthy"), ("healthcheck-bad:1", "unhealthy")]
)
async def test_the_images_own_healthcheck_is_told(
    engine: DockerEngine, network: Network, reference: str, health: str
) -> None:
    instance = await engine.find_or_start(a_spec(network), await engine.fetch(reference, never))
    assert instance.health == "starting"
    for _ in range(200):
        instance = await engine.inspect(instance.id) or instance
        if instance.health != "starting":
            break
        await asyncio.sleep(0.1)
    assert instance.health == health
