"""Services of a tenant find each other by name under gVisor, wherever they moved; other tenants' names do not exist."""

import ipaddress
import secrets
import signal
import socket
from functools import partial

import docker
import pytest
from docker.models.containers import Container

from tests.real.platform.conftest import MakeServer
from tests.real.platform.inside import call, reached, resolve
from tests.real.platform.server import OPEN, Server, Service, Tenant, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

NO_SUCH_NAME = socket.EAI_NONAME
MOVES_WITHIN_S = 2.0


@pytest.fixture
def other(server: Server) -> Tenant:
    """Another tenant of the same server."""
    return server.register(f"o{secrets.token_hex(4)}")


def addresses_of(service: Service, sdk: docker.DockerClient) -> list[str]:
    """Where its containers are in their tenant's network."""
    return sorted(inner_address(container) for container in service.containers(sdk) if container.status == "running")


def inner_address(container: Container) -> str:
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"]
    return str(networks[container.attrs["HostConfig"]["NetworkMode"]]["IPAddress"])


def gateway_of(service: Service, sdk: docker.DockerClient) -> str:
    """The host's own address in its tenant's network."""
    address = ipaddress.ip_interface(f"{inner_address(service.containers(sdk)[0])}/26")
    return str(address.network[1])


def test_services_of_a_tenant_find_each_other_by_name_in_any_case(tenant: Tenant, sdk: docker.DockerClient) -> None:
    web, api = tenant.run("web"), tenant.run("My API")
    inside = web.container(sdk)
    assert resolve(inside, "my-api.internal") == addresses_of(api, sdk)
    assert resolve(inside, "MY-Api.Internal") == resolve(inside, "my-api") == addresses_of(api, sdk)
    assert resolve(api.container(sdk), "web.internal") == addresses_of(web, sdk)
    assert reached(inside, [("my-api.internal", 8000)]) == [("my-api.internal", 8000)]
    answer = call(inside, "ask", gateway_of(web, sdk), "my-api.internal")
    assert answer == {"code": 0, "answers": 1, "ttl": "00000001"}


