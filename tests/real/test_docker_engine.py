"""The docker engine against a real dockerd with runsc and a registry: what it promises, seen from outside."""

import asyncio
import hashlib
import http.server
import ipaddress
import json
import secrets
import socket
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

import docker
import msgspec
import pytest
from docker.models.containers import Container

from ahplat.engines import firewall, pulls
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Engine, Identity, Image, Instance, Network, Spec
from ahplat.errors import EngineAway, Rejected, Unavailable
from tests.engines.contract import EngineContract
from tests.parts import docker as dockerd
from tests.parts import parts
from tests.parts.parts import Parts

pytestmark = pytest.mark.real

REGISTRY = "127.0.0.1:5000"
HARDENED = "rw,noexec,nosuid,nodev"


@pytest.fixture(scope="session")
def running() -> Iterator[Parts]:
    """The parts; of the images that these tests make nothing is left in Docker afterwards."""
    up = parts.up()
    yield up
    client = docker.DockerClient(base_url=up.docker_host)
    for image in {found.id: found for found in client.images.list(f"{REGISTRY}/test/*", all=True)}.values():
        client.images.remove(image.id, force=True)
    client.close()


@pytest.fixture
def sdk(running: Parts) -> Iterator[docker.DockerClient]:
    """Docker as the tests look at it, beside the engine."""
    client = docker.DockerClient(base_url=running.docker_host)
    yield client
    client.close()


@pytest.fixture
def installation(sdk: docker.DockerClient) -> Iterator[str]:
    """A new installation, of which nothing is left afterwards."""
    name = f"test{secrets.token_hex(4)}"
    yield name
    wipe(sdk, name)


@pytest.fixture
async def engine(running: Parts, installation: str) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(installation, base_url=running.docker_host)
    yield engine
    await engine.close()


@pytest.fixture
async def network(engine: DockerEngine, installation: str) -> Network:
    network = a_network(installation, 1)
    await engine.ensure_network(network)
    return network


@pytest.fixture
async def hello(engine: DockerEngine) -> Image:
    return await engine.fetch("hello:1", never)


def wipe(sdk: docker.DockerClient, installation: str) -> None:
    for container in sdk.containers.list(all=True, filters={"label": f"ah.instance={installation}"}):
        container.remove(force=True, v=True)
    for network in sdk.networks.list(filters={"label": f"ah.instance={installation}"}):
        network.remove()


def a_network(installation: str, number: int, tenant: str | None = None) -> Network:
    """Each installation and number has a range of its own, in a part of the pool that nobody else here uses."""
    offset = (int(installation[-6:], 16) % 1024 * 4 + number) * 64
    tenant = tenant or f"ten{number}"
    return Network(
        name=f"ah-tenant-{installation}-{tenant}",
        bridge=f"ah{installation[-8:]}{number}",
        subnet=f"{ipaddress.ip_address('10.140.0.0') + offset}/26",
        instance=installation,
        tenant=tenant,
    )


def a_spec(network: Network, service: str = "svc", **changes: Any) -> Spec:
    identity = Identity(network.instance, 1, network.tenant, service, "dep", 1, 1, 7, "hash", 1)
    env = {"PORT": "8000", "AH_SERVICE": service, "AH_DEPLOYMENT": "dep"}
    name = f"ah-{network.instance}-{network.tenant}-{service}-1-1"
    whole = Spec(name, identity, env, 8000, 128, 500, network)
    return msgspec.structs.replace(whole, **changes)


def never() -> bool:
    return False


