"""The main job: a tenant registers, deploys, is answered, deploys again, rolls back, stops, starts, deletes."""

import ipaddress
import json
import re
import shutil
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.forked import AS_A_PROGRAM
from tests.real.platform.conftest import MakeServer
from tests.real.platform.server import OPEN, Server, Tenant, direct, eventually

pytestmark = pytest.mark.real

HARDENED = "rw,noexec,nosuid,nodev"


@pytest.fixture(scope="module")
def server(make_server: MakeServer) -> Server:
    made = make_server(*OPEN)
    made.runs_by = AS_A_PROGRAM
    return made.start()


def test_a_service_answers_over_its_containers_address_and_over_its_url(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.run("Web 1", env={"GREETING": "hi"}, memory_mb=192, cpu_count=0.25)
    deployment = service.now["deployment_id"]
    said = f"hello 1 service=Web 1 deployment={deployment}\n"
    assert direct(service.container(sdk)).text == said
    assert service.get().text == said
    assert service.now["url"].startswith("http://web-1.")


def test_docker_shows_the_container_that_was_asked_for(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", env={"GREETING": "hi"}, memory_mb=192, cpu_count=0.25)
    told = service.now
    container = service.container(sdk)
    host = container.attrs["HostConfig"]
    assert container.id == told["container_id"]
    assert container.attrs["State"]["Status"] == "running"
    assert host["Runtime"] == "runsc"
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (192 << 20, 192 << 20, 250_000_000)
    assert (host["PidsLimit"], host["Ulimits"]) == (256, [{"Name": "nofile", "Soft": 65_536, "Hard": 65_536}])
    assert host["ReadonlyRootfs"]
    sizes = {"/tmp": 64, "/run": 16, "/var/run": 16, "/var/tmp": 16}
    assert host["Tmpfs"] == {path: f"{HARDENED},size={size}m" for path, size in sizes.items()}
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    assert host["SecurityOpt"] == ["no-new-privileges=true"]
    assert (host["Binds"], host["PortBindings"] or {}) == (None, {})
    (mount,) = container.attrs["Mounts"]
    assert (mount["Type"], mount["Destination"], mount["RW"]) == ("bind", "/etc/resolv.conf", False)
    assert host["RestartPolicy"]["Name"] == "no"
    assert container.attrs["Config"]["Image"] == f"hello@{told['image_digest']}"
    env = dict(entry.split("=", 1) for entry in container.attrs["Config"]["Env"])
    assert env | {"GREETING": "hi", "PORT": "8000", "AH_SERVICE": "web", "AH_DEPLOYMENT": told["deployment_id"]} == env


def test_labels_and_names_say_whose_it_is(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web")
    container = service.container(sdk)
    assert container.labels["ah.instance"] == tenant.server.installation
    assert container.labels["ah.tenant"] == tenant.id
    assert container.labels["ah.service"] == service.id
    assert container.labels["ah.deployment"] == service.now["deployment_id"]
    asked_for = next(event for event in service.events() if event["type"] == "service.deploy_requested")
    assert container.labels["ah.position"] == str(asked_for["position"])
    assert container.name == f"ah-{tenant.id[-12:]}-{service.id[-12:]}-1-1"


def test_its_network_is_the_tenants_own(tenant: Tenant, sdk: docker.DockerClient) -> None:
    (name,) = tenant.run("web").container(sdk).attrs["NetworkSettings"]["Networks"]
    assert name == f"ah-tenant-{tenant.id}"
    network = sdk.networks.get(name)
    assert network.attrs["Internal"]
    assert network.attrs["Labels"] == {"ah.instance": tenant.server.installation, "ah.tenant": tenant.id}
    subnet = ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])
    assert subnet.prefixlen == 26
    assert subnet.subnet_of(ipaddress.ip_network(tenant.server.pool))


def test_it_runs_in_gvisor_without_privileges_and_cannot_write(tenant: Tenant) -> None:
    service = tenant.run("web")
    assert "gVisor" in service.get("/dmesg").text
    assert {line.split()[1] for line in service.get("/whoami").json["capabilities"]} == {"0" * 16}
    assert service.get("/write?path=/app/x").text.startswith("refused")
    assert service.get("/write?path=/data/x").text.startswith("refused")
    assert service.get("/write?path=/tmp/x").text == "written\n"


def test_a_new_image_takes_over_and_the_old_container_goes(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web")
    old = service.container(sdk)
    service.deploy("hello:2").until("running")
    assert service.get().text.startswith("hello 2")
    service.settled()
    assert service.container(sdk).id != old.id
    before = service.deployments()[1]
    assert (before["image"], before["status"]) == ("hello:1", "stopped")


def test_a_rollback_brings_back_image_variables_and_limits(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", env={"COLOUR": "blue"}, memory_mb=128)
    first = service.deployments()[0]
    tenant.call("POST", f"{service.path}/env", {"COLOUR": "red", "SIZE": "xl"})
    tenant.call("PATCH", service.path, {"memory_mb": 192, "cpu_count": 0.25})
    service.deploy("hello:2").until("running")
    service.settled()
    assert running(service.container(sdk)) == ("red", "xl", 192 << 20, 250_000_000)
    service.order("rollback", {"deployment_id": first["id"]}, wait_s=60)
    service.settled()
    assert running(service.container(sdk)) == ("blue", None, 128 << 20, 500_000_000)
    assert service.container(sdk).attrs["Config"]["Image"] == f"hello@{first['image_digest']}"
    assert service.get().text.startswith("hello 1")
    assert service.deployments()[0]["trigger"] == "rollback"


def running(container: Any) -> tuple[str | None, str | None, int, int]:
    """What differs between the two deployments of the test above."""
    env = dict(entry.split("=", 1) for entry in container.attrs["Config"]["Env"])
    host = container.attrs["HostConfig"]
    return env.get("COLOUR"), env.get("SIZE"), host["Memory"], host["NanoCpus"]


def test_stopped_it_is_gone_from_docker_and_started_it_is_the_same_image(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.run("web")
    digest = service.now["image_digest"]
    assert service.order("stop", wait_s=60)["status"] == "stopped"
    assert service.containers(sdk) == []
    assert (service.get().status, service.get().json["code"]) == (404, "no_route")
    assert "container_id" not in service.now
    service.order("start", wait_s=60)
    assert service.container(sdk).attrs["Config"]["Image"] == f"hello@{digest}"
    assert service.now["image_digest"] == digest
    assert service.get().status == 200


def test_a_restart_is_a_fresh_container_of_the_same_image_with_todays_variables(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.run("web", env={"COLOUR": "blue"})
    old = service.container(sdk)
    tenant.call("POST", f"{service.path}/env", {"COLOUR": "red"})
    service.order("restart", wait_s=60)
    service.settled()
    new = service.container(sdk)
    assert new.id != old.id
    assert new.attrs["Config"]["Image"] == old.attrs["Config"]["Image"]
    assert json.loads(direct(new, "/env").text)["COLOUR"] == "red"


def test_nothing_of_a_deleted_service_is_left_in_docker(tenant: Tenant, sdk: docker.DockerClient) -> None:
    unnamed = unnamed_volumes(sdk)
    service = tenant.run("web")
    container = service.container(sdk)
    tenant.call("DELETE", service.path)
    eventually(lambda: not service.containers(sdk))
    assert tenant.ask("GET", service.path).status == 404
    assert unnamed_volumes(sdk) <= unnamed
    assert not sdk.volumes.list(filters={"label": f"ah.tenant={tenant.id}"})
    assert container.id
    assert not [line for line in command_lines() if container.id in line]


def unnamed_volumes(sdk: docker.DockerClient) -> set[str]:
    """Those that Docker makes by itself; what others' tests make beside this one has a name."""
    return {volume.name for volume in sdk.volumes.list() if re.fullmatch("[0-9a-f]{64}", volume.name)}


def command_lines() -> list[str]:
    """Of every process of the host."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:  # it ended just now
            continue
    return found


def test_a_port_of_the_tenants_own_moves_the_route_with_it(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", env={"PORT": "9000"})
    env = json.loads(direct(service.container(sdk), "/env").text)
    assert env["PORT"] == "9000"
    assert service.get().text.startswith("hello 1")
    tenant.call("DELETE", f"{service.path}/env/PORT")
    service.order("restart", wait_s=60)
    assert service.get("/env").json["PORT"] == "8000"


def test_health_tells_of_dockers_own_disk(tenant: Tenant, sdk: docker.DockerClient) -> None:
    usage = shutil.disk_usage(sdk.info()["DockerRootDir"])
    found = tenant.call("GET", "/v1/system/health/detailed")
    assert found["docker_disk"]["total_gb"] == pytest.approx(usage.total / 1e9, abs=0.1)
    assert found["docker_disk"]["used_percent"] == pytest.approx(100 * usage.used / (usage.used + usage.free), abs=2)
