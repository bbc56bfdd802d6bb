"""Deployments that cannot succeed come to an outcome that says why, and what served before goes on."""

from typing import Any

import docker
import pytest

from tests.real.beside import REGISTRY
from tests.real.platform.conftest import MakeServer
from tests.real.platform.server import OPEN, Server, Tenant

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server(make_server: MakeServer) -> Server:
    """What is not healthy within 3 s has failed."""
    return make_server(*OPEN, "--deploy-timeout-s", "3").start()


def failed(tenant: Tenant, sdk: docker.DockerClient, image: str, **settings: Any) -> Any:
    """The outcome of deploying the image over a hello:1, which has to go on serving, by itself."""
    service = tenant.run("web")
    service.settled()
    if settings:
        tenant.call("PATCH", service.path, settings)
    outcome = service.deploy(image).until("failed")
    assert service.get().text.startswith("hello 1")
    assert service.container(sdk).id == service.now["container_id"]
    assert service.now["status"] == "running"
    return outcome


def test_what_never_listens_is_unhealthy_and_its_last_lines_are_kept(tenant: Tenant, sdk: docker.DockerClient) -> None:
    outcome = failed(tenant, sdk, "hang:1")
    assert outcome["error_code"] == "unhealthy"
    assert outcome["error_message"].startswith("not healthy within 3 s: nothing takes a connection on port 8000")
    assert outcome["log_tail"] == "not listening\n"


def test_what_answers_wrongly_on_its_health_path_is_unhealthy(tenant: Tenant, sdk: docker.DockerClient) -> None:
    outcome = failed(tenant, sdk, "hello:2", health_path="/nothing-here")
    assert outcome["error_code"] == "unhealthy"
    assert "GET /nothing-here answers 404" in outcome["error_message"]


def test_what_its_own_healthcheck_calls_unhealthy_is(tenant: Tenant, sdk: docker.DockerClient) -> None:
    outcome = failed(tenant, sdk, "healthcheck-bad:1")
    assert outcome["error_code"] == "unhealthy"
    assert "HEALTHCHECK says" in outcome["error_message"]


def test_what_its_own_healthcheck_calls_healthy_runs(tenant: Tenant) -> None:
    service = tenant.run("web", image="healthcheck-good:1", health_path="/healthz")
    assert service.get().text.startswith("hello")


def test_what_ends_at_once_has_crashed_with_its_exit_code_and_its_words(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    outcome = failed(tenant, sdk, "crash:1")
    assert outcome["error_code"] == "crashed"
    assert "exit code 3" in outcome["error_message"]
    assert outcome["log_tail"] == "one\ntwo\nthree\n"


@pytest.mark.parametrize("image", ["labelled:1", "traefik-labelled:1"])
def test_an_image_with_labels_of_ours_is_forbidden(tenant: Tenant, sdk: docker.DockerClient, image: str) -> None:
    outcome = failed(tenant, sdk, image)
    assert outcome["error_code"] == "image_forbidden"
    assert image in outcome["error_message"]


def test_an_image_that_does_not_exist_is_an_outcome_too(tenant: Tenant, sdk: docker.DockerClient) -> None:
    own = f"{REGISTRY}/ah/{tenant.id}-web:7"
    assert failed(tenant, sdk, own)["error_code"] == "image_not_found"


def test_a_service_whose_first_deployment_failed_can_simply_be_deployed_again(
    tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = tenant.create("web", image="crash:1")
    told = service.until("failed")
    assert told["last_error"].startswith("crashed: ")
    assert service.containers(sdk) == []
    service.deploy("hello:1").until("running")
    assert service.get().text.startswith("hello 1")
    assert "last_error" not in service.now
