"""What is done to containers behind the platform's back is found, said in events, and repaired."""

import time
from typing import Any

import docker
import pytest

from tests.real.platform.server import Service, Tenant, direct, eventually

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]


@pytest.fixture
def service(tenant: Tenant) -> Service:
    """Runs and has nothing under way."""
    service = tenant.run("web")
    service.settled()
    return service


def repaired(service: Service, after: int) -> list[Any]:
    """What happened after a position, once a repair came to its end."""

    def told() -> list[Any]:
        events = [one for one in service.events() if one["position"] > after and one["type"].startswith("service.")]
        return events if events and events[-1]["type"] == "service.repaired" else []

    return eventually(told)


def position(service: Service) -> int:
    return int(service.events()[-1]["position"])


def test_a_container_that_was_killed_runs_again(service: Service, sdk: docker.DockerClient) -> None:
    before = position(service)
    service.container(sdk).kill()
    eventually(lambda: position(service) > before)
    meanwhile = service.get()
    assert (meanwhile.status, meanwhile.json["code"]) == (503, "no_instance")
    crashed, *_ = repaired(service, before)
    assert crashed["type"] == "service.crashed"
    assert (crashed["data"]["exit_code"], crashed["data"]["crash_count"]) == (137, 1)
    assert service.get().text.startswith("hello 1")
    told = service.now
    assert (told["status"], told["crash_count"], told["circuit_open"]) == ("running", 1, False)
    assert told["container_id"] == service.container(sdk).id


def test_a_container_that_was_removed_is_made_again(service: Service, sdk: docker.DockerClient) -> None:
    before, old = position(service), service.container(sdk)
    old.remove(force=True)
    found, *_ = repaired(service, before)
    assert (found["type"], found["data"]["finding"]) == ("service.drifted", "missing")
    assert service.now["crash_count"] == 0
    assert service.container(sdk).id != old.id
    assert service.get().text.startswith("hello 1")


def test_a_container_that_was_paused_goes_on(service: Service, sdk: docker.DockerClient) -> None:
    before, old = position(service), service.container(sdk)
    old.pause()
    found, *_ = repaired(service, before)
    assert (found["type"], found["data"]["finding"]) == ("service.drifted", "paused")
    assert service.container(sdk).id == old.id
    assert service.get().text.startswith("hello 1")
    assert service.now["crash_count"] == 0


def test_a_container_that_was_renamed_goes_on_and_gets_its_name_back(
    service: Service, sdk: docker.DockerClient
) -> None:
    before, old = position(service), service.container(sdk)
    name = old.name
    old.rename(f"renamed-{old.short_id}")
    found, *_ = repaired(service, before)
    assert (found["type"], found["data"]["finding"]) == ("service.drifted", "renamed")
    again = service.container(sdk)
    assert (again.id, again.name, again.status) == (old.id, name, "running")
    assert service.get().text.startswith("hello 1")
    assert service.now["crash_count"] == 0


def test_a_network_that_was_removed_is_made_again(service: Service, sdk: docker.DockerClient) -> None:
    before, old = position(service), service.container(sdk)
    network = sdk.networks.get(f"ah-tenant-{service.tenant.id}")
    network.disconnect(old, force=True)
    network.remove()
    found, *_ = repaired(service, before)
    assert (found["type"], found["data"]["finding"]) == ("service.drifted", "moved")
    assert sdk.networks.list(names=[network.name])[0].id != network.id
    assert direct(service.container(sdk)).text.startswith("hello 1")
    assert service.get().text.startswith("hello 1")


def test_a_container_too_many_is_removed(service: Service, sdk: docker.DockerClient) -> None:
    before, wanted = position(service), service.container(sdk)
    stray = sdk.containers.run("hang:1", detach=True, labels=wanted.labels | {"ah.deployment": "0" * 32})
    found, *_ = repaired(service, before)
    assert (found["type"], found["data"]["finding"]) == ("service.drifted", "stray")
    assert found["data"]["instance"] == stray.id
    assert service.container(sdk).id == wanted.id


def test_a_service_that_crashes_again_and_again_is_stopped_until_it_is_reset(
    service: Service, sdk: docker.DockerClient
) -> None:
    for count in range(1, 6):
        crash(service, sdk)
        told = eventually(lambda count=count: now if (now := service.now)["crash_count"] == count else None)
        if count < 5:
            service.until("running")
    service.until("circuit_open")
    assert told["circuit_open"]
    eventually(lambda: not service.containers(sdk))
    assert service.get().json["code"] == "no_route"
    refused = service.tenant.ask("POST", f"{service.path}/start")
    assert (refused.status, refused.json["code"]) == (409, "circuit_open")
    service.order("reset", wait_s=60)
    told = service.now
    assert (told["status"], told["circuit_open"], told["crash_count"]) == ("running", False, 0)
    assert service.get().text.startswith("hello 1")


def crash(service: Service, sdk: docker.DockerClient) -> None:
    """Has the program end by itself with 7."""
    with pytest.raises(OSError):
        direct(service.container(sdk), "/exit?code=7")


def test_of_two_replicas_one_serves_while_the_other_is_repaired(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web", replicas=2)
    service.settled()
    assert len({name_of_answer(service) for _ in range(6)}) == 2
    before = position(service)
    lost, kept = service.containers(sdk)
    lost.kill()
    eventually(lambda: position(service) > before)
    began = time.monotonic()
    assert {name_of_answer(service) for _ in range(6)} == {str(kept.id)[:12]}
    assert time.monotonic() - began < 1
    repaired(service, before)
    assert len({name_of_answer(service) for _ in range(6)}) == 2


def name_of_answer(service: Service) -> str:
    """Which container answered: Docker names each by the beginning of its id."""
    answer = service.get("/env")
    assert answer.status == 200, answer
    return str(answer.json["HOSTNAME"])
