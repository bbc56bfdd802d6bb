"""A tenant leaves: suspended nothing of it runs, reactivated it runs again, erased nothing is left in Docker."""

import socket

import docker
import pytest

from tests.real.platform.server import Tenant, eventually

pytestmark = pytest.mark.real


def test_suspended_its_containers_go_and_reactivated_they_run_again(tenant: Tenant, sdk: docker.DockerClient) -> None:
    server = tenant.server
    web, halted = tenant.run("web", env={"COLOUR": "blue"}), tenant.run("halted")
    halted.order("stop", wait_s=60)
    digest = web.now["image_digest"]
    tenant.call("DELETE", "/v1/tenant")
    eventually(lambda: not web.containers(sdk))
    assert tenant.ask("GET", web.path).status == 403
    back = server.operate("POST", f"/v1/tenants/{tenant.id}/reactivate")
    assert (back.status, back.json["status"]) == (200, "active")
    tenant.key = back.json["api_key"]
    told = web.until("running")
    assert told["image_digest"] == digest
    assert web.get("/env").json["COLOUR"] == "blue"
    assert halted.now["status"] == "stopped"
    assert halted.containers(sdk) == []


def test_who_comes_back_to_no_network_has_one_made_anew(tenant: Tenant, sdk: docker.DockerClient) -> None:
    """The collector removes it after ten minutes; here it goes at once, from under the server's names too."""
    web = tenant.run("web")
    network = sdk.networks.get(f"ah-tenant-{tenant.id}")
    tenant.call("DELETE", "/v1/tenant")
    eventually(lambda: not web.containers(sdk))
    eventually(lambda: found_garbage(tenant) == [("network", network.name)])
    network.remove()
    assert found_garbage(tenant) == []
    back = tenant.server.operate("POST", f"/v1/tenants/{tenant.id}/reactivate")
    tenant.key = back.json["api_key"]
    web.until("running")
    again = sdk.networks.get(network.name)
    assert (again.id != network.id, again.attrs["IPAM"]) == (True, network.attrs["IPAM"])


def found_garbage(tenant: Tenant) -> list[tuple[str, str]]:
    """What the server would remove, without the images."""
    found = tenant.server.operate("GET", "/v1/system/garbage").json["garbage"]
    return [(one["kind"], one["name"]) for one in found if one["kind"] != "image" and tenant.id in one["name"]]


def test_erased_neither_containers_nor_network_nor_bridge_are_left(tenant: Tenant, sdk: docker.DockerClient) -> None:
    server = tenant.server
    services = [tenant.run("one"), tenant.run("two", replicas=2)]
    network = sdk.networks.get(f"ah-tenant-{tenant.id}")
    bridge = network.attrs["Options"]["com.docker.network.bridge.name"]
    assert bridge in interfaces()
    name = tenant.call("GET", "/v1/tenant")["name"]
    wrong = server.operate("DELETE", f"/v1/tenants/{tenant.id}/data", {"confirm": "somebody else"})
    assert (wrong.status, wrong.json["code"]) == (400, "validation_failed")
    assert server.operate("DELETE", f"/v1/tenants/{tenant.id}/data", {"confirm": name}).status == 202
    eventually(lambda: server.operate("GET", f"/v1/tenants/{tenant.id}").json["status"] == "erased")
    assert not [container for service in services for container in service.containers(sdk)]
    assert sdk.networks.list(names=[network.name]) == []
    assert bridge not in interfaces()


def interfaces() -> set[str]:
    """The host's network interfaces."""
    return {name for _, name in socket.if_nameindex()}
