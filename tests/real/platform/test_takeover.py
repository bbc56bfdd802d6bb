"""A deployment that hangs holds nobody up: a newer one, a cancellation, a stop and a delete take over at once."""

import time

import docker
import pytest

from tests.real.platform.server import Service, Tenant, eventually

pytestmark = pytest.mark.real

AT_ONCE_S = 3.0


@pytest.fixture
def hanging(tenant: Tenant, sdk: docker.DockerClient) -> Service:
    """Serves hello:1, and waits for a hang:1 that runs by now and will never be healthy."""
    service = tenant.run("web")
    service.settled()
    service.deploy("hang:1")
    eventually(lambda: [one for one in images(service, sdk) if one[:2] == ("hang:1", "running")])
    return service


def images(service: Service, sdk: docker.DockerClient) -> list[tuple[str, str]]:
    """(image as it was asked for, state) of its containers."""
    named = {row["id"]: row["image"] for row in service.deployments()}
    return sorted((named[one.labels["ah.deployment"]], one.status) for one in service.containers(sdk))


def test_a_newer_deployment_takes_over_at_once_and_the_hanging_one_is_removed(
    hanging: Service, sdk: docker.DockerClient
) -> None:
    began = time.monotonic()
    hanging.deploy("hello:2").until("running")
    took_s = time.monotonic() - began
    assert hanging.get().text.startswith("hello 2")
    hanging.settled()
    assert images(hanging, sdk) == [("hello:2", "running")]
    assert [row["status"] for row in hanging.deployments()] == ["running", "superseded", "stopped"]
    print(f"took over after {took_s:.2f} s")
    assert took_s < AT_ONCE_S


def test_a_cancelled_deployment_is_removed_at_once_and_what_served_goes_on(
    hanging: Service, sdk: docker.DockerClient
) -> None:
    began = time.monotonic()
    deployment = hanging.deployments()[0]
    cancelled = hanging.tenant.call("POST", f"{hanging.path}/deployments/{deployment['id']}/cancel")
    assert cancelled["status"] == "cancelled"
    eventually(lambda: images(hanging, sdk) == [("hello:1", "running")])
    assert time.monotonic() - began < AT_ONCE_S
    assert hanging.now["status"] == "running"
    assert hanging.get().text.startswith("hello 1")


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_a_stop_and_a_delete_do_not_wait_for_it_either(hanging: Service, sdk: docker.DockerClient, verb: str) -> None:
    began = time.monotonic()
    if verb == "stop":
        hanging.order("stop")
    else:
        hanging.tenant.call("DELETE", hanging.path)
    eventually(lambda: not hanging.containers(sdk))
    assert time.monotonic() - began < AT_ONCE_S


def test_an_old_container_that_is_deaf_to_its_end_holds_up_no_newer_deployment(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.run("web", image="deaf:1", port=0)
    service.settled()
    deaf = service.container(sdk)
    tenant.call("PATCH", service.path, {"port": 8000})
    service.deploy("hello:1").until("running")
    time.sleep(2)  # so that the deaf one was told to end: its grace has 9 s to go
    began = time.monotonic()
    service.deploy("hello:2").until("running")
    took_s = time.monotonic() - began
    print(f"took over after {took_s:.2f} s")
    assert deaf.id in {container.id for container in service.containers(sdk)}
    assert took_s < AT_ONCE_S