def fetched(host: str, port: int, path: str) -> str:
    """What the app in a container answers, waiting up to 20 s until it listens."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"nothing answers on {host}:{port}")


async def ask(instance: Instance, path: str) -> str:
    return await asyncio.to_thread(fetched, instance.host, instance.port, path)


async def until_exited(engine: DockerEngine, instance_id: str) -> Instance:
    for _ in range(200):
        found = await engine.inspect(instance_id)
        assert found is not None
        if found.state == "exited":
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("it does not end")


def containers_named(sdk: docker.DockerClient, name: str) -> list[Container]:
    return [found for found in sdk.containers.list(all=True) if found.name == name]


def pushed(sdk: docker.DockerClient, base: str, repository: str, changes: list[str]) -> str:
    """A new image on the local registry: `base` with some instructions of a Dockerfile applied."""
    sdk.images.pull(base)
    container = sdk.containers.create(base)
    assert container.id
    try:
        sdk.api.commit(container.id, repository=repository, tag="1", changes=changes)
    finally:
        container.remove()
    sdk.api.push(repository, tag="1")
    return f"{repository}:1"


class TestDockerEngine(EngineContract):
    """It keeps the contract; the rest of this module is what it promises besides."""

    @pytest.fixture
    async def network(self, network: Network) -> Network:
        return network

    @pytest.fixture
    async def stranger(self, running: Parts, sdk: docker.DockerClient) -> AsyncIterator[DockerEngine]:
        stranger = DockerEngine("stranger", base_url=running.docker_host)
        yield stranger
        await stranger.close()
        wipe(sdk, "stranger")

    @pytest.fixture
    async def comeback(self, running: Parts, installation: str) -> AsyncIterator[Callable[[], Engine]]:
        async with AsyncExitStack() as made:

            def build() -> Engine:
                engine = DockerEngine(installation, base_url=running.docker_host)
                made.push_async_callback(engine.close)
                return engine

            yield build

    @pytest.fixture
    def reference(self) -> str:
        return "hello:1"

    @pytest.fixture
    def unknown_reference(self) -> str:
        return f"{REGISTRY}/nobody/made-this:1"

    @pytest.fixture
    def image(self, hello: Image) -> Image:
        return hello

    @pytest.fixture
    async def crashing_image(self, engine: DockerEngine) -> Image:
        return await engine.fetch("crash:1", never)

    @pytest.fixture
    async def hanging_image(self, engine: DockerEngine) -> Image:
        return await engine.fetch("deaf:1", never)


# --- what a container is


async def test_inspect_shows_every_setting_of_the_table(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec = a_spec(network)
    instance = await engine.find_or_start(spec, hello)
    seen = sdk.containers.get(instance.id).attrs
    host = seen["HostConfig"]
    assert (host["Runtime"], seen["State"]["Status"]) == ("runsc", "running")
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (128 << 20, 128 << 20, 500_000_000)
    assert (host["PidsLimit"], host["Ulimits"]) == (256, [{"Name": "nofile", "Soft": 65_536, "Hard": 65_536}])
    assert host["ReadonlyRootfs"] is True
    sizes = {"/tmp": 64, "/run": 16, "/var/run": 16, "/var/tmp": 16}
    assert host["Tmpfs"] == {path: f"{HARDENED},size={size}m" for path, size in sizes.items()}
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["RestartPolicy"]["Name"], host["Binds"], seen["Mounts"]) == ("no", None, [])
    assert not host["PortBindings"]
    assert not host["PublishAllPorts"]
    assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}}
    assert list(seen["NetworkSettings"]["Networks"]) == [network.name]
    assert seen["Config"]["Labels"] == spec.identity.labels()
    assert seen["Config"]["StopTimeout"] == 10
    assert {"PORT=8000", "AH_SERVICE=svc", "AH_DEPLOYMENT=dep"} <= set(seen["Config"]["Env"])


async def test_a_container_runs_in_gvisor_without_privileges(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    assert "gVisor" in await ask(instance, "/dmesg")
    who = json.loads(await ask(instance, "/whoami"))
    assert {line.split()[1] for line in who["capabilities"]} == {"0" * 16}
    assert "refused" in await ask(instance, "/write?path=/app/x")
    assert "written" in await ask(instance, "/write?path=/tmp/x")


async def test_a_container_that_takes_too_much_memory_says_so(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    await ask(instance, "/healthz")
    with suppress(OSError):
        urllib.request.urlopen(f"http://{instance.host}:{instance.port}/allocate?mb=400", timeout=3)
    ended = await until_exited(engine, instance.id)
    assert ended.oom_killed
    assert ended.exit_code not in (None, 0)


async def test_a_volume_of_the_image_makes_no_volume_of_the_host(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient
) -> None:
    reference = pushed(sdk, "hello:1", f"{REGISTRY}/test/volume", ["VOLUME /data"])
    instance = await engine.find_or_start(a_spec(network), await engine.fetch(reference, never))
    seen = sdk.containers.get(instance.id).attrs
    assert seen["Mounts"] == []
    assert seen["HostConfig"]["Tmpfs"]["/data"] == f"{HARDENED},size=64m"


# --- networks and the host


async def test_two_tenants_do_not_reach_each_other_and_one_tenant_does(
    engine: DockerEngine, installation: str, network: Network, hello: Image
) -> None:
    other = a_network(installation, 2)
    await engine.ensure_network(other)
    one = await engine.find_or_start(a_spec(network), hello)
    friend = await engine.find_or_start(a_spec(network, "friend"), hello)
    stranger = await engine.find_or_start(a_spec(other), hello)
    await asyncio.gather(ask(one, "/healthz"), ask(friend, "/healthz"), ask(stranger, "/healthz"))
    assert (await ask(one, f"/connect?host={friend.host}&port=8000")) == "open\n"
    assert (await ask(one, f"/connect?host={stranger.host}&port=8000")).startswith("closed")
    assert (await ask(stranger, f"/connect?host={one.host}&port=8000")).startswith("closed")


async def test_a_container_reaches_the_host_only_while_the_guard_is_gone(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    gateway = next(ipaddress.ip_network(network.subnet).hosts())
    with socket.create_server(("0.0.0.0", 0)) as listener:
        path = f"/connect?host={gateway}&port={listener.getsockname()[1]}"
        assert (await ask(instance, path)).startswith("closed")
        subprocess.run(["iptables", "-D", *firewall.RULE], check=True)
        assert (await ask(instance, path)) == "open\n"
        assert await engine.guard() == [f"iptables: {' '.join(firewall.RULE)}"]
        assert (await ask(instance, path)).startswith("closed")
    assert await engine.guard() == []


async def test_the_guard_stands_once_for_both_families_however_often_it_is_asked_for(engine: DockerEngine) -> None:
    await asyncio.gather(*(engine.guard() for _ in range(5)))
    for program in ("iptables", "ip6tables"):
        rules = subprocess.run([program, "-S", "INPUT"], check=True, capture_output=True, text=True).stdout
        assert rules.count("-i ah+ ") == 1


async def test_making_a_network_puts_the_guard_back(engine: DockerEngine, network: Network) -> None:
    subprocess.run(["iptables", "-D", *firewall.RULE], check=True)
    subprocess.run(["ip6tables", "-D", *firewall.RULE], check=True)
    await engine.ensure_network(network)
    assert await engine.guard() == []


async def test_a_network_is_made_once_when_many_ask_at_once(
    engine: DockerEngine, installation: str, sdk: docker.DockerClient
) -> None:
    network = a_network(installation, 1)
    await asyncio.gather(*(engine.ensure_network(network) for _ in range(8)))
    (found,) = sdk.networks.list(names=[network.name])
    assert found.attrs["Internal"] is True
    assert found.attrs["Labels"] == {"ah.instance": installation, "ah.tenant": network.tenant}
    assert found.attrs["IPAM"]["Config"] == [{"Subnet": network.subnet}]
    assert found.attrs["Options"]["com.docker.network.bridge.name"] == network.bridge


async def test_a_strangers_network_of_that_name_is_not_taken_for_ours(
    engine: DockerEngine, installation: str, sdk: docker.DockerClient
) -> None:
    network = a_network(installation, 1)
    theirs = sdk.networks.create(network.name, driver="bridge", internal=True)
    try:
        with pytest.raises(Rejected, match="name_taken"):
            await engine.ensure_network(network)
        await engine.remove_network(network)
        assert [found.id for found in sdk.networks.list(names=[network.name])] == [theirs.id]
    finally:
        theirs.remove()


async def test_a_network_of_ours_that_is_not_as_wanted_is_not_used(engine: DockerEngine, network: Network) -> None:
    with pytest.raises(Unavailable, match="its bridge is"):
        await engine.ensure_network(msgspec.structs.replace(network, bridge="ahother"))


async def test_a_range_that_is_in_use_is_our_fault_and_said(
    engine: DockerEngine, installation: str, network: Network
) -> None:
    other = msgspec.structs.replace(a_network(installation, 2), subnet=network.subnet)
    with pytest.raises(Unavailable, match="network_unavailable"):
        await engine.ensure_network(other)


async def test_a_network_in_use_stays_and_an_empty_one_goes(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    instance = await engine.find_or_start(a_spec(network), hello)
    with pytest.raises(Rejected, match="network_in_use"):
        await engine.remove_network(network)
    await engine.remove(instance.id)
    await engine.remove_network(network)
    await engine.remove_network(network)
    assert sdk.networks.list(names=[network.name]) == []


# --- names, adoption, strangers


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


async def test_many_at_once_start_one(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec = a_spec(network)
    started = await asyncio.gather(*(engine.find_or_start(spec, hello) for _ in range(6)))
    assert len({instance.id for instance in started}) == 1
    assert len(containers_named(sdk, spec.name)) == 1


async def test_one_of_ours_with_another_identity_is_replaced(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec = a_spec(network)
    first = await engine.find_or_start(spec, hello)
    other = msgspec.structs.replace(spec, identity=msgspec.structs.replace(spec.identity, position=8))
    second = await engine.find_or_start(other, hello)
    assert second.id != first.id
    assert second.identity.position == 8
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
    engine: DockerEngine, running: Parts, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    mine = await engine.find_or_start(a_spec(network), hello)
    second = f"test{secrets.token_hex(4)}"
    other = DockerEngine(second, base_url=running.docker_host)
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


# --- replies that get lost


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


# --- images


async def test_a_pull_tells_the_digest_and_the_pinned_form_runs(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient
) -> None:
    image = await engine.fetch("hello:1", never)
    assert image.pinned == f"hello@{image.digest}"
    assert image.pinned in sdk.images.get("hello:1").attrs["RepoDigests"]
    instance = await engine.find_or_start(a_spec(network), image)
    assert sdk.containers.get(instance.id).attrs["Config"]["Image"] == image.pinned


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


@contextmanager
def a_slow_registry(layer_code: int = 200) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """Serves an image whose layer takes for ever. The events: Docker asked for the layer; Docker hung up."""
    asked, gone = threading.Event(), threading.Event()
    layer = "sha256:" + secrets.token_hex(32)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer]}})
    digest = "sha256:" + hashlib.sha256(config.encode()).hexdigest()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(config),
            "digest": digest,
        },
        "layers": [
            {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1_000_000, "digest": layer}
        ],
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if layer in self.path:
                return self.trickle()
            body = (json.dumps(manifest) if "/manifests/" in self.path else config).encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
            return None

        def trickle(self) -> None:
            self.send_response(layer_code)
            self.send_header("Content-Length", "1000000" if layer_code == 200 else "0")
            self.end_headers()
            asked.set()
            if layer_code != 200:
                return
            with suppress(OSError):  # Docker hung up
                for _ in range(600):
                    self.wfile.write(b"x" * 100)
                    time.sleep(0.1)
                return
            gone.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", asked, gone
        server.shutdown()


# --- ends


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


# --- limits that cannot be given


async def test_more_cores_than_there_are_is_refused_in_words(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    with pytest.raises(Rejected, match="spec_unusable"):
        await engine.find_or_start(a_spec(network, cpu_milli=1_000_000), hello)


async def test_a_service_with_egress_is_refused(engine: DockerEngine, network: Network, hello: Image) -> None:
    with pytest.raises(Rejected, match="egress_unsupported"):
        await engine.find_or_start(a_spec(network, egress=True), hello)


async def test_without_its_runtime_nothing_starts(
    running: Parts, installation: str, network: Network, hello: Image
) -> None:
    engine = DockerEngine(installation, base_url=running.docker_host, runtime="nosuch")
    status = await engine.status()
    assert (status.available, status.runtime) == (True, "")
    assert "nosuch" in status.detail
    with pytest.raises(Unavailable, match="engine_error"):
        await engine.find_or_start(a_spec(network), hello)
    await engine.close()


# --- watching, and a daemon that is away


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


async def test_a_daemon_that_is_away_is_said_to_be_away_and_found_again(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    spec = a_spec(network)
    instance = await engine.find_or_start(spec, hello)
    changes = engine.watch()
    next_change = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(dockerd.stop)
    try:
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
    finally:
        await asyncio.to_thread(dockerd.start)
    again = await engine.find_or_start(spec, hello)
    assert (again.id, again.state) == (instance.id, "running")
