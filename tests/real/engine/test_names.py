"""Names: what is adopted, what is replaced, what is left alone, and replies that get lost."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Network
from ahplat.errors import EngineAway, Rejected
from tests.parts.parts import Parts
from tests.real.beside import containers_named, wipe
from tests.real.engine.instances import a_network, a_spec

pytestmark = pytest.mark.real


async def test_what_runs_is_adopted_and_what_ended_is_started_again(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec = a_spec(network)
    first = await engine.find_or_start(spec, hello)
    again = msgspec.structs.replace(spec, identity=msgspec.structs.replace(spec.identity, attempt=2))
    assert await engine.find_or_start(again, hello) == first
    await engine.stop(first.id, 5)
    assert (await engine.find_or_start(again, hello)).id == first.id
    sdk.containers.get(first.id).pause()
    assert (await engine.find_or_start(again, hello)).state == "running"
    assert len(containers_named(sdk, spec.name)) == 1


@pytest.mark.parametrize("ended", [False, True])
async def test_what_was_renamed_is_adopted_under_its_own_name(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient, ended: bool
) -> None:
    spec = a_spec(network)
    first = await engine.find_or_start(spec, hello)
    other = await engine.find_or_start(a_spec(network, "other"), hello)
    sdk.containers.get(first.id).rename(f"{spec.name}-else")
    assert (await engine.inspect(first.id)).name == f"{spec.name}-else"  # type: ignore[union-attr]
    if ended:
        await engine.stop(first.id, 5)
    again = msgspec.structs.replace(spec, identity=msgspec.structs.replace(spec.identity, attempt=2))
    found = await engine.find_or_start(again, hello)
    assert (found.id, found.name, found.state) == (first.id, spec.name, "running")
    assert [one.id for one in containers_named(sdk, spec.name)] == [first.id]
    assert await engine.inspect(other.id) == other


async def test_what_was_taken_off_its_network_is_replaced(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec = a_spec(network)
    first = await engine.find_or_start(spec, hello)
    sdk.networks.get(network.name).disconnect(first.id, force=True)
    second = await engine.find_or_start(spec, hello)
    assert second.id != first.id
    assert second.host
    assert [found.id for found in containers_named(sdk, spec.name)] == [second.id]


@pytest.mark.parametrize("ended", [False, True])
async def test_what_stood_on_a_network_that_was_made_again_is_replaced(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient, ended: bool
) -> None:
    spec = a_spec(network)
    first = await engine.find_or_start(spec, hello)
    if ended:
        await engine.stop(first.id, 5)
    else:
        sdk.networks.get(network.name).disconnect(first.id, force=True)
    sdk.networks.get(network.name).remove()
    await engine.ensure_network(network)
    second = await engine.find_or_start(spec, hello)
    assert second.state == "running"
    assert second.host
    assert [found.id for found in containers_named(sdk, spec.name)] == [second.id]


async def test_a_strangers_container_of_that_name_is_not_touched(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec = a_spec(network)
    sdk.images.pull("hang:1")
    theirs = sdk.containers.run("hang:1", detach=True, name=spec.name)
    assert theirs.id
    try:
        with pytest.raises(Rejected, match="name_taken"):
            await engine.find_or_start(spec, hello)
        assert await engine.inspect(theirs.id) is None
        await engine.stop(theirs.id, 0)
        await engine.remove(theirs.id)
        assert await engine.tail(theirs.id, 5) == ""
        theirs.reload()
        assert theirs.status == "running"
    finally:
        theirs.remove(force=True)


async def test_a_second_installation_is_left_alone(
    engine: DockerEngine, running: Parts, network: Network, hello: Image, sdk: docker.DockerClient, tmp_path: Path
) -> None:
    mine = await engine.find_or_start(a_spec(network), hello)
    second = f"test{secrets.token_hex(4)}"
    other = DockerEngine(second, tmp_path, base_url=running.docker_host)
    try:
        their_network = a_network(second, 2)
        await other.ensure_network(their_network)
        theirs = await other.find_or_start(a_spec(their_network), hello)
        assert [found.id for found in await other.list()] == [theirs.id]
        assert [found.id for found in await engine.list()] == [mine.id]
        await other.remove(mine.id)
        same_name = msgspec.structs.replace(a_spec(their_network), name=mine.name)
        with pytest.raises(Rejected, match="name_taken"):
            await other.find_or_start(same_name, hello)
        assert (await engine.inspect(mine.id)) == mine
    finally:
        await other.close()
        wipe(sdk, second)


async def test_a_listing_shows_one_service_or_all_and_leaves_out_what_is_not_whole(
    engine: DockerEngine, installation: str, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    one = await engine.find_or_start(a_spec(network, "one"), hello)
    two = await engine.find_or_start(a_spec(network, "two"), hello)
    await engine.stop(two.id, 5)
    sdk.containers.create("hello:1", labels={"ah.instance": installation, "ah.service": "one"})
    assert await engine.list("one") == [one]
    assert {found.id: found.state for found in await engine.list()} == {one.id: "running", two.id: "exited"}
    assert await engine.list("none") == []


class Lost(Exception):
    """The test's own: stands for a reply that did not come."""


@pytest.mark.parametrize("path", ["/containers/create", "/start"])
async def test_a_lost_reply_makes_no_second_container(
    engine: DockerEngine,
    network: Network,
    hello: Image,
    sdk: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    spec = a_spec(network)
    with losing_the_reply_to(path, monkeypatch), pytest.raises(EngineAway):
        await engine.find_or_start(spec, hello)
    (made,) = containers_named(sdk, spec.name)
    started = await engine.find_or_start(spec, hello)
    assert (started.id, started.state) == (made.id, "running")
    assert len(containers_named(sdk, spec.name)) == 1


@contextmanager
def losing_the_reply_to(path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The request goes out and is carried out; the answer is not heard."""
    from docker.transport import UnixHTTPAdapter
    from requests.exceptions import ReadTimeout

    send = UnixHTTPAdapter.send

    def deaf(self: Any, request: Any, **kwargs: Any) -> Any:
        response = send(self, request, **kwargs)
        if path in request.url:
            raise ReadTimeout("the reply was lost")
        return response

    with monkeypatch.context() as patched:
        patched.setattr(UnixHTTPAdapter, "send", deaf)
        yield


async def test_a_conflict_that_is_not_true_is_looked_into(
    engine: DockerEngine, network: Network, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker import APIClient
    from docker.errors import APIError
    from requests import Response

    create = APIClient.create_container_from_config
    calls = []

    def conflicting(self: Any, config: Any, name: str) -> Any:
        calls.append(name)
        if len(calls) == 1:
            response = Response()
            response.status_code = 409
            raise APIError("conflict", response, "the name is already in use")
        return create(self, config, name)

    monkeypatch.setattr(APIClient, "create_container_from_config", conflicting)
    instance = await engine.find_or_start(a_spec(network), hello)
    assert (instance.state, len(calls)) == ("running", 2)
