"""Docker as the tests look at it, beside the platform: what is there, images made, what is left taken away."""

import ipaddress
import itertools
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.models.containers import Container

from tests.parts import docker as dockerd
from tests.parts.cache import locked

REGISTRY = "127.0.0.1:5000"


def ranges(first: str, size: int, below: int) -> Iterator[ipaddress.IPv4Network]:
    """Address ranges in a random order, again and again, from `first` on; those that Docker has are left out.

    No other worker of this run has one of them, another run hardly ever; what was killed may have left networks behind.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = range(worker, below, workers)
    for number in itertools.cycle(random.SystemRandom().sample(own, len(own))):
        found = ipaddress.IPv4Network((int(ipaddress.IPv4Address(first)) + number * size, 32 - size.bit_length() + 1))
        if not any(found.overlaps(taken) for taken in _taken()):
            yield found


def _taken() -> list[ipaddress.IPv4Network]:
    """The ranges of all networks in Docker."""
    sdk = docker.DockerClient(base_url=dockerd.HOST)
    try:
        pools = [pool for network in sdk.networks.list() for pool in network.attrs["IPAM"]["Config"] or []]
    finally:
        sdk.close()
    return [ipaddress.IPv4Network(pool["Subnet"]) for pool in pools if ":" not in pool["Subnet"]]


def containers_named(sdk: docker.DockerClient, name: str) -> list[Container]:
    return [found for found in sdk.containers.list(all=True, ignore_removed=True) if found.name == name]


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


def wipe(sdk: docker.DockerClient, installation: str) -> None:
    """Removes all that carries the label of an installation, each thing by its id."""
    for container in sdk.containers.list(
        all=True, filters={"label": f"ah.instance={installation}"}, ignore_removed=True
    ):
        container.remove(force=True, v=True)
    for network in sdk.networks.list(filters={"label": f"ah.instance={installation}"}):
        network.remove()
    for volume in sdk.volumes.list(filters={"label": f"ah.instance={installation}"}):
        volume.remove()


@contextmanager
def dockerd_stopped(with_signal: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """No daemon inside, and none that anybody else starts meanwhile; it runs again afterwards."""
    with locked():
        dockerd.stop(with_signal)
        try:
            yield
        finally:
            dockerd.start()


@contextmanager
def dockerd_hanging() -> Iterator[None]:
    """A daemon that is there and does not answer."""
    with locked():
        pid = dockerd.pid()
        assert pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
