"""Watching containers and the daemon itself: changes, versions, and a daemon that is away or hangs."""

import asyncio
import threading
import time
from contextlib import suppress

import docker
import pytest

from ahplat import limits
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Network
from ahplat.errors import EngineAway
from tests.real.beside import dockerd_hanging, dockerd_stopped
from tests.real.engine.instances import a_spec, never

pytestmark = pytest.mark.real


async def test_a_watcher_sees_a_kill(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    changes = engine.watch()
    next_change = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(1)
    assert not next_change.done()
    sdk.containers.get(instance.id).kill()
    assert await asyncio.wait_for(next_change, 5) == "svc"
    await changes.aclose()


async def test_a_watcher_sees_a_container_taken_off_its_network(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    changes = engine.watch()
    next_change = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(1)
    sdk.networks.get(network.name).disconnect(instance.id, force=True)
    assert await asyncio.wait_for(next_change, 5) == "svc"
    await changes.aclose()


async def test_a_watcher_sees_nothing_of_strangers(engine: DockerEngine, sdk: docker.DockerClient) -> None:
    changes = engine.watch()
    next_change = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.5)
    sdk.containers.run("crash:1", detach=True, labels={"ah.instance": "another", "ah.service": "x"}).remove(force=True)
    await asyncio.sleep(0.5)
    assert not next_change.done()
    next_change.cancel()
    with suppress(asyncio.CancelledError):
        await next_change
    await changes.aclose()


async def test_closing_a_watcher_ends_its_thread(engine: DockerEngine) -> None:
    changes = engine.watch()
    next_change = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.5)
    assert "docker-events" in {thread.name for thread in threading.enumerate()}
    next_change.cancel()
    with suppress(asyncio.CancelledError):
        await next_change
    for _ in range(50):
        if "docker-events" not in {thread.name for thread in threading.enumerate()}:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the thread lives on")


async def test_the_status_tells_both_versions(engine: DockerEngine, sdk: docker.DockerClient) -> None:
    status = await engine.status()
    assert (status.name, status.available, status.isolated, status.detail) == ("docker", True, True, "")
    assert status.version == sdk.version()["Version"]
    assert status.runtime != ""


@pytest.mark.alone
async def test_a_daemon_that_hangs_counts_as_away_soon(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await engine.status()).available
    monkeypatch.setattr(limits, "ENGINE_STATUS_S", 0.5)
    with dockerd_hanging():
        began = time.monotonic()
        several = await asyncio.gather(*(engine.status() for _ in range(limits.ENGINE_THREADS + 1)))
        assert time.monotonic() - began < 2
        assert {(status.available, status.detail) for status in several} == {
            (False, "Docker has not answered for 0.5 s")
        }
    assert (await engine.status()).available


@pytest.mark.alone
async def test_a_daemon_that_is_away_is_said_to_be_away_and_found_again(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    spec = a_spec(network)
    instance = await engine.find_or_start(spec, hello)
    changes = engine.watch()
    next_change = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.5)
    with dockerd_stopped():
        began = time.monotonic()
        with pytest.raises(EngineAway):
            while True:
                await asyncio.wait_for(next_change, 5)
                next_change = asyncio.ensure_future(anext(changes))
        for call in (
            engine.fetch("hello:1", never),
            engine.ensure_network(network),
            engine.remove_network(network),
            engine.find_or_start(spec, hello),
            engine.inspect(instance.id),
            engine.list(),
            engine.stop(instance.id, 1),
            engine.remove(instance.id),
            engine.tail(instance.id, 1),
            anext(engine.watch()),
        ):
            with pytest.raises(EngineAway):
                await call
        assert not (await engine.status()).available
        assert time.monotonic() - began < 10
    again = await engine.find_or_start(spec, hello)
    assert (again.id, again.state) == (instance.id, "running")
