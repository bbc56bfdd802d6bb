"""What a container is: its settings as Docker shows them, gVisor, its limits, and those that cannot be given."""

import hashlib
import json
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from ahplat.engines import container
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Belonging, Image, Network
from ahplat.errors import Rejected, Unavailable
from tests.parts.parts import Parts
from tests.real.beside import REGISTRY, containers_named, pushed
from tests.real.engine.instances import a_spec, ask, never, until_exited

pytestmark = pytest.mark.real


HARDENED = "rw,noexec,nosuid,nodev"
RESOLV_CONF = ("bind", "/etc/resolv.conf", False)


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
    assert host["SecurityOpt"] == ["no-new-privileges=true"]
    assert (host["RestartPolicy"]["Name"], host["Binds"]) == ("no", None)
    assert [(one["Type"], one["Destination"], one["RW"]) for one in seen["Mounts"]] == [RESOLV_CONF]
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


async def test_a_container_with_the_labels_of_another_is_a_stranger(
    engine: DockerEngine, network: Network, hello: Image, sdk: docker.DockerClient
) -> None:
    spec = a_spec(network)
    instance = await engine.find_or_start(spec, hello)
    copy = sdk.containers.create("hang:1", labels=spec.identity.labels())
    assert [one.id for one in await engine.list(spec.identity.service)] == [instance.id]
    shown = [one for one in await engine.belongings() if one.name == copy.name]
    assert shown == [Belonging("container", str(copy.name), network.tenant, subject="")]
    assert sdk.containers.get(str(copy.id)).name == copy.name


@pytest.mark.parametrize(
    ("declared", "path"), [("/data", "/data"), ("/tmp/../srv", "/srv"), ("//data", "/data"), ("/data3/", "/data3")]
)
async def test_a_volume_of_the_image_makes_no_volume_of_the_host(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient, declared: str, path: str
) -> None:
    repository = f"{REGISTRY}/test/volume{hashlib.sha256(declared.encode()).hexdigest()[:8]}"
    reference = pushed(sdk, "hello:1", repository, [f'VOLUME ["{declared}"]'])
    instance = await engine.find_or_start(a_spec(network), await engine.fetch(reference, never))
    seen = sdk.containers.get(instance.id).attrs
    assert [(one["Type"], one["Destination"], one["RW"]) for one in seen["Mounts"]] == [RESOLV_CONF]
    assert seen["HostConfig"]["Tmpfs"][path] == f"{HARDENED},size=64m"


async def test_an_image_that_gets_a_disk_of_the_host_all_the_same_does_not_start(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "tmpfs", lambda volumes: {"/tmp": HARDENED})
    reference = pushed(sdk, "hello:1", f"{REGISTRY}/test/disk", ["VOLUME /data"])
    spec = a_spec(network)
    with pytest.raises(Rejected, match=r"image_unusable: .*/data"):
        await engine.find_or_start(spec, await engine.fetch(reference, never))
    assert containers_named(sdk, spec.name) == []


async def test_more_cores_than_there_are_is_refused_in_words(
    engine: DockerEngine, network: Network, hello: Image
) -> None:
    with pytest.raises(Rejected, match="spec_unusable"):
        await engine.find_or_start(a_spec(network, cpu_milli=1_000_000), hello)


async def test_without_its_runtime_nothing_starts(
    running: Parts, installation: str, network: Network, hello: Image, tmp_path: Path
) -> None:
    engine = DockerEngine(installation, tmp_path, base_url=running.docker_host, runtime="nosuch")
    status = await engine.status()
    assert (status.available, status.runtime) == (True, "")
    assert "nosuch" in status.detail
    with pytest.raises(Unavailable, match="engine_error"):
        await engine.find_or_start(a_spec(network), hello)
    await engine.close()