def test_what_a_container_sees_as_its_resolver_is_ours_alone_and_cannot_be_changed(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    web = tenant.run("web")
    seen = web.container(sdk).exec_run(["cat", "/etc/resolv.conf"]).output.decode()
    assert seen == f"nameserver {gateway_of(web, sdk)}\nsearch internal\noptions ndots:1 timeout:1 attempts:5\n"
    refused = web.container(sdk).exec_run(["sh", "-c", "echo x > /etc/resolv.conf"], user="0")
    assert refused.exit_code != 0


def test_a_name_is_all_healthy_replicas_and_loses_the_one_that_is_gone(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    web, three = tenant.run("web"), tenant.run("three", replicas=3)
    inside = web.container(sdk)
    was = addresses_of(three, sdk)
    assert (len(was), resolve(inside, "three.internal")) == (3, was)
    gone = three.containers(sdk)[0]
    address = inner_address(gone)
    gone.kill("SIGKILL")
    eventually(lambda: address not in _as_list(resolve(inside, "three.internal")), within_s=10)


def _as_list(found: list[str] | int) -> list[str]:
    return found if isinstance(found, list) else []


def test_a_name_moves_with_a_deploy_and_is_gone_with_its_service(tenant: Tenant, sdk: docker.DockerClient) -> None:
    web, jobs = tenant.run("web"), tenant.run("jobs")
    inside = web.container(sdk)
    for image in ("hello:2", "hello:1"):
        before = addresses_of(jobs, sdk)
        assert resolve(inside, "jobs.internal") == before
        jobs.deploy(image).until("running")
        eventually(partial(_has_moved, inside, before), within_s=MOVES_WITHIN_S)
        jobs.settled()
        assert resolve(inside, "jobs.internal") == addresses_of(jobs, sdk)
    jobs.order("stop", wait_s=30)
    assert resolve(inside, "jobs.internal") == socket.EAI_NODATA
    tenant.call("DELETE", jobs.path)
    assert resolve(inside, "jobs.internal") == NO_SUCH_NAME


def _has_moved(inside: Container, before: list[str]) -> bool:
    return resolve(inside, "jobs.internal") != before


def test_names_of_another_tenant_and_of_the_outside_do_not_exist(
    tenant: Tenant, other: Tenant, sdk: docker.DockerClient
) -> None:
    mine, theirs = tenant.run("mine"), other.run("theirs")
    inside = mine.container(sdk)
    assert resolve(theirs.container(sdk), "theirs.internal") == addresses_of(theirs, sdk)
    label = other.call("GET", "/v1/tenant")["dns_label"]
    for name in ("theirs.internal", "theirs", f"theirs.{label}.internal", "nobody.internal", "example.org"):
        assert resolve(inside, name) == NO_SUCH_NAME, name


def test_a_container_gets_no_answer_from_another_tenants_responder(
    tenant: Tenant, other: Tenant, sdk: docker.DockerClient
) -> None:
    mine, theirs = tenant.run("mine"), other.run("theirs")
    inside, own, foreign = mine.container(sdk), gateway_of(mine, sdk), gateway_of(theirs, sdk)
    assert call(theirs.container(sdk), "ask", foreign, "theirs.internal")["code"] == 0
    assert call(inside, "ask", own, "mine.internal")["code"] == 0
    for name in ("theirs.internal", "mine.internal"):
        assert isinstance(call(inside, "ask", foreign, name), str), "nobody answered"
    assert reached(inside, [(own, 53), (foreign, 53)]) == [(own, 53)]


def test_but_for_names_the_gateway_is_closed(tenant: Tenant, sdk: docker.DockerClient) -> None:
    web = tenant.run("web")
    inside, gateway = web.container(sdk), gateway_of(web, sdk)
    with (
        socket.create_server(("0.0.0.0", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind((gateway, 0))
        udp.settimeout(0.5)
        assert reached(inside, [(gateway, tcp.getsockname()[1]), (gateway, 53)]) == [(gateway, 53)]
        assert call(inside, "send", *udp.getsockname()) == "sent"
        with pytest.raises(TimeoutError):
            udp.recv(100)


def test_names_are_answered_again_after_a_restart_and_after_a_kill(
    make_server: MakeServer, sdk: docker.DockerClient
) -> None:
    server = make_server(*OPEN).start()
    tenant = server.register()
    web, jobs = tenant.run("web"), tenant.run("jobs")
    inside, address = web.container(sdk), addresses_of(jobs, sdk)
    for with_signal in (signal.SIGTERM, signal.SIGKILL):
        assert resolve(inside, "jobs.internal") == address
        server.end(with_signal)
        assert resolve(inside, "jobs.internal") == socket.EAI_AGAIN
        server.start()
        eventually(lambda: resolve(inside, "jobs.internal") == address, within_s=10)
    jobs.deploy("hello:2").until("running")
    assert resolve(inside, "jobs.internal") != address


def test_names_are_answered_in_a_network_that_was_made_anew(tenant: Tenant, sdk: docker.DockerClient) -> None:
    web = tenant.run("web")
    network = sdk.networks.get(f"ah-tenant-{tenant.id}")
    web.order("stop", wait_s=30)
    network.remove()
    web.order("start", wait_s=30)
    assert sdk.networks.get(f"ah-tenant-{tenant.id}").id != network.id
    assert resolve(web.container(sdk), "web.internal") == addresses_of(web, sdk)


def test_where_port_53_is_taken_services_run_and_health_says_what_is_the_matter(
    make_server: MakeServer, sdk: docker.DockerClient
) -> None:
    server = make_server(*OPEN, "--reconcile-s", "1").start()
    tenant = server.register()
    gateway = gateway_of(tenant.run("web"), sdk)
    server.end()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind((gateway, 53))
        server.start()
        tenant.run("other")
        line = f"names are not answered on {gateway}:53 (ah{tenant.id[-12:]}): Address already in use"
        assert names_of(tenant) == {"available": False, "detail": line}
        assert line in server.log.read_text()
    eventually(lambda: names_of(tenant) == {"available": True}, within_s=10)


def names_of(tenant: Tenant) -> dict[str, object]:
    """What health says of them."""
    found: dict[str, object] = tenant.call("GET", "/v1/system/health/detailed")["names"]
    return found
