"""What dropped images took in a real registry is given back, and nothing else: one of the test's own, in its own folder."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from ahplat.builders.blobs import Blobs
from ahplat.builders.registry import Registry
from tests.builds.layouts import layout
from tests.parts import packages, versions
from tests.parts.parts import Parts

pytestmark = pytest.mark.real

PATIENCE_S = 30.0
SHARED, FIRST, SECOND = (os.urandom(size) for size in (300_000, 200_000, 100_000))


@dataclass
class Own:
    """A registry that nobody else uses."""

    address: str
    config: Path
    data: Path
    registry: Registry

    def held(self) -> int:
        """Bytes of its blobs."""
        return sum(path.stat().st_size for path in self.data.glob("docker/registry/v2/blobs/sha256/*/*/data"))


@pytest.fixture
def own(running: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    program = packages.unpacked(versions.REGISTRY)
    assert program
    monkeypatch.setenv("PATH", f"{Path(program).parent}:{os.environ['PATH']}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config, data = tmp_path / "registry.yml", tmp_path / "data"
    shipped = Path(__file__).parents[3] / "deploy" / "registry" / "registry.yml"
    text = shipped.read_text().replace("127.0.0.1:5000", address).replace("/var/lib/ah-registry", str(data))
    config.write_text(text)
    process = subprocess.Popen([program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_it_answers(address)
        yield Own(address, config, data, Registry(address, Blobs(config)))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def until_it_answers(address: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}/v2/", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "the registry does not come up"
            time.sleep(0.05)


async def test_what_one_image_alone_had_is_given_back_and_the_other_is_whole(
    own: Own, sdk: docker.DockerClient, tmp_path: Path
) -> None:
    first, second = layout(tmp_path / "1", SHARED, FIRST), layout(tmp_path / "2", SHARED, SECOND)
    dropped = await own.registry.push(first, "ah/t-a", "one")
    await own.registry.push(second, "ah/t-b", "two")
    assert await own.registry.blobs.free() == 0
    both = own.held()
    await own.registry.drop("ah/t-a", dropped)
    assert own.held() == both
    wasted = await own.registry.blobs.wasted()
    assert own.held() == both, "to look is not to remove"
    freed = await own.registry.blobs.free()
    assert freed == wasted == both - own.held() > len(FIRST)
    assert await own.registry.blobs.free() == await own.registry.blobs.wasted() == 0
    assert await own.registry.holds("ah/t-a", "one") == ""
    reference = f"{own.address}/ah/t-b"
    sdk.images.pull(reference, tag="two")  # the registry has gone on all the time
    sdk.images.remove(f"{reference}:two")
    again = await own.registry.push(first, "ah/t-a", "one")  # a registry that still believed in its layer took no other
    assert (again, own.held()) == (dropped, both)
    sdk.images.pull(f"{own.address}/ah/t-a", tag="one")
    sdk.images.remove(f"{own.address}/ah/t-a:one")


async def test_all_of_a_service_that_is_forgotten_is_given_back(own: Own, tmp_path: Path) -> None:
    for tag, content in (("one", FIRST), ("two", SECOND)):
        await own.registry.push(layout(tmp_path / tag, SHARED, content), "ah/t-a", tag)
    await own.registry.forget("ah/t-a")
    assert await own.registry.blobs.free() > len(SHARED) + len(FIRST) + len(SECOND)
    assert own.held() == 0


async def test_what_a_killed_server_dropped_is_given_back_to_the_next(own: Own, tmp_path: Path) -> None:
    digest = await own.registry.push(layout(tmp_path / "1", FIRST), "ah/t-a", "one")
    await own.registry.drop("ah/t-a", digest)
    assert await Blobs(own.config).free() > len(FIRST)
    assert own.held() == 0


async def test_a_configuration_in_json_is_read_too(own: Own, tmp_path: Path) -> None:
    digest = await own.registry.push(layout(tmp_path / "1", FIRST), "ah/t-a", "one")
    await own.registry.drop("ah/t-a", digest)
    storage = {"filesystem": {"rootdirectory": str(own.data)}, "delete": {"enabled": True}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": own.address}}, indent=2))
    assert await Blobs(config).free() > len(FIRST)
