"""Volumes of services, and workers, under gVisor."""

from functools import partial

import docker
import pytest
from docker.models.containers import Container

from tests.real.platform.server import Deployment, Service, Tenant, direct, eventually

pytestmark = pytest.mark.real

MOUNT = {"data": "/data"}  # which belongs to the app's user in the image


def kept(container: Container) -> list[str]:
    """The files in its volume."""
    found: list[str] = container.exec_run(["ls", "/data"]).output.decode().split()
    return found


def volumes(tenant: Tenant) -> list[dict[str, str]]:
    found: list[dict[str, str]] = tenant.call("GET", "/v1/volumes")
    return found


def running(service: Service, sdk: docker.DockerClient) -> list[str]:
    return [str(one.id) for one in service.containers(sdk) if one.status == "running"]


def test_what_a_service_writes_survives_deploys_and_its_deletion_until_it_is_purged(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.run("web", volumes=MOUNT)
    assert (service.now["volumes"], service.now["switch"]) == (MOUNT, "stop_start")
    assert direct(service.container(sdk), "/write?path=/data/one").text == "written\n"
    service.deploy("hello:2").until("running")
    service.settled()
    assert kept(service.container(sdk)) == ["one"]
    tenant.call("DELETE", service.path)
    eventually(lambda: not service.containers(sdk))
    [volume] = volumes(tenant)
    assert "service_id" not in volume
    heir = tenant.run("heir", volumes=MOUNT)
    assert kept(heir.container(sdk)) == ["one"]
    assert tenant.ask("DELETE", f"/v1/volumes/{volume['id']}").json["code"] == "volume_in_use"
    tenant.call("DELETE", heir.path)
    tenant.call("DELETE", f"/v1/volumes/{volume['id']}")
    eventually(lambda: volumes(tenant) == [])
    assert f"ah-vol-{volume['id']}" not in [one.name for one in sdk.volumes.list()]


def test_an_images_own_user_writes_where_the_image_has_nothing(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", volumes={"data": "/var/lib/app"})
    container = service.container(sdk)
    assert container.exec_run(["id", "-u"]).output.strip() != b"0"
    assert direct(container, "/write?path=/var/lib/app/one").text == "written\n"


def test_its_bytes_are_shown(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", volumes=MOUNT)
    service.container(sdk).exec_run(["dd", "if=/dev/zero", "of=/data/big", "bs=1M", "count=3"])
    eventually(lambda: [one for one in volumes(tenant) if int(one.get("bytes", 0)) >= 3 << 20])


def test_two_never_run_on_one_volume_while_it_is_switched(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", volumes=MOUNT)
    seen = set()

    def runs(deployment: Deployment) -> bool:
        seen.add(len(running(service, sdk)))
        return bool(tenant.call("GET", deployment.path)["status"] == "running")

    for image in ("hello:2", "hello:1"):
        eventually(partial(runs, service.deploy(image)))
    assert seen <= {0, 1}
    assert len(running(service, sdk)) == 1


def test_a_deploy_that_fails_brings_the_old_one_back_on_its_volume(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", volumes=MOUNT)
    direct(service.container(sdk), "/write?path=/data/one")
    service.deploy("crash:1").until("failed")
    eventually(lambda: running(service, sdk))
    service.settled()
    assert service.until("running")["image_digest"] == service.now["image_digest"]
    eventually(lambda: service.get().text.startswith("hello 1"))
    assert kept(service.container(sdk)) == ["one"]


def test_another_tenants_volume_of_the_same_name_is_another(tenant: Tenant, sdk: docker.DockerClient) -> None:
    other = tenant.server.register(f"{tenant.id[-8:]}-other")
    mine, theirs = tenant.run("web", volumes=MOUNT), other.run("web", volumes=MOUNT)
    direct(mine.container(sdk), "/write?path=/data/mine")
    assert kept(mine.container(sdk)) == ["mine"]
    assert kept(theirs.container(sdk)) == []


def test_a_worker_is_healthy_when_it_stays_up_and_has_no_route(tenant: Tenant, sdk: docker.DockerClient) -> None:
    worker = tenant.create("worker", "hang:1", port=0)
    worker.until("running")
    container = worker.container(sdk)
    assert (container.status, worker.now["port"]) == ("running", 0)
    assert not [entry for entry in container.attrs["Config"]["Env"] if entry.startswith("PORT=")]
    answer = worker.get()
    assert (answer.status, answer.json["code"]) == (404, "no_route")


def test_a_worker_that_ends_at_once_has_failed(tenant: Tenant) -> None:
    worker = tenant.create("worker", "crash:1", port=0)
    assert worker.until("failed")["last_error"].startswith("crashed")
